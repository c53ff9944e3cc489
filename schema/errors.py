"""The one error type for a user's mistake, and the exit codes that tell mistakes apart."""

from __future__ import annotations

import errno
import json
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns to its shell."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIG = 3
    DATA = 4
    SCHEMA = 5
    DATA_GATE = 10
    QUALITY_GATE = 11
    INFRA_GATE = 12
    NODE = 20
    LOCKED = 21
    DISK = 22
    METADATA = 23
    STORAGE = 24
    SERVER = 30
    RETRAIN = 40
    ROLL_BACK = 41
    BLOCK = 42
    INTERRUPTED = 130


class HeadraceError(Exception):
    """A mistake that the user can mend, told in one paragraph.

    Args:
        what: What was wrong, as a sentence without its full stop.
        where: The file, key, node or feature it was found in.
        expected: What would have been right.
        received: What was there instead.
        mend: What to do about it.
    """

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        received: str | None = None,
        mend: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.received, self.mend = what, where, expected, received, mend
        super().__init__(what, where, expected, received, mend)

    def __str__(self) -> str:
        parts = [f"{self.what}."]
        labelled = (("Where", self.where), ("Expected", self.expected), ("Received", self.received))
        parts += [f"{label}: {text.rstrip('.')}." for label, text in labelled if text]
        return " ".join(parts + ([self.mend] if self.mend else []))

    def to_json(self) -> str:
        """As text, for a process that cannot raise it here; see `from_json`."""
        return json.dumps([type(self).__name__, *self.args])

    @staticmethod
    def from_json(text: str) -> HeadraceError:
        """The inverse of `to_json`."""
        name, *args = json.loads(text)
        kinds = {kind.__name__: kind for kind in HeadraceError.__subclasses__()}
        return _rebuild(kinds.get(name, HeadraceError), tuple(args))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args)


def _rebuild(kind: type[HeadraceError], args: tuple[str | None, ...]) -> HeadraceError:
    what, where, expected, received, mend = args
    return kind(str(what), where=where, expected=expected, received=received, mend=mend)


class UsageError(HeadraceError):
    """A command that asks for what does not exist."""

    exit_code = ExitCode.USAGE


class ConfigError(HeadraceError):
    """A pipeline's YAML file is missing or wrong."""

    exit_code = ExitCode.CONFIG


class DataError(HeadraceError):
    """The source data cannot be what the pipeline was promised."""

    exit_code = ExitCode.DATA


class SchemaError(HeadraceError):
    """The schema is missing, unreadable, or contradicts the configuration."""

    exit_code = ExitCode.SCHEMA


class LockedError(HeadraceError):
    """Another process owns this pipeline's metadata, or changes its pushed versions."""

    exit_code = ExitCode.LOCKED


class NodeError(HeadraceError):
    """A node ended in an error that is not the user's data's or configuration's."""

    exit_code = ExitCode.NODE


class DiskError(HeadraceError):
    """The disk is full or cannot be written to."""

    exit_code = ExitCode.DISK


def disk_error(error: BaseException, what: str) -> DiskError | None:
    """The error told as a full disk, if that is what it is: of Python, of TensorFlow or of SQLite."""
    text = " ".join(str(error).split())
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if not is_full and "No space left on device" not in text and "disk is full" not in text:
        return None
    return DiskError(
        f"The disk is full: {what} could not write",
        where=str(getattr(error, "filename", None) or "see the log"),
        received=text[-300:],
        mend="Free some space and run the same command again; finished nodes are kept.",
    )


class MetadataError(HeadraceError):
    """The metadata store cannot be read."""

    exit_code = ExitCode.METADATA


class StorageError(HeadraceError):
    """An object store refuses what it is asked, or does not have the bucket."""

    exit_code = ExitCode.STORAGE


def metadata_error(error: BaseException) -> MetadataError | None:
    """The error told as that of ML Metadata's store, if it is one: its server is gone, or its file is damaged."""
    if not type(error).__module__.startswith("ml_metadata"):
        return None
    return MetadataError(
        "The metadata store does not answer any more",
        received=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": "),
        mend="Look after its server, then go on with `headrace resume`; finished nodes are kept.",
    )


class ServerError(HeadraceError):
    """A model server cannot be reached, or has no answer."""

    exit_code = ExitCode.SERVER
