"""TensorFlow Serving's messages of plain values and arrays, and back. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2, regression_pb2

from serving.client.signature import DTYPES, STRING
from serving.client.transport import Examples, Reply, Target, classification, texts

_DATA_TYPES = {dtype: types_pb2.DataType.Value(name) for name, dtype in DTYPES.items()}


def fill_spec(spec: Any, target: Target) -> None:
    """Whom a request asks, or who answered."""
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label
    spec.signature_name = target.signature_name


def predict_request(target: Target, inputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictRequest:
    """A request of arrays; those of text hold bytes."""
    request = predict_pb2.PredictRequest()
    fill_spec(request.model_spec, target)
    for name, array in inputs.items():
        _encode(array, request.inputs[name])
    return request


def predict_response(target: Target, outputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictResponse:
    """The answer that a server would have given over gRPC."""
    response = predict_pb2.PredictResponse()
    fill_spec(response.model_spec, target)
    for name, array in outputs.items():
        _encode(array, response.outputs[name])
    return response


def predict_reply(request: bytes, response: predict_pb2.PredictResponse) -> Reply:
    """The arrays of a response."""
    outputs = {name: texts(np.asarray(tf.make_ndarray(proto)), name) for name, proto in response.outputs.items()}
    return Reply(outputs, response.model_spec.version.value, lambda: (request, response.SerializeToString()))


def classification_request(target: Target, examples: Examples) -> classification_pb2.ClassificationRequest:
    """A request of tf.Examples."""
    request = classification_pb2.ClassificationRequest()
    fill_spec(request.model_spec, target)
    _fill_examples(request.input, examples)
    return request


def classification_response(
    target: Target, outputs: Mapping[str, np.ndarray]
) -> classification_pb2.ClassificationResponse:
    """The answer that a server would have given over gRPC."""
    response = classification_pb2.ClassificationResponse()
    fill_spec(response.model_spec, target)
    for labels, scores in zip(outputs["classes"].tolist(), outputs["scores"].tolist(), strict=True):
        row = response.result.classifications.add()
        for label, score in zip(labels, scores, strict=True):
            row.classes.add(label=label, score=score)
    return response


def classification_reply(request: bytes, response: classification_pb2.ClassificationResponse) -> Reply:
    """The arrays of a response."""
    rows = [[(each.label, each.score) for each in row.classes] for row in response.result.classifications]
    return Reply(
        classification(rows), response.model_spec.version.value, lambda: (request, response.SerializeToString())
    )


def regression_request(target: Target, examples: Examples) -> regression_pb2.RegressionRequest:
    """A request of tf.Examples."""
    request = regression_pb2.RegressionRequest()
    fill_spec(request.model_spec, target)
    _fill_examples(request.input, examples)
    return request


def regression_response(target: Target, outputs: Mapping[str, np.ndarray]) -> regression_pb2.RegressionResponse:
    """The answer that a server would have given over gRPC."""
    response = regression_pb2.RegressionResponse()
    fill_spec(response.model_spec, target)
    for value in outputs["outputs"].tolist():
        response.result.regressions.add(value=value)
    return response


def regression_reply(request: bytes, response: regression_pb2.RegressionResponse) -> Reply:
    """The array of a response."""
    values = np.array([each.value for each in response.result.regressions], np.float32)
    return Reply(
        {"outputs": values}, response.model_spec.version.value, lambda: (request, response.SerializeToString())
    )


def _encode(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """`tf.make_tensor_proto` does the same at several times the cost."""
    proto.dtype = _DATA_TYPES[array.dtype]
    proto.tensor_shape.SetInParent()
    for side in array.shape:
        proto.tensor_shape.dim.add().size = side
    if array.dtype == DTYPES[STRING]:
        values = array.ravel().tolist()
        proto.string_val.extend(
            value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value for value in values
        )
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()


def _fill_examples(given: Any, examples: Examples) -> None:
    listed = given.example_list.examples
    for example in examples:
        features = listed.add().features.feature
        for name, values in example.items():
            if isinstance(values[0], bytes):
                features[name].bytes_list.value.extend(values)
            elif isinstance(values[0], int):
                features[name].int64_list.value.extend(values)
            else:
                features[name].float_list.value.extend(values)
