"""Requests that did not come as protos, as the serialized messages that the request log holds.

Each function gives a function, since the log makes its records later, in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tensorflow_serving.apis import classification_pb2, predict_pb2, regression_pb2

from serving.server.batch import Answer
from serving.server.inference import classification_result, fill_model_spec, regression_result
from serving.server.servable import Servable, Signature
from serving.server.tensors import data_type_of
from serving.wire import field, tensor

Messages = Callable[[], tuple[bytes, bytes]]
"""Makes a serialized request and its response."""

_REQUEST_INPUTS = predict_pb2.PredictRequest.DESCRIPTOR.fields_by_name["inputs"].number
_RESPONSE_OUTPUTS = predict_pb2.PredictResponse.DESCRIPTOR.fields_by_name["outputs"].number


def predict_messages(servable: Servable, signature: Signature, answer: Answer) -> Messages:
    """Of a Predict call."""

    def make() -> tuple[bytes, bytes]:
        request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
        fill_model_spec(request.model_spec, servable, signature.name)
        fill_model_spec(response.model_spec, servable, signature.name)
        inputs = zip(signature.input_names, answer.inputs, strict=True)
        outputs = zip(signature.outputs, answer.outputs, strict=True)
        return (
            request.SerializeToString() + b"".join(_entry(_REQUEST_INPUTS, name, array) for name, array in inputs),
            response.SerializeToString() + b"".join(_entry(_RESPONSE_OUTPUTS, name, array) for name, array in outputs),
        )

    return make


def _entry(number: int, name: str, array: np.ndarray) -> bytes:
    """An entry of a map from names to TensorProtos."""
    return field(number, field(1, name.encode()) + field(2, tensor(array, data_type_of(array))))


def classify_messages(
    servable: Servable, signature: Signature, examples: list[bytes], outputs: list[np.ndarray]
) -> Messages:
    """Of a Classify call."""

    def make() -> tuple[bytes, bytes]:
        request = classification_pb2.ClassificationRequest()
        _fill_examples(request, servable, signature, examples)
        response = classification_pb2.ClassificationResponse()
        fill_model_spec(response.model_spec, servable, signature.name)
        response.result.CopyFrom(classification_result(signature, outputs, len(examples)))
        return request.SerializeToString(), response.SerializeToString()

    return make


def regress_messages(
    servable: Servable, signature: Signature, examples: list[bytes], outputs: list[np.ndarray]
) -> Messages:
    """Of a Regress call."""

    def make() -> tuple[bytes, bytes]:
        request = regression_pb2.RegressionRequest()
        _fill_examples(request, servable, signature, examples)
        response = regression_pb2.RegressionResponse()
        fill_model_spec(response.model_spec, servable, signature.name)
        response.result.CopyFrom(regression_result(outputs, len(examples)))
        return request.SerializeToString(), response.SerializeToString()

    return make


def _fill_examples(request: Any, servable: Servable, signature: Signature, examples: list[bytes]) -> None:
    fill_model_spec(request.model_spec, servable, signature.name)
    for example in examples:
        request.input.example_list.examples.add().ParseFromString(example)
