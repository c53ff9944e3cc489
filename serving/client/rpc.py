"""gRPC over one channel. Imports TensorFlow, for the messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving.client import messages
from serving.client.errors import UNKNOWN, Failure
from serving.client.signature import Metadata, Signature, VersionStatus, metadata_of
from serving.client.transport import Address, Certificates, Examples, Reply, Target

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_retries", 0),  # ours are the only ones, so that what is told of them is true
    # The channel would wait up to 2 minutes before it tries to connect again, and fail all calls meanwhile.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_SIGNATURE_DEF = "signature_def"
_CODES = {each.value[0]: each.name for each in grpc.StatusCode}


class RpcTransport:
    """See `Transport`. May be used by many threads."""

    def __init__(self, address: Address, certificates: Certificates, headers: Mapping[str, str]) -> None:
        self._headers = [(name.lower(), value) for name, value in headers.items()]
        if address.is_secure:
            self._channel = grpc.secure_channel(address.netloc, _credentials(certificates), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.netloc, _OPTIONS)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, target: Target, signature: Signature, inputs: Mapping[str, np.ndarray], timeout: float) -> Reply:
        """The outputs of a signature."""
        request = messages.predict_request(target, inputs)
        response = self._ask(self._prediction.Predict, request, timeout)
        return messages.predict_reply(request.SerializeToString(), response)

    def classify(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """Classes and scores."""
        request = messages.classification_request(target, examples)
        response = self._ask(self._prediction.Classify, request, timeout)
        return messages.classification_reply(request.SerializeToString(), response)

    def regress(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """Values."""
        request = messages.regression_request(target, examples)
        response = self._ask(self._prediction.Regress, request, timeout)
        return messages.regression_reply(request.SerializeToString(), response)

    def metadata(self, target: Target, timeout: float) -> Metadata:
        """Signatures."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_SIGNATURE_DEF])
        messages.fill_spec(request.model_spec, target.of(""))
        response = self._ask(self._prediction.GetModelMetadata, request, timeout)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        if not response.metadata[_SIGNATURE_DEF].Unpack(signatures):
            raise Failure(UNKNOWN, "The server told no signatures")
        document = {
            "model_spec": {"name": response.model_spec.name, "version": response.model_spec.version.value},
            "metadata": {_SIGNATURE_DEF: json_format.MessageToDict(signatures, preserving_proto_field_name=True)},
        }
        return metadata_of(_with_types(document))

    def status(self, target: Target, timeout: float) -> list[VersionStatus]:
        """Versions."""
        request = get_model_status_pb2.GetModelStatusRequest()
        messages.fill_spec(request.model_spec, target.of(""))
        response = self._ask(self._models.GetModelStatus, request, timeout)
        states = get_model_status_pb2.ModelVersionStatus.State
        return [
            VersionStatus(
                each.version, states.Name(each.state), _CODES[each.status.error_code], each.status.error_message
            )
            for each in response.model_version_status
        ]

    def close(self) -> None:
        """Ends the channel."""
        self._channel.close()

    def _ask(self, call: Callable[..., Any], request: Any, timeout: float) -> Any:
        try:
            return call(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise Failure(error.code().name, error.details() or "") from None


def _with_types(document: dict[str, Any]) -> dict[str, Any]:
    """JSON of protobuf leaves out what is 0 or empty; a tensor without a type is DT_INVALID."""
    for signature in document["metadata"][_SIGNATURE_DEF].get("signature_def", {}).values():
        for info in (*signature.get("inputs", {}).values(), *signature.get("outputs", {}).values()):
            info.setdefault("dtype", "DT_INVALID")
            for dim in info.get("tensor_shape", {}).get("dim", ()):
                dim.setdefault("size", 0)
    return document


def _credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    def read(path: str | Path | None) -> bytes | None:
        return None if path is None else Path(path).read_bytes()

    return grpc.ssl_channel_credentials(
        read(certificates.authority), read(certificates.key), read(certificates.certificate)
    )
