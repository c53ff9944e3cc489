"""The request log, read: which files hold a model's requests, and their rows.

A log may be damaged, still growing, or not what its name says. Nothing of it is fatal: what can be read is, and the
rest is counted in `Problems`.

A file is a sequence of frames: the length (8 bytes, little endian), its masked CRC-32C (4), the record, its masked
CRC-32C (4), see https://www.tensorflow.org/tutorials/load_data/tfrecord. TensorFlow's readers take a cut within a
length for the end of the file and stop at the first bad record; these frames are told apart here.
"""

from __future__ import annotations

import os
import posixpath
import re
import struct
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote

import google_crc32c
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2
from upath import UPath

from models.features import Feature
from monitoring.prediction_log import LoggedRows
from monitoring.problems import Problems
from monitoring.rows import Requests
from monitoring.tensor_columns import UnreadableLog
from schema.errors import DataError
from serving.request_log import PART, SUFFIX
from storage.places import at, is_remote

_LONGEST_NAME = 80
"""Of a model's, in a file's name; as `serving.request_log` cuts it."""
_STAMP = re.compile(r"-(\d{8}T\d{6}Z)-\d+$")
_LENGTH = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_TOLERATED_SECONDS = 60
"""Clocks of two machines differ, and a slow request is logged after a quick one that came later."""


@dataclass(frozen=True)
class LogFile:
    """A file of one model's log."""

    path: UPath
    """Its name once it is whole, by which it is known before and after."""
    model: str
    is_open: bool = False
    """Whether it was still being written, and so had `.part` behind its name."""
    bytes: int = 0
    """Its size when it was found."""


def find_logs(folder: str, model: str) -> list[LogFile]:
    """The files of a model's log, oldest first by the time in their names; none if there is no such folder.

    A model's files begin with its quoted name. So may those of a model whose name goes on from there: they are
    recognized when they are read.

    Raises:
        DataError: The folder cannot be listed.
    """
    # A file that is renamed while the folder is read may be in neither of its names; it is not renamed twice.
    names = _files(folder) | _files(folder)
    whole = {name: size for name, size in names.items() if name.endswith(SUFFIX)}
    parts = {name.removesuffix(PART): size for name, size in names.items() if name.endswith(f"{SUFFIX}{PART}")}
    sizes = {name: size for name, size in (parts | whole).items() if _may_be_of(model, name)}
    return [LogFile(at(folder) / name, model, name not in whole, sizes[name]) for name in sorted(sizes, key=_age)]


def _files(folder: str) -> dict[str, int]:
    """The files of a folder, and their sizes."""
    try:
        return _remote_files(at(folder)) if is_remote(folder) else _local_files(folder)
    except FileNotFoundError:
        return {}
    except Exception as error:  # each object store has errors of its own
        raise DataError(
            "The folder of the request log cannot be listed",
            where=folder,
            received=getattr(error, "strerror", None) or " ".join(str(error).split()),
            mend="Let this user read the folder, or mend `serve.request_log.path`.",
        ) from None


def _local_files(folder: str) -> dict[str, int]:
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it was renamed in the meantime
                if entry.is_file():
                    found[entry.name] = entry.stat().st_size
    return found


def _remote_files(folder: UPath) -> dict[str, int]:
    """With one request, not one for each file."""
    entries = folder.fs.ls(folder.path, detail=True)
    return {posixpath.basename(each["name"]): int(each["size"]) for each in entries if each["type"] == "file"}


def _may_be_of(model: str, name: str) -> bool:
    """Whether a file of this name may hold a model's requests."""
    prefix = quote(model, safe="")[:_LONGEST_NAME]
    return name.startswith((f"{prefix}-", f"{prefix}."))


def _age(name: str) -> tuple[str, str]:
    stamp = _STAMP.search(name.removesuffix(SUFFIX))
    return stamp.group(1) if stamp else "", name


def read_requests(
    file: LogFile, features: Sequence[Feature], problems: Problems, batch_rows: int = 4096
) -> Iterator[Requests]:
    """The rows of a file, some thousand at a time, in the order in which they were logged.

    Rows that came as tensors and rows that came as tf.Examples are in batches of their own.

    Args:
        file: Of `find_logs`.
        features: Those to read.
        problems: Is told of all that is passed over.
        batch_rows: A batch ends with the request that brings it to so many rows.
    """
    rows = LoggedRows(features, problems, str(file.path))
    latest = 0
    for number, record in enumerate(_records(file, problems), 1):
        where = f"{file.path}, record {number}"
        try:
            logged = _parsed(record)
            model = logged.log_metadata.model_spec.name
            if model not in ("", file.model):
                if not _may_be_of(model, file.path.name):
                    problems.add("a request to another model", f"{where}: {model}")
                continue
            rows.add(logged, where)
        except UnreadableLog as error:
            problems.add(str(error), where)
            continue
        seconds = logged.log_metadata.timestamp_secs
        _check_clock(seconds, latest, problems, where)
        latest = seconds if seconds > 0 else latest
        if rows.count >= batch_rows:
            yield from rows.take()
    yield from rows.take()


def _parsed(record: bytes) -> prediction_log_pb2.PredictionLog:
    if not record:
        raise UnreadableLog("an empty record")
    try:
        with (
            warnings.catch_warnings()
        ):  # protobuf's C++ only warns of a message that ends early, and breaks on an error
            warnings.simplefilter("error", RuntimeWarning)
            return prediction_log_pb2.PredictionLog.FromString(record)
    except (DecodeError, SystemError):
        raise UnreadableLog("a record that is no PredictionLog") from None


def _check_clock(seconds: int, latest: int, problems: Problems, where: str) -> None:
    if seconds <= 0:
        problems.add("a request without a time", where)
    elif seconds > time.time() + _TOLERATED_SECONDS:
        problems.add("a request of the future", f"{where}: {seconds} seconds since 1970")
    elif seconds < latest - _TOLERATED_SECONDS:
        problems.add("a clock that went backwards", f"{where}: by {latest - seconds} seconds")


def _records(file: LogFile, problems: Problems) -> Iterator[bytes]:
    try:
        stream, is_open = _opened(file)
        with stream:
            yield from _frames(stream, str(file.path), is_open, problems)
    except FileNotFoundError:
        problems.add("a log file that vanished", str(file.path))
    except OSError as error:
        problems.add("a log file that cannot be read", f"{file.path}: {error.strerror or error}")


def _opened(file: LogFile) -> tuple[BinaryIO, bool]:
    """The file under the name that it has now, and whether that is still `.part`."""
    if file.is_open:
        try:
            return file.path.with_name(f"{file.path.name}{PART}").open("rb"), True
        except FileNotFoundError:  # it was finished in the meantime
            pass
    return file.path.open("rb"), False


def _frames(stream: BinaryIO, path: str, is_open: bool, problems: Problems) -> Iterator[bytes]:
    start = 0
    size_now = _size_of(stream)
    while header := stream.read(_LENGTH.size):
        size = size_now()
        length = 0
        if len(header) == _LENGTH.size:
            length, checksum = _LENGTH.unpack(header)
            if _checksum(header[:8]) != checksum:
                what = "a corrupt record, and what follows it" if start else "a file that is no TFRecord"
                problems.add(what, f"{path}: {size - start} bytes lost from byte {start} on")
                return
        end = start + _LENGTH.size + length + _CHECKSUM.size
        record, rest = (stream.read(length), stream.read(_CHECKSUM.size)) if end <= size else (b"", b"")
        if len(rest) < _CHECKSUM.size:
            if not is_open:
                problems.add("a log file that is cut off", f"{path}: {size - start} bytes lost from byte {start} on")
            return
        if (_checksum(record),) == _CHECKSUM.unpack(rest):
            yield record
        else:
            problems.add("a corrupt record", f"{path}: {end - start} bytes lost from byte {start} on")
        start = end


def _size_of(stream: BinaryIO) -> Callable[[], int]:
    """Tells how long a file is by now: one on this machine may be growing, an object of a store never does."""
    try:
        handle = stream.fileno()
    except OSError:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return lambda: size
    return lambda: os.fstat(handle).st_size


def _checksum(content: bytes) -> int:
    """The CRC-32C, masked as TFRecord does."""
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
