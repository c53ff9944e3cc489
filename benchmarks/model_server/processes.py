"""A server's processes: started, stopped for the time that others are measured, and asked what they used (/proc)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SECONDS_TO_END = 15.0


class ServerProcess:
    """A server with all its children.

    Args:
        command: Starts it.
        log: A file for its output.
        environment: Beyond our own.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        """Whether the first process is gone."""
        return self._process.poll() is not None

    def end_of_log(self) -> str:
        """The last that it said."""
        return self._log.read_bytes()[-2000:].decode("utf-8", "replace")

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, those that have ended included."""
        return sum(sum(_stat(process)[11:15]) for process in self._tree()) / _TICK

    def resident_mib(self) -> float:
        """The memory that all its processes hold."""
        return sum(_stat(process)[21] for process in self._tree()) * _PAGE / (1 << 20)

    def pause(self) -> None:
        """Takes the processor from it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Gives it back."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it, politely at first."""
        tree = self._tree()
        self._signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in tree:
            if _session(process) == self._process.pid:  # left behind, and still ours
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _tree(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                children.setdefault(_stat(int(folder.name))[1], []).append(int(folder.name))
        tree = [] if self.has_ended else [self._process.pid]
        for process in tree:
            tree.extend(children.get(process, ()))
        return tree


def _stat(process: int) -> list[int]:
    """The numbers of /proc/PID/stat from the state on, which is 0 here; all 0 for a process that is gone."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return [0] * 50
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]


def _session(process: int) -> int:
    return _stat(process)[3]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


def wait_until(deadline: float, seconds: float = 0.2) -> bool:
    """Sleeps; whether there is time left until the deadline (of `time.monotonic`)."""
    time.sleep(seconds)
    return time.monotonic() < deadline
