"""The client: rows in, arrays out."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.client import examples
from serving.client.errors import (
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNAVAILABLE,
    Answer,
    ClientError,
    attempt,
)
from serving.client.parts import CLASSES, VALUES, concatenated, open_log, open_transport, refuse_unknown, signature_for
from serving.client.rows import Chunk, chunks
from serving.client.signature import DEFAULT_SIGNATURE, Metadata, Signature, VersionStatus
from serving.client.split import CANARY, Split
from serving.client.transport import Certificates, Reply, Target, parse_address
from serving.client.values import array_of

if TYPE_CHECKING:
    from serving.config import RequestLogConfig

_POLL_SECONDS = 0.2
_RECENT_SECONDS = 1.0
_CHANGED = (INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND)
"""What is answered when the signature that the client knows is of another version than the one that answers."""


class Client:
    """Asks one model of a server. May be used by many threads; does not survive a fork.

    Args:
        address: `grpc://HOST:8500`, `grpcs://…`, `http://HOST:8501`, `https://…`.
        model: The model's name on the server.
        version: A version of it; None for the newest.
        label: Or a label, such as `stable`.
        canary_share: The share of the requests that a candidate answers while one is tried (the label `canary`, see
            `serving.canary`); all others name no label, which is the stable version. Without a candidate they all do.
        signature: What is asked unless a call says otherwise; None for `serving_default` in `predict`, and for the
            one that can in `classify` and `regress`.
        timeout: Seconds for one request with its retries.
        retries: The most attempts after the first; only what is UNAVAILABLE is tried again.
        batch_size: The most rows in one request. Servers that batch refuse requests above their `max_batch_size`,
            which is 1000 unless it is configured.
        schema: A reviewed schema (.pbtxt) for the types in tf.Examples, see `serving.client.examples`.
        ignore: Columns of the rows that are dropped if the model does not know them; True for any. All others that
            it does not know are refused, as most are misspelt features, which would count as missing.
        certificates: For TLS.
        headers: Sent with each request (metadata over gRPC), for a gateway.
        request_log: Log what is asked and answered, as the server's own request log does. Over REST, what is logged
            follows the newest version a second behind: an answer does not tell who gave it, so it is asked for.

    Raises:
        ValueError: The address is none, or several of a version, a label and a canary's share are given.
        OSError: A certificate cannot be read.
        SchemaError: The schema cannot be read.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        canary_share: float = 0.0,
        signature: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        batch_size: int = 512,
        schema: str | Path | None = None,
        ignore: bool | Collection[str] = (),
        certificates: Certificates | None = None,
        headers: Mapping[str, str] | None = None,
        request_log: RequestLogConfig | None = None,
    ) -> None:
        if version is not None and label is not None:
            raise ValueError(f"expected a version or a label, received both: {version} and {label!r}")
        if not 0 <= canary_share <= 1 or (canary_share and (version is not None or label is not None)):
            raise ValueError(
                f"expected a canary_share from 0 to 1, without a version or a label, received {canary_share}"
            )
        if timeout <= 0 or batch_size < 1 or retries < 0:
            raise ValueError(
                f"expected timeout > 0, batch_size ≥ 1 and retries ≥ 0, received {timeout}, {batch_size}, {retries}"
            )
        self._address = parse_address(address)
        self._target = Target(model, version, label)
        self._signature_name = signature
        self._timeout, self._retries, self._batch_size = timeout, retries, batch_size
        self._types = examples.types_of_schema(schema) if schema is not None else None
        self._ignore = ignore
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        self._lock = threading.Lock()
        self._log = open_log(request_log, model)
        self._transport = open_transport(self._address, certificates or Certificates(), headers or {})
        self._split = Split(canary_share) if canary_share else None
        self._candidate = copy.copy(self)  # knows other signatures; the connections and the log are the same
        self._candidate._target = Target(model, label=CANARY)

    def predict(
        self, rows: Any, *, signature: str | None = None, timeout: float | None = None, key: str | bytes | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature: an array for each, its first dimension the rows in their order.

        Args:
            rows: An iterable of dicts, a DataFrame, an Arrow Table, RecordBatch or RecordBatchReader.
            signature: Instead of the client's.
            timeout: Seconds for each request with its retries, instead of the client's.
            key: With a `canary_share`: the same key is always answered by the same side. None: each request of the
                call is divided at random.

        Raises:
            ClientError: A row does not fit (then nothing of its request was sent), or there is no answer.
        """
        name = signature or self._signature_name or DEFAULT_SIGNATURE
        replies = self._ask_all(rows, key, lambda side, chunk: side._predict(chunk, name, timeout))
        return concatenated(replies, lambda: self._signature(name, timeout).outputs, self._where)

    def classify(
        self, rows: Any, *, signature: str | None = None, timeout: float | None = None, key: str | bytes | None = None
    ) -> dict[str, np.ndarray]:
        """`classes`, text [rows, classes], and `scores`, float32 [rows, classes], of rows sent as tf.Examples.

        Args:
            rows: As for `predict`; a value may also be a list.
            signature: As for `predict`.
            timeout: As for `predict`.
            key: As for `predict`.

        Raises:
            ClientError: As for `predict`.
        """
        replies = self._ask_all(
            rows, key, lambda side, chunk: side._ask_examples("classify", chunk, signature, timeout)
        )
        return concatenated(replies, lambda: CLASSES, self._where)

    def regress(
        self, rows: Any, *, signature: str | None = None, timeout: float | None = None, key: str | bytes | None = None
    ) -> np.ndarray:
        """The values, float32 [rows], of rows sent as tf.Examples.

        Args:
            rows: As for `classify`.
            signature: As for `predict`.
            timeout: As for `predict`.
            key: As for `predict`.

        Raises:
            ClientError: As for `predict`.
        """
        replies = self._ask_all(rows, key, lambda side, chunk: side._ask_examples("regress", chunk, signature, timeout))
        return concatenated(replies, lambda: VALUES, self._where)["outputs"]

    def metadata(self, *, timeout: float | None = None) -> Metadata:
        """The version that answers now, and its signatures.

        Raises:
            ClientError: There is no answer.
        """
        found = self._attempt(lambda seconds: self._transport.metadata(self._target, seconds), timeout)
        with self._lock:
            self._metadata, self._read_at = found, time.monotonic()
        return found

    def status(self, *, timeout: float | None = None) -> list[VersionStatus]:
        """The state of the versions, newest first: of one version if the client asks for one, else of all.

        Raises:
            ClientError: There is no answer.
        """
        target = Target(self._target.model, self._target.version)  # a label does not filter
        return self._attempt(lambda seconds: self._transport.status(target, seconds), timeout)

    def wait_until_available(self, timeout: float = 60.0) -> Metadata:
        """Waits until the model answers, for a server that starts or a version that loads.

        Raises:
            ClientError: DEADLINE_EXCEEDED, with what was last heard; or a failure that waiting does not mend.
        """
        end = time.monotonic() + timeout
        while True:
            left = max(end - time.monotonic(), 0.001)
            try:
                return self.metadata(timeout=min(left, self._timeout))
            except ClientError as error:
                passes = (
                    UNAVAILABLE,
                    NOT_FOUND,
                    DEADLINE_EXCEEDED,
                    *((INVALID_ARGUMENT,) if self._target.label else ()),
                )
                if error.code not in passes:
                    raise
                if time.monotonic() + _POLL_SECONDS >= end:
                    told = f"Not available within {timeout:g} s; last heard: {error.code}: {error.message}"
                    raise ClientError(DEADLINE_EXCEEDED, told, self._where, error.attempts) from None
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Ends the connections, and finishes the request log."""
        self._transport.close()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _where(self) -> str:
        return f"{self._target} on {self._address}"

    def _ask_all(self, rows: Any, key: str | bytes | None, ask: Callable[[Client, Chunk], Reply]) -> list[Reply]:
        return [self._ask_side(chunk, key, ask) for chunk in chunks(rows, self._batch_size)]

    def _ask_side(self, chunk: Chunk, key: str | bytes | None, ask: Callable[[Client, Chunk], Reply]) -> Reply:
        if self._split is not None and self._split.takes(key):
            try:
                return self._candidate._current(partial(ask, self._candidate, chunk))
            except ClientError as error:
                if not self._split.absent(error):
                    raise
        return self._current(partial(ask, self, chunk))

    def _attempt(self, ask: Callable[[float], Answer], timeout: float | None) -> Answer:
        return attempt(ask, self._timeout if timeout is None else timeout, self._retries, self._where)

    def _current(self, ask: Callable[[], Reply]) -> Reply:
        """Asks, and once more if the signatures turn out to have changed: a server may load a version at any time."""
        known = self._metadata
        try:
            return ask()
        except ClientError as error:
            if error.code not in _CHANGED or known is None:
                raise
            try:
                fresh = self.metadata()
            except ClientError:
                raise error from None
            if fresh == known:
                raise
        return ask()

    def _known(self, timeout: float | None) -> Metadata:
        return self._metadata or self.metadata(timeout=timeout)

    def _recent(self, timeout: float | None) -> Metadata:
        if self._metadata is None or time.monotonic() - self._read_at > _RECENT_SECONDS:
            return self.metadata(timeout=timeout)
        return self._metadata

    def _signature(self, name: str, timeout: float | None) -> Signature:
        signatures = self._known(timeout).signatures
        if name not in signatures:
            told = f"There is no signature {name!r}; there are {', '.join(sorted(signatures))}"
            raise ClientError(FAILED_PRECONDITION, told, self._where)
        return signatures[name]

    def _predict(self, chunk: Chunk, name: str, timeout: float | None) -> Reply:
        signature = self._signature(name, timeout)
        refuse_unknown(chunk, signature.inputs, self._ignore)
        arrays = {
            key: array_of(chunk.columns.get(key), key, spec, chunk.start, chunk.size)
            for key, spec in signature.inputs.items()
        }
        return self._send(
            "predict",
            arrays,
            self._target.of(name),
            lambda target, seconds: self._transport.predict(target, signature, arrays, seconds),
            timeout,
        )

    def _ask_examples(self, kind: str, chunk: Chunk, signature: str | None, timeout: float | None) -> Reply:
        known = self._known(timeout)
        name = signature or self._signature_name or signature_for(kind, known, self._where)
        types = self._types if self._types is not None else examples.types_of_signature(known)
        if types:
            refuse_unknown(chunk, types, self._ignore)
        columns = {key: column for key, column in chunk.columns.items() if not types or key in types}
        asked = examples.examples_of(Chunk(columns, chunk.start, chunk.size), types)
        ask = self._transport.classify if kind == "classify" else self._transport.regress
        return self._send(
            kind, asked, self._target.of(name), lambda target, seconds: ask(target, asked, seconds), timeout
        )

    def _send(
        self, kind: str, asked: Any, target: Target, ask: Callable[[Target, float], Reply], timeout: float | None
    ) -> Reply:
        log = self._log if self._log is not None and self._log.samples() else None
        if log is not None and not self._address.is_grpc:
            # An answer over REST does not tell which version gave it, so a request that is logged asks for one.
            target = target.pinned(self._recent(timeout).version)
        reply = self._attempt(lambda seconds: ask(target, seconds), timeout)
        if log is not None:
            log.write(kind, target, asked, reply, reply.version or target.version or 0)
        return reply
