"""gRPC over one channel. Imports TensorFlow, for the messages."""

from __future__ import annotations

import threading
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
    ("grpc.use_local_subchannel_pool", 1),  # a new channel does not inherit the state of one before, see `_renew`
]
_SIGNATURE_DEF = "signature_def"
_CODES = {each.value[0]: each.name for each in grpc.StatusCode}


class _Link:
    """A channel and its calls."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.calls: dict[str, Callable[..., Any]] = {
            "Predict": prediction.Predict,
            "Classify": prediction.Classify,
            "Regress": prediction.Regress,
            "GetModelMetadata": prediction.GetModelMetadata,
            "GetModelStatus": model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus,
        }


class RpcTransport:
    """See `Transport`. May be used by many threads."""

    def __init__(self, address: Address, certificates: Certificates, headers: Mapping[str, str]) -> None:
        self._address = address
        self._credentials = _credentials(certificates) if address.is_secure else None
        self._headers = [(name.lower(), value) for name, value in headers.items()]
        self._lock = threading.Lock()
        self._link = self._open()

    def predict(self, target: Target, signature: Signature, inputs: Mapping[str, np.ndarray], timeout: float) -> Reply:
        """The outputs of a signature."""
        request = messages.predict_request(target, inputs)
        response = self._ask("Predict", request, timeout)
        return messages.predict_reply(request.SerializeToString(), response)

    def classify(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """Classes and scores."""
        request = messages.classification_request(target, examples)
        response = self._ask("Classify", request, timeout)
        return messages.classification_reply(request.SerializeToString(), response)

    def regress(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """Values."""
        request = messages.regression_request(target, examples)
        response = self._ask("Regress", request, timeout)
        return messages.regression_reply(request.SerializeToString(), response)

    def metadata(self, target: Target, timeout: float) -> Metadata:
        """Signatures."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_SIGNATURE_DEF])
        messages.fill_spec(request.model_spec, target.of(""))
        response = self._ask("GetModelMetadata", request, timeout)
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
        response = self._ask("GetModelStatus", request, timeout)
        states = get_model_status_pb2.ModelVersionStatus.State
        return [
            VersionStatus(
                each.version, states.Name(each.state), _CODES[each.status.error_code], each.status.error_message
            )
            for each in response.model_version_status
        ]

    def close(self) -> None:
        """Ends the channel."""
        self._link.channel.close()

    def _ask(self, method: str, request: Any, timeout: float) -> Any:
        link = self._link
        try:
            return link.calls[method](request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._renew(link)
            raise Failure(error.code().name, error.details() or "") from None

    def _renew(self, failed: _Link) -> None:
        """A channel that cannot connect fails at once for up to two minutes, and connects only during calls.

        The failed one is not closed, as another thread's call may be under way in it; it ends with the last of these.
        """
        with self._lock:
            if self._link is failed:
                self._link = self._open()

    def _open(self) -> _Link:
        netloc = self._address.netloc
        if self._credentials is not None:
            return _Link(grpc.secure_channel(netloc, self._credentials, _OPTIONS))
        return _Link(grpc.insecure_channel(netloc, _OPTIONS))


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
