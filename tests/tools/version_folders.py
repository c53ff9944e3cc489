"""Folders that look like published versions, and a pipeline that has them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import text_format
from projects import REPOSITORY
from rich.console import Console
from tensorflow_serving.config import model_server_config_pb2

from pipeline.config import PipelineConfig, load_config
from serving.canary import CONFIG_FILE
from serving.push import digest_of, push
from serving.versions import rolled_back, versions


def write_versions(base_path: Path, *numbers: int) -> Path:
    """A folder with a file for each version, as if somebody else had published them."""
    for number in numbers:
        (base_path / str(number)).mkdir(parents=True)
        (base_path / str(number) / "saved_model.pb").write_text(f"graph of {number}")
    return base_path


def push_model(folder: Path, base_path: Path, name: str, as_candidate: bool = False):
    """Pushes a model that differs from others by its name."""
    model = folder / "exports" / name
    model.mkdir(parents=True, exist_ok=True)
    (model / "saved_model.pb").write_text(f"graph of {name}")
    return push(model, base_path, {}, {"digest": digest_of(model)}, as_candidate=as_candidate)


def states(base_path: Path) -> tuple[list[int], list[int]]:
    """The published versions, and those that are rolled back."""
    return versions(base_path), list(rolled_back(base_path))


@dataclass
class Published:
    """A pipeline with versions to act on, and what its commands said."""

    config: PipelineConfig
    base_path: Path
    output: io.StringIO

    @property
    def console(self) -> Console:
        return Console(file=self.output, width=1000, highlight=False)

    @property
    def said(self) -> str:
        """Since it was last asked."""
        told = self.output.getvalue()
        self.output.seek(0)
        self.output.truncate()
        return told

    @property
    def labels(self) -> dict[str, int]:
        """Those in `models.config`."""
        config = model_server_config_pb2.ModelServerConfig()
        text_format.Parse((self.base_path / CONFIG_FILE).read_text(), config)
        return dict(config.model_config_list.config[0].version_labels)


def publish(folder: Path, *numbers: int, canary: dict[str, Any] | None = None) -> Published:
    """The flights pipeline with its pushed versions below `folder`, and its `monitor.canary`."""
    raw = yaml.safe_load((REPOSITORY / "pipeline" / "configs" / "flights.yaml").read_text())
    raw["push"] = {"path": str(folder / "models")}
    if canary is not None:
        raw["monitor"] = {**raw.get("monitor", {}), "canary": canary}
    (folder / "pyproject.toml").touch()
    (folder / "flights.yaml").write_text(yaml.safe_dump(raw))
    base_path = write_versions(folder / "models", *numbers)
    return Published(load_config(folder / "flights.yaml"), base_path, io.StringIO())
