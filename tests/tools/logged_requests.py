"""Writes request logs as a server would, without one: rows, the model's own answers, and what is injected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from monitoring.reference import REFERENCE, Reference
from monitoring.rows import as_rows
from monitoring.scoring import raw_inputs
from serving.request_log import log_metadata, prediction_log
from serving.session_model import SessionModel
from serving.versions import PROVENANCE


def write_log(
    folder: Path,
    version_path: Path,
    table: pa.Table,
    model_name: str = "flights",
    seconds: int = 1_700_000_000,
    batch: int = 200,
    version: int | None = None,
    name: str = "host-1-20260101T000000Z-000001",
) -> Path:
    """A finished log file of `table`'s rows, `batch` rows to a request, answered by a pushed version.

    Args:
        folder: Of the log.
        version_path: The version that answers.
        table: Its columns of the model's features are asked.
        model_name: As the log names it.
        seconds: When the first request was answered; one a second.
        batch: Rows in a request.
        version: As the log names it; None for the version's own.
        name: The file's name after the model's.
    """
    reference = Reference.load(version_path / PROVENANCE / REFERENCE)
    features = [each for each in reference.profile.features if each.name != reference.label]
    number = int(version_path.name) if version is None else version
    model = SessionModel(str(version_path))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model_name}-{name}.tfrecord"
    table = table.combine_chunks()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for index, start in enumerate(range(0, len(table), batch)):
            part = table.slice(start, batch).to_batches()[0]
            columns = dict(zip(part.schema.names, part.columns, strict=True))
            rows = as_rows(columns, features, len(part))
            inputs = raw_inputs(model, rows, features)
            outputs = model.run("serving_default", inputs)
            request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
            _fill(request.inputs, inputs)
            _fill(response.outputs, outputs)
            metadata = log_metadata(model_name, number, "serving_default", 1.0, seconds + index)
            writer.write(
                prediction_log("predict_log", metadata, request.SerializeToString(), response.SerializeToString())
            )
    model.close()
    return path


def _fill(tensors: object, arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        tensors[name].CopyFrom(tf.make_tensor_proto(array))  # type: ignore[index]
