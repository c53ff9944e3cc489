"""Changes to folders that several processes share: one at a time, and on the disk when they are done."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".push.lock"


@contextmanager
def locked(base_path: Path) -> Iterator[None]:
    """Only one process at a time changes what lies below a base path, which is created if need be."""
    base_path.mkdir(parents=True, exist_ok=True)
    with (base_path / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def flush_folder(path: Path) -> None:
    """Waits until the names in a folder, or the content of a file, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that whoever reads it, even after a power cut, sees all of it or what was there before."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    flush_folder(unfinished)
    unfinished.replace(path)
    flush_folder(path.parent)
