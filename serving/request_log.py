"""The request log: what was asked and answered, as TFRecords of `PredictionLog`, which skew and drift checks read.

A log never delays or loses an answer: requests are offered to a bounded queue, a thread writes them, and what does
not fit is counted and dropped. A file is written under a name that ends in `.part` and renamed when it is whole:
after so many bytes, after so many seconds, or at the end.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import tensorflow as tf
from tensorflow_serving.apis import logging_pb2, prediction_log_pb2

from serving.config import RequestLogConfig
from serving.wire import field

PART = ".part"
SUFFIX = ".tfrecord"

_QUEUE_SIZE = 4096
_POLL_SECONDS = 0.02
_FLUSH_SECONDS = 1.0
_RETRY_SECONDS = 30.0
_FRAME_BYTES = 16
_LONGEST_NAME = 80
_FILES = itertools.count(1)
"""Numbers the files of all logs of this process: two of the same second must not have one name."""

log = logging.getLogger(__name__)


class Fate(str, Enum):
    """What became of a request that was to be logged."""

    LOGGED = "OK"
    DROPPED = "DROPPED"
    """The queue was full."""
    FAILED = "FAILED"
    """It could not be written: the disk is full, say."""


class RequestLog:
    """Writes one model's requests.

    Args:
        config: Where, how many of them, and when a new file is begun.
        name: The first part of each file's name.
        count: Is told of each request's fate, from any thread.
    """

    def __init__(self, config: RequestLogConfig, name: str, count: Callable[[Fate], None] = lambda fate: None) -> None:
        self._config = config
        self._folder = Path(config.path)
        self._prefix = f"{quote(name, safe='')[:_LONGEST_NAME]}-{socket.gethostname()}-{os.getpid()}"
        self._count = count
        self._waiting: deque[Callable[[], bytes]] = deque()
        self._closed = threading.Event()
        self._random = random.Random()  # noqa: S311 - which requests are sampled is no secret
        self._writer: tf.io.TFRecordWriter | None = None
        self._path = self._folder
        self._bytes = 0
        self._opened = self._flushed = self._broken_until = 0.0
        self._thread = threading.Thread(target=self._write_all, name="request-log", daemon=True)
        self._thread.start()

    @property
    def sampling_rate(self) -> float:
        """The share of requests that are logged."""
        return self._config.sampling_rate

    def samples(self) -> bool:
        """Whether the next request is one of those to log."""
        return self._config.sampling_rate >= 1.0 or self._random.random() < self._config.sampling_rate

    def offer(self, make: Callable[[], bytes]) -> None:
        """Logs a request, if there is room for it.

        Args:
            make: Makes the serialized PredictionLog; called later, in the log's own thread.
        """
        if len(self._waiting) < _QUEUE_SIZE:
            self._waiting.append(make)
        else:
            self._count(Fate.DROPPED)

    def close(self) -> None:
        """Writes what is queued, and finishes the file."""
        self._closed.set()
        self._thread.join()

    def _write_all(self) -> None:
        """Looks for requests now and then: to be woken for each would cost the server more than the log."""
        while not self._closed.wait(_POLL_SECONDS):
            self._write_waiting()
        self._write_waiting()
        self._attempt(self._finish)

    def _write_waiting(self) -> None:
        while self._waiting:
            self._write(self._waiting.popleft())
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._attempt(self._tidy)

    def _write(self, make: Callable[[], bytes]) -> None:
        record = _made(make) if time.monotonic() >= self._broken_until else None
        is_written = record is not None and self._attempt(lambda: self._append(record))
        self._count(Fate.LOGGED if is_written else Fate.FAILED)

    def _append(self, record: bytes) -> None:
        if self._writer is None:
            self._begin()
        if self._writer is not None:
            self._writer.write(record)
        self._bytes += len(record) + _FRAME_BYTES
        if self._bytes >= self._config.rotate_mib * 2**20:
            self._finish()

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._path = self._folder / f"{self._prefix}-{stamp}-{next(_FILES):06d}{SUFFIX}"
        self._writer = tf.io.TFRecordWriter(f"{self._path}{PART}")
        self._bytes, self._opened, self._flushed = 0, time.monotonic(), time.monotonic()

    def _tidy(self) -> None:
        """Hands what was written to the system, so that a crash loses a second at most; ends a file in time."""
        if self._writer is None:
            return
        self._writer.flush()
        self._flushed = time.monotonic()
        if self._flushed - self._opened >= self._config.rotate_seconds:
            self._finish()

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            Path(f"{self._path}{PART}").replace(self._path)

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Does something that may fail; then what is whole of the file is kept, and a new one is tried in a while."""
        try:
            act()
        except Exception as error:
            log.error("The request log cannot be written: %s. Requests are answered, but not logged.", error)
            self._broken_until = time.monotonic() + _RETRY_SECONDS
            self._writer = None
            return False
        return True


def _made(make: Callable[[], bytes]) -> bytes | None:
    try:
        return make()
    except Exception:  # a bug of ours must not cost more than this record
        log.exception("A request could not be logged")
        return None


def prediction_log(kind: str, metadata: logging_pb2.LogMetadata, request: bytes, response: bytes) -> bytes:
    """A serialized PredictionLog around a request and a response that are serialized already.

    Args:
        kind: The field of PredictionLog: `predict_log`, `classify_log`, `regress_log` or `multi_inference_log`.
        metadata: Model, version, time.
        request: Of that kind.
        response: Of that kind.
    """
    number = prediction_log_pb2.PredictionLog.DESCRIPTOR.fields_by_name[kind].number
    both = field(1, request) + field(2, response)
    return field(1, metadata.SerializeToString()) + field(number, both)


def log_metadata(
    name: str, version: int, signature_name: str, sampling_rate: float, seconds: float
) -> logging_pb2.LogMetadata:
    """Who answered, and when, in seconds since 1970-01-01."""
    metadata = logging_pb2.LogMetadata(timestamp_secs=int(seconds))
    metadata.model_spec.name = name
    metadata.model_spec.version.value = version
    metadata.model_spec.signature_name = signature_name
    metadata.sampling_config.sampling_rate = sampling_rate
    return metadata
