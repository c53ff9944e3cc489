"""What a child process needs, so that none outlives the run that started it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

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
