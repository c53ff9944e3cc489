"""Watched rows as files of tf.Examples, and a model small enough to know its answers by heart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from watched import category, number, watched_rows

from models.features import Feature
from models.signatures import output_name

LABEL = "late"
MODEL_FEATURES = (number("x"), number("noise"), category("carrier"))
"""What `save_model`'s model reads; beside them `LABEL` is watched."""
SCORED_FEATURES = (*MODEL_FEATURES, number(LABEL, is_whole=True))


def write_examples(path: Path, rows: pa.RecordBatch, features: Sequence[Feature]) -> Path:
    """Writes rows as a gzipped TFRecord file of tf.Examples; what is missing is absent."""
    columns = [rows.column(each.name).to_pylist() for each in features]
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for values in zip(*columns, strict=True):
            present = {each.name: _as_list(value, each) for each, value in zip(features, values, strict=True)
                       if value is not None}  # fmt: skip
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString(deterministic=True)
            )
    return path


def scored_rows(random: np.random.Generator, rows: int) -> pa.RecordBatch:
    """Rows of `SCORED_FEATURES`, whose label is drawn from `answers`."""
    x, carrier = random.normal(size=rows).astype(np.float32), random.choice([b"AA", b"UA"], rows)
    columns = {"x": x, "noise": random.normal(size=rows), "carrier": carrier}
    late = random.random(rows) < answers(watched_rows(columns, MODEL_FEATURES))
    return watched_rows({**columns, LABEL: late.astype(np.int64)}, SCORED_FEATURES)


def answers(rows: pa.RecordBatch) -> np.ndarray:
    """What the model answers for rows, float64 [rows]: it is surer the larger `x`, and a little later with AA."""
    is_aa = np.array([each == b"AA" for each in rows.column("carrier").to_pylist()], bool)
    return np.asarray(1 / (1 + np.exp(-(3 * np.asarray(rows.column("x")) + 0.5 * is_aa))))


def save_model(path: Path, task: str = "binary") -> Path:
    """Writes the SavedModel of `answers`, with the signatures of a pushed one."""
    output = output_name(task)

    def answer(x: tf.Tensor, carrier: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: tf.sigmoid(3 * x + 0.5 * tf.cast(carrier == b"AA", tf.float32))}

    def serve_raw(x: tf.Tensor, noise: tf.Tensor, carrier: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(x + 0 * noise, carrier)

    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        specs = {
            "x": tf.io.FixedLenFeature([], tf.float32),
            "carrier": tf.io.FixedLenFeature([], tf.string, default_value=""),
        }
        parsed = tf.io.parse_example(examples, specs)
        return answer(parsed["x"], parsed["carrier"])

    module = tf.Module()
    texts, floats = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.float32)
    module.raw = tf.function(serve_raw, input_signature=[floats, floats, texts])
    module.examples = tf.function(serve_examples, input_signature=[texts])
    signatures = {"serving_default": module.raw, "serve_examples": module.examples}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


def _as_list(value: Any, feature: Feature) -> tf.train.Feature:
    if feature.type == schema_pb2.BYTES:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if feature.type == schema_pb2.INT:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
