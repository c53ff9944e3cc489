"""A small watched pipeline without a run: a pushed version with its reference, spans, and logs of requests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import watched
import yaml
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_serving.apis import predict_pb2

from models.signatures import output_name
from monitoring.bins import number_bins
from monitoring.profile import Key
from monitoring.reference import PREDICTIONS, REFERENCE, Reference
from monitoring.rows import as_rows
from monitoring.slicing import quality_by_slice
from pipeline.config import PipelineConfig, load_config
from pipeline.looking import SCHEMA_FILE, LookOptions, look
from serving.push import push
from serving.request_log import log_metadata, prediction_log

FEATURES = (
    watched.number("miles"),
    watched.category("carrier"),
    watched.category("flight", is_whole=True),
    watched.time("departure"),
)
LABEL = watched.number("late", is_whole=True)
SCHEMA = """
    default_environment: "TRAINING" default_environment: "SERVING"
    feature { name: "miles" type: FLOAT float_domain { min: 0 max: 100000 } }
    feature { name: "carrier" type: BYTES }
    feature { name: "flight" type: INT int_domain { is_categorical: true } }
    feature { name: "departure" type: INT time_domain { integer_format: UNIX_SECONDS } }
    feature { name: "gate" type: BYTES presence { min_fraction: 1.0 } }
    feature { name: "late" type: INT not_in_environment: "SERVING" int_domain { min: 0 max: 1 } }
"""
"""`gate` is in the schema, but not among what the model reads."""
IDENTIFIER = ("flight", "departure")
DAY = 86_400
MONDAY = 1_388_966_400
"""2014-01-06 00:00 UTC: span 1 begins; each has a week."""


def flights_of(span: int, rows: int = 1500, task: str = "binary") -> pa.Table:
    """A week of flights, the label drawn by the chance that the model gives it; `IDENTIFIER` names a row for ever."""
    random = np.random.default_rng(span)
    columns = {
        "miles": random.uniform(100, 900, rows).round(1),
        "carrier": random.choice(["AA", "DL", "UA"], rows, p=[0.2, 0.3, 0.5]),
        "flight": np.arange(rows) % 300,
        "departure": np.sort(MONDAY + 7 * DAY * (span - 1) + random.integers(0, 7 * DAY, rows)),
    }
    answers = answers_of(pa.table(columns), task)
    is_late = random.random(rows) < answers
    late = is_late.astype(np.int64) if task == "binary" else np.round(answers + random.normal(0, 10, rows))
    return pa.table({**columns, "late": late})


def changed(table: pa.Table, **columns: Any) -> pa.Table:
    """The same rows with other values in some columns."""
    for name, values in columns.items():
        table = table.set_column(
            table.column_names.index(name), name, values if isinstance(values, pa.Array) else pa.array(values)
        )
    return table


def answers_of(table: pa.Table, task: str = "binary") -> np.ndarray:
    """The model: float64 [rows]."""
    miles = np.array(table["miles"].to_pylist(), np.float64)
    carriers = np.array(table["carrier"].to_pylist(), object)
    effect = np.select([carriers == name for name in ("AA", "DL")], [1.5, -1.5])
    raw = np.nan_to_num((miles - 500) / 200 + effect)
    return 1 / (1 + np.exp(-raw)) if task == "binary" else 100 + 20 * raw


def rows_of(table: pa.Table) -> pa.RecordBatch:
    """As monitoring sees them, with the label if it is there."""
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    return as_rows(columns, [*FEATURES, *([LABEL] if "late" in columns else [])], len(table))


def reference_of(tables: Mapping[int, pa.Table], task: str = "binary", block_rows: int = 256) -> Reference:
    """What the pipeline would have made of these spans, the newest of which evaluated."""
    profile = watched.profile_of((*FEATURES, LABEL), {span: rows_of(each) for span, each in tables.items()}, block_rows)
    scores = np.concatenate([answers_of(each, task) for each in tables.values()])
    bins = number_bins(PREDICTIONS, scores)
    key: Key = (PREDICTIONS, bins.kind)
    indices = bins.indices(pa.array(scores))
    starts = np.cumsum([0, *np.concatenate([_sizes(len(each), block_rows) for each in tables.values()])])
    counts = np.stack(
        [np.bincount(indices[start:end], minlength=len(bins.labels)) for start, end in itertools.pairwise(starts)]
    )
    newest = tables[max(tables)]
    quality = quality_by_slice(
        rows_of(newest), answers_of(newest, task), newest["late"].to_numpy().astype(np.float64), ("carrier",), task
    )
    with_scores = replace(profile, bins={**profile.bins, key: bins}, counts={**profile.counts, key: counts})
    return Reference(
        task, "late", with_scores, quality, {"miles": 0.7, "carrier": 0.3, "flight": 0.0, "departure": 0.0}
    )


def _sizes(rows: int, block_rows: int) -> list[int]:
    return [min(block_rows, rows - start) for start in range(0, rows, block_rows)]


def small_schema() -> schema_pb2.Schema:
    """The schema, parsed."""
    return text_format.Parse(SCHEMA, schema_pb2.Schema())


@dataclass
class Watched:
    """A pipeline with pushed versions."""

    folder: Path
    task: str
    versions: list[int]

    @property
    def config(self) -> PipelineConfig:
        return load_config(self.folder / "small.yaml")

    @property
    def log_folder(self) -> Path:
        return self.folder / "requests"

    @property
    def provenance(self) -> Path:
        """Of the newest version."""
        return self.folder / "models" / str(self.versions[-1]) / "assets.extra" / "headrace"

    def span_path(self, span: int) -> Path:
        return self.folder / "data" / f"span-{span:02d}.parquet"

    def write_span(self, span: int, table: pa.Table) -> None:
        self.span_path(span).parent.mkdir(exist_ok=True)
        pq.write_table(table, self.span_path(span))

    def write_labels(self, table: pa.Table, name: str = "labels.parquet") -> None:
        (self.folder / "labels").mkdir(exist_ok=True)
        pq.write_table(table, self.folder / "labels" / name)

    def push(self, reference: Reference | None, **manifest: Any) -> int:
        """Another version."""
        export = self.folder / "exports" / str(len(self.versions))
        export.mkdir(parents=True)
        (export / "saved_model.pb").write_text(f"graph {len(self.versions)}")
        provenance: dict[str, Path | str] = {SCHEMA_FILE: SCHEMA}
        if reference is not None:
            reference.save(self.folder / "exports" / "reference")
            provenance[str(REFERENCE)] = self.folder / "exports" / "reference"
        facts = {"pipeline": "small", "window": "spans 1, 2, 3 train, span 4 evaluates", **manifest}
        self.versions.append(push(export, self.folder / "models", provenance, facts).version)
        return self.versions[-1]

    def change_config(self, **changed: Any) -> None:
        """Sections of the YAML; those of `monitor` are merged."""
        raw = yaml.safe_load((self.folder / "small.yaml").read_text())
        monitor = {**raw["monitor"], **changed.pop("monitor", {})}
        (self.folder / "small.yaml").write_text(yaml.safe_dump({**raw, **changed, "monitor": monitor}))

    def log(self, table: pa.Table, name: str = "host-1-20140101T000000Z-000001", **options: Any) -> Path:
        """A finished log file of requests for the table's rows, each answered when its flight departs."""
        version = options.pop("version", self.versions[-1])
        return write_log(self.log_folder / f"small-{name}.tfrecord", table, version, self.task, **options)

    def look(self, **options: Any) -> Any:
        """One look."""
        return look(self.config, LookOptions(**options))


def write_log(path: Path, table: pa.Table, version: int, task: str = "binary", batch: int = 100) -> Path:
    """Requests of `batch` rows; a row is answered by what the model makes of it, when its flight departs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for start in range(0, len(table), batch):
            writer.write(logged(table.slice(start, batch), version, task))
    return path


def logged(table: pa.Table, version: int, task: str = "binary", seconds: int | None = None) -> bytes:
    """One request, as a server logs it."""
    request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
    for name in (each.name for each in FEATURES if each.name in table.column_names):
        values = table[name].to_pylist()
        array = (
            np.array([b"" if each is None else each.encode() for each in values], object)
            if name == "carrier"
            else np.array([np.nan if each is None else each for each in values], np.float64)
        )
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    answers = answers_of(table, task).astype(np.float32)
    response.outputs[output_name(task)].CopyFrom(tf.make_tensor_proto(answers))
    at = int(table["departure"][0].as_py() or 0) if seconds is None else seconds
    metadata = log_metadata("small", version, "serving_default", 1.0, at)
    return prediction_log("predict_log", metadata, request.SerializeToString(), response.SerializeToString())


def watch_small(folder: Path, task: str = "binary", **monitor: Any) -> Watched:
    """A pipeline `small` whose only version was trained on spans 1 to 3 and evaluated on span 4, of a week each."""
    (folder / "pyproject.toml").touch()
    (folder / "small.pbtxt").write_text(SCHEMA)
    raw = {
        "name": "small",
        "schema": "small.pbtxt",
        "data": {"source": {"path": "data/span-{SPAN}.parquet"}, "window": {"train": 3}},
        "label": {"name": "late", "task": task},
        "features": {"exclude": {"gate": "unknown"}},
        "model": {"architecture": "linear"},
        "gates": {"quality": [{"metric": "log_loss" if task == "binary" else "mse", "at_most": 1e9}]},
        "push": {"path": "models"},
        "serve": {"request_log": {"path": "requests"}, "rest_port": 0},
        "monitor": {"identifier": list(IDENTIFIER), "event_time": "departure", "slices": ["carrier"], **monitor},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(raw))
    it = Watched(folder, task, [])
    tables = {span: flights_of(span, task=task) for span in (1, 2, 3, 4)}
    for span, table in tables.items():
        it.write_span(span, table)
    it.push(reference_of(tables, task))
    return it
