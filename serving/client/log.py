"""The request log, written by the client: the stock TensorFlow Serving refuses to log. Imports TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from serving.client import messages
from serving.client.transport import Examples, Reply, Target
from serving.config import RequestLogConfig
from serving.request_log import RequestLog, log_metadata, prediction_log

_KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "predict": (messages.predict_request, messages.predict_response),
    "classify": (messages.classification_request, messages.classification_response),
    "regress": (messages.regression_request, messages.regression_response),
}


class ClientLog:
    """Logs one model's requests as `serving.server` does: the same files with the same fields."""

    def __init__(self, config: RequestLogConfig, model: str) -> None:
        self._log = RequestLog(config, model)

    def samples(self) -> bool:
        """Whether the next request is one of those to log."""
        return self._log.samples()

    def write(
        self, kind: str, target: Target, asked: Mapping[str, np.ndarray] | Examples, reply: Reply, version: int
    ) -> None:
        """Offers a request to the log.

        Args:
            kind: `predict`, `classify` or `regress`.
            target: Whom it asked.
            asked: Its arrays or examples.
            reply: What came back.
            version: That answered.
        """
        answered = target.pinned(version)
        request, response = _KINDS[kind]
        metadata = log_metadata(target.model, version, target.signature_name, self._log.sampling_rate, time.time())

        def rebuilt() -> tuple[bytes, bytes]:
            """REST has no messages; these are what gRPC would have sent."""
            return (
                request(answered, asked).SerializeToString(),
                response(answered, reply.outputs).SerializeToString(),
            )

        self._log.offer(lambda: prediction_log(f"{kind}_log", metadata, *(reply.messages or rebuilt)()))

    def close(self) -> None:
        """Writes what is queued, and finishes the file."""
        self._log.close()
