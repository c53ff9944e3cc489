"""What the nodes of `small_reference`'s pipeline read: its examples as an artifact, and its model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_artifacts import Examples

from data.spans import EVAL, TRAIN
from models.signatures import SERVE_EXAMPLES, output_name
from pipeline.beam import IN_MEMORY, IN_MEMORY_RUNNER
from pipeline.components.example_gen import COUNTS, SHARD_SPANS
from pipeline.components.seen_spans import FILE as SPANS_FILE


def execute(
    executor: type[BaseBeamExecutor],
    folder: Path,
    inputs: Mapping[str, Artifact],
    outputs: Mapping[str, Artifact],
    properties: dict[str, Any],
    runner: str = IN_MEMORY_RUNNER,
    options: Sequence[str] = (),
) -> None:
    """Runs a node's executor, by default in memory, with more options of its job."""
    beam_args = [runner, *IN_MEMORY[1:], *options]
    context = BaseBeamExecutor.Context(beam_args, tmp_dir=str(folder / "temporary"), unique_id="1")
    sides = ({key: [each] for key, each in side.items()} for side in (inputs, outputs))
    executor(context).Do(*sides, properties)


def artifact_at(kind: type[Artifact], path: Path) -> Any:
    """An artifact with its folder."""
    path.mkdir(parents=True, exist_ok=True)
    artifact = kind()
    artifact.uri = str(path)
    return artifact


def write_examples(folder: Path, tables: Mapping[int, pa.Table]) -> Examples:
    """Spans as ExampleGen leaves them: a shard for each, the newest in the eval split."""
    artifact = Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names([TRAIN, EVAL])
    newest, count = max(tables), len(tables)
    counts = {TRAIN: sum(len(each) for span, each in tables.items() if span != newest), EVAL: len(tables[newest])}
    artifact.set_string_custom_property(COUNTS, json.dumps({"examples": counts}))
    artifact.set_string_custom_property(
        SHARD_SPANS, json.dumps({span: shard for shard, span in enumerate(sorted(tables))})
    )
    for shard, (span, table) in enumerate(sorted(tables.items())):
        path = folder / f"Split-{EVAL if span == newest else TRAIN}" / f"data-{shard:05d}-of-{count:05d}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for row in table.to_pylist():
                writer.write(example_of(row))
    return artifact


def contents(examples: Examples) -> dict[str, Any]:
    """Of all files that an ExampleGen has left, by path.

    Of examples each with its features in order: the encoder has them in none, so compressed sizes differ, which
    `spans.json` tells, and are left out here.
    """
    root = Path(examples.uri)
    found: dict[str, Any] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = str(path.relative_to(root))
        if path.suffix == ".gz":
            records = tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
            parsed = (tf.train.Example.FromString(record) for record in records)
            found[name] = [example.SerializeToString(deterministic=True) for example in parsed]
        elif name == SPANS_FILE:
            spans = json.loads(path.read_text())
            found[name] = {span: {**record, "files": sorted(record["files"])} for span, record in spans.items()}
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def example_of(row: Mapping[str, Any]) -> bytes:
    """A row as a serialized tf.Example."""
    example = tf.train.Example()
    for name, value in row.items():
        feature = example.features.feature[name]
        if value is None:
            continue
        if name == "carrier":
            feature.bytes_list.value.append(value.encode())
        elif name == "miles":
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(int(value))
    return example.SerializeToString()


class SmallModel(tf.Module):
    """The model as a SavedModel with the signatures that are asked."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="miles"),
            tf.TensorSpec([None], tf.string, name="carrier"),
            tf.TensorSpec([None], tf.float64, name="flight"),
            tf.TensorSpec([None], tf.float64, name="departure"),
        ]
    )
    def rows(self, miles, carrier, flight, departure):
        del flight, departure
        effect = tf.where(carrier == "AA", 1.5, tf.where(carrier == "DL", -1.5, 0.0))
        miles = tf.where(tf.math.is_nan(miles), 500.0, miles)
        return {output_name("binary"): tf.sigmoid((miles - 500) / 200 + effect)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def examples(self, examples):
        spec = {"miles": tf.io.FixedLenFeature([], tf.float32), "carrier": tf.io.FixedLenFeature([], tf.string, "")}
        parsed = tf.io.parse_example(examples, spec)
        none = tf.zeros_like(parsed["miles"], tf.float64)
        return self.rows(parsed["miles"], parsed["carrier"], none, none)

    def save(self, path: Path) -> None:
        signatures = {"serving_default": self.rows, SERVE_EXAMPLES: self.examples}
        tf.saved_model.save(self, str(path), signatures=signatures)
