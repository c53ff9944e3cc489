"""Requests that did not come as protos, as the serialized messages that the request log holds.

Each function gives a function, since the log makes its records later, in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    kinds = classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse
    return partial(_made, kinds, servable, signature, examples, partial(classification_result, signature, outputs))


def regress_messages(
    servable: Servable, signature: Signature, examples: list[bytes], outputs: list[np.ndarray]
) -> Messages:
    """Of a Regress call."""
    kinds = regression_pb2.RegressionRequest, regression_pb2.RegressionResponse
    return partial(_made, kinds, servable, signature, examples, partial(regression_result, outputs))


def _made(
    kinds: tuple[Any, Any],
    servable: Servable,
    signature: Signature,
    examples: list[bytes],
    result: Callable[[int], Any],
) -> tuple[bytes, bytes]:
    request, response = (kind() for kind in kinds)
    for message in (request, response):
        fill_model_spec(message.model_spec, servable, signature.name)
    for example in examples:
        request.input.example_list.examples.add().ParseFromString(example)
    response.result.CopyFrom(result(len(examples)))
    return request.SerializeToString(), response.SerializeToString()
