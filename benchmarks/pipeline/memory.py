"""What a process and its descendants hold in memory, looked at again and again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

_MIB = 1 << 20
_SHORTEST_PAUSE = 0.2
_MOST_COST = 0.05
"""Of one core's time, for looking: the kernel counts pages one by one."""


@dataclass(frozen=True)
class Sample:
    """One look.

    `mib` is of all processes: a page that several of them share (a forked process shares its parent's) is counted once,
    as the kernel's PSS does. `resident_mib` is of the processes with the same standard output, each with all its pages
    (RSS), by the name of that file without its suffix: Headrace's nodes log to `NODE.log`.
    """

    when: float
    mib: float
    resident_mib: dict[str, float]


class Sampler:
    """Looks at a process and its descendants while a `with` block runs.

    Args:
        process_id: The process.
        look: Gives a sample.
    """

    def __init__(self, process_id: int, look: Callable[[int], Sample] | None = None) -> None:
        self.samples: list[Sample] = []
        self._process_id = process_id
        self._look = look or look_at
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peak_mib(self) -> float:
        """The most that all processes held at once."""
        return max((sample.mib for sample in self.samples), default=0.0)

    def _run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            start = time.thread_time()
            self.samples.append(self._look(self._process_id))
            pause = max(_SHORTEST_PAUSE, (time.thread_time() - start) / _MOST_COST)


def look_at(process_id: int) -> Sample:
    """A look at a process and its descendants; nothing of a process that has ended."""
    mib, resident = 0.0, defaultdict[str, float](float)
    for process in _tree(process_id):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            memory = process.memory_full_info()
            mib += memory.pss / _MIB
            resident[Path(f"/proc/{process.pid}/fd/1").readlink().stem] += memory.rss / _MIB
    return Sample(time.time(), mib, dict(resident))


def _tree(process_id: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(process_id)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
