"""Small projects cut from the shipped flights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A folder of its own with a pipeline, its schema and its data."""

    folder: Path

    @property
    def config_path(self) -> Path:
        return self.folder / "flights.yaml"

    @property
    def home(self) -> Path:
        return self.folder / ".headrace" / "flights"

    @property
    def push_path(self) -> Path:
        return self.folder / "models"

    def span_path(self, number: int) -> Path:
        return self.folder / "data" / f"span-{number:02d}" / "flights.parquet"

    def write_span(self, number: int, table: pa.Table) -> None:
        self.span_path(number).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.span_path(number))

    def change_span(self, number: int, column: str, change: Callable[[pa.Table], Any]) -> None:
        """Replaces one column of a span by what `change` makes of the whole table."""
        table = pq.read_table(self.span_path(number))
        self.write_span(number, table.set_column(table.schema.get_field_index(column), column, change(table)))

    def change_config(self, change: Callable[[dict[str, Any]], Any]) -> None:
        raw = yaml.safe_load(self.config_path.read_text())
        change(raw)
        self.config_path.write_text(yaml.safe_dump(raw, sort_keys=False))


def make_project(folder: Path, spans: int = 3, rows: int = 600) -> Project:
    """A small flights pipeline: a linear model, `spans` months of `rows` flights each, lenient bounds."""
    project = Project(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    shutil.copy(REPOSITORY / "schema" / "flights.pbtxt", folder / "flights.pbtxt")
    shutil.copy(REPOSITORY / "pipeline" / "configs" / "flights.yaml", project.config_path)
    for number in range(1, spans + 1):
        whole = pq.read_table(REPOSITORY / "data" / "flights" / f"span-{number:02d}" / "flights.parquet")
        every = len(whole) // rows
        project.write_span(number, whole.take(list(range(0, every * rows, every))))

    def small(raw: dict[str, Any]) -> None:
        raw["schema"] = "flights.pbtxt"
        raw["data"]["source"]["path"] = "data/span-{SPAN}/*.parquet"
        raw["data"]["window"] = {"train": spans - 1}
        raw["model"] = {"architecture": "linear"}
        raw["training"] = {"epochs": 1, "batch_size": 128}
        raw["push"] = {"path": "models"}
        raw["gates"]["quality"] = [
            {"metric": "auc", "at_least": 0.3},
            {"metric": "auc", "slice": "origin", "at_least": 0.2},
            {"metric": "auc", "not_worse_by": 0.2},
        ]

    project.change_config(small)
    return project
