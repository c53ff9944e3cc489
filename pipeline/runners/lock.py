"""One run at a time on one pipeline's metadata, and a clean start after a run that was killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.metadata import History
from schema.errors import LockedError

_LOCK_FILE = "lock"


@contextmanager
def run_lock(home: Path) -> Iterator[None]:
    """Holds the pipeline for one run. The kernel frees the lock when the process ends, however it ends.

    Raises:
        LockedError: Another run holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(home) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": time.time()}).encode(), 0)
        os.set_inheritable(handle, False)
        yield
    finally:
        os.close(handle)


def _locked(home: Path) -> LockedError:
    try:
        holder = json.loads((home / _LOCK_FILE).read_text())
        who = f"process {holder['pid']}, since {time.strftime('%H:%M:%S', time.localtime(holder['since']))}"
    except (ValueError, KeyError, OSError):
        who = "another process"
    return LockedError(
        "Another run of this pipeline is under way",
        where=str(home),
        received=f"held by {who}",
        mend="Wait for it to end, or stop it, and run the same command again.",
    )


def recover(history: History, artifacts: Path) -> list[str]:
    """Closes what a killed run left open; its half-written outputs go. Call it under the lock only.

    Returns:
        The nodes that had been interrupted.
    """
    unfinished = history.unfinished()
    for execution in unfinished:
        for pattern in (f"*/*/{execution.id}", f"*/.system/*/{execution.id}"):
            for remains in artifacts.glob(pattern):
                shutil.rmtree(remains, ignore_errors=True)
    history.cancel(unfinished)
    return [history.node_of(execution.id) for execution in unfinished]
