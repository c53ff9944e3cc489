"""One process at a time, on this machine and in an object store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.leases import leased
from storage.places import Place, is_remote

_LOCK = ".push.lock"


@contextmanager
def locked(base: Place) -> Iterator[Callable[[], None]]:
    """Only one process at a time changes what lies below a folder.

    On this machine the folder is created if need be, and the lock waited for; in an object store it is a lease.

    Yields:
        Makes sure, before a step that must not be taken by two, that the lock has not been lost.

    Raises:
        LockedError: Another process holds, or took over, the lock in an object store.
    """
    if is_remote(base):
        with leased(base / _LOCK) as confirm:
            yield confirm
        return
    base.mkdir(parents=True, exist_ok=True)
    with alone(Path(str(base / _LOCK))):
        yield _nothing_can_be_lost


def _nothing_can_be_lost() -> None:
    """The kernel keeps a lock as long as its holder lives."""


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Waits until no other process holds the file; the kernel frees it when its holder ends, however it ends."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
