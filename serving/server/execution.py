"""Where a run takes place: in the event loop if it is short, else in a thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.server.servable import Signature
from serving.server.status import Code, StatusError

_LONGEST_INLINE_SECONDS = 0.0015
"""A run that is expected to take longer leaves the event loop free."""


class Executor:
    """Runs signatures.

    Args:
        threads: For long runs.
        timeout_seconds: After which a run in a thread is given up.
    """

    def __init__(self, threads: int, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._free = threads
        self._when_free: deque[Callable[[], None]] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether all threads are taken."""
        return self._free <= 0

    def take(self) -> None:
        """Takes a thread for runs that follow; `give_back` must follow."""
        self._free -= 1

    def give_back(self) -> None:
        """Gives the thread to those that wait for one."""
        self._free += 1
        for _ in range(len(self._when_free)):
            self._when_free.popleft()()

    def when_free(self, act: Callable[[], None]) -> None:
        """Has something done when the next thread is given back."""
        self._when_free.append(act)

    @staticmethod
    def is_short(signature: Signature, rows: int) -> bool:
        """Whether a run may take place in the event loop. One whose time is not known yet may not."""
        seconds = signature.seconds(rows)
        return seconds is not None and seconds < _LONGEST_INLINE_SECONDS

    async def run(self, signature: Signature, arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """One run, here and now if it is short.

        Raises:
            StatusError: The model failed, or took too long.
        """
        if self.is_short(signature, rows):
            return signature.run(arrays, rows)
        running = asyncio.get_running_loop().run_in_executor(self._pool, signature.run, arrays, rows)
        running.add_done_callback(_forget)
        done, _ = await asyncio.wait((running,), timeout=self.timeout_seconds)
        if not done:
            raise timed_out()
        return running.result()

    def close(self) -> None:
        """Ends the threads once their runs have ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def timed_out() -> StatusError:
    """In TensorFlow's words."""
    return StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def _forget(running: asyncio.Future[list[np.ndarray]]) -> None:
    """Takes note of a failure: whoever waited for it may have been cancelled, or have given up."""
    if not running.cancelled():
        running.exception()
