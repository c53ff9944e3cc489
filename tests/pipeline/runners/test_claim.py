"""A root in an object store is one metadata store's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.metadata_config import PostgresqlMetadata
from pipeline.runners.claim import claim_root
from schema.errors import MetadataError
from storage.places import at


def on_machine(folder: Path, root: str) -> PipelineConfig:
    config = load_config(find_config("flights")).model_copy(update={"root": root})
    config._project = folder
    config.home.mkdir(parents=True, exist_ok=True)
    return config


def test_a_second_machine_with_records_of_its_own_is_refused(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}/headrace"
    first, second = on_machine(tmp_path / "first", root), on_machine(tmp_path / "second", root)
    claim_root(first)
    claim_root(first)
    with pytest.raises(MetadataError, match="belongs to another metadata store") as caught:
        claim_root(second)
    assert caught.value.where == f"{root}/flights/owner.json"


def test_machines_that_share_a_database_share_the_root(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}/headrace"
    database = PostgresqlMetadata(kind="postgresql", host="db", database="mlmd", user="ml")
    for name in ("first", "second"):
        claim_root(on_machine(tmp_path / name, root).model_copy(update={"metadata": database}))
    with pytest.raises(MetadataError):
        claim_root(on_machine(tmp_path / "third", root))


def test_a_folder_is_not_claimed(tmp_path: Path) -> None:
    config = on_machine(tmp_path, str(tmp_path / "root"))
    claim_root(config)
    assert not at(config.shared).exists() or not list(at(config.shared).glob("owner*"))
