"""What processes need to end well: none outlives what started it, and each can be told to end."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> Callable[[], None]:
    """A function for the child to call first: the kernel will kill it when its parent ends, however that ends.

    Args:
        parent: The parent's process id, to notice a parent that ended before the call.
    """

    def arrange() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


KILLED_HINT = "If the signal is 9, the machine may have run out of memory: see the log, and the kernel's (dmesg)."


def ending(status: int) -> str:
    """How a process ended, given what `os.waitpid` says."""
    if os.WIFSIGNALED(status):
        return f"by signal {os.WTERMSIG(status)}"
    return f"with exit code {os.WEXITSTATUS(status)}"


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM interrupts like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def kept_for_good() -> Iterator[None]:
    """What the block imports is never looked at by the garbage collector.

    TFX's modules are millions of objects, none of which is ever garbage: to look through them takes more than a second
    while they are imported, and again in each process that is forked afterwards, which has to copy them for it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
