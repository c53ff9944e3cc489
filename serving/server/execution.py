"""Where a run takes place: in the event loop if it is short, else in a thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from serving.server.servable import Signature
from serving.server.status import Code, StatusError

Result = TypeVar("Result")

_LONGEST_INLINE_SECONDS = 0.0015
"""A run that is expected to take longer leaves the event loop free."""


class Executor:
    """Runs signatures.

    Args:
        threads: For long runs.
    """

    def __init__(self, threads: int) -> None:
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

    async def run(
        self, signature: Signature, arrays: Sequence[np.ndarray], rows: int, timeout_seconds: float | None = None
    ) -> list[np.ndarray]:
        """One run, here and now if it is short; in a thread it is given up after a while, if one is given.

        Raises:
            StatusError: The model failed, or took too long.
        """
        if self.is_short(signature, rows):
            return signature.run(arrays, rows)
        running = asyncio.get_running_loop().run_in_executor(self._pool, signature.run, arrays, rows)
        running.add_done_callback(_forget)
        return await in_time(running, timeout_seconds)

    def close(self) -> None:
        """Ends the threads once their runs have ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def in_time(future: asyncio.Future[Result], timeout_seconds: float | None) -> Result:
    """What a future gives, which goes on if it is given up.

    Raises:
        StatusError: It took too long.
    """
    done, _ = await asyncio.wait((future,), timeout=timeout_seconds)
    if not done:
        raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    return future.result()


def _forget(running: asyncio.Future[list[np.ndarray]]) -> None:
    """Takes note of a failure: whoever waited for it may have been cancelled, or have given up."""
    if not running.cancelled():
        running.exception()
