"""Warm-up requests that travel with a pushed model.

A model server answers them before the model takes traffic, so that the first real request does not pay for what
TensorFlow does lazily (https://www.tensorflow.org/tfx/serving/saved_model_warmup).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")


def write_warmup(model: Path, requests: Iterable[predict_pb2.PredictRequest], name: str) -> None:
    """Writes the requests into a model's folder as a TFRecord of PredictionLogs: each whole, and its first row alone.

    Args:
        model: The folder of the SavedModel.
        requests: Batches of real examples, [batch] for each input.
        name: Under which the model will be served.
    """
    path = model / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            for rows in (1, None):
                log = prediction_log_pb2.PredictionLog(predict_log={"request": _first_rows(request, rows)})
                log.predict_log.request.model_spec.name = name
                writer.write(log.SerializeToString())


def _first_rows(request: predict_pb2.PredictRequest, rows: int | None) -> predict_pb2.PredictRequest:
    part = predict_pb2.PredictRequest(model_spec=request.model_spec)
    for name, value in request.inputs.items():
        part.inputs[name].CopyFrom(tf.make_tensor_proto(tf.make_ndarray(value)[:rows]))
    return part
