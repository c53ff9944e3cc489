"""Load: wrk for REST, h2load for gRPC (a client in Python would cost as much as the server), a loop for a function.

wrk corrects its percentiles for coordinated omission: a stall of 50 ms counts for every request that would have been
sent in that time. h2load and the loop count each request once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

_SCRIPT = Path(__file__).with_name("post.lua")
_PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
_GRPC_PREFIX = 5


@dataclass(frozen=True)
class Measurement:
    """What a load saw. Times in microseconds."""

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float
    p999: float
    longest: float
    cpu: float = 0.0
    """For each request: user and system time of the whole server."""


def require_tools() -> None:
    """Ends the program unless the load generators are installed."""
    missing = [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]
    if missing:
        raise SystemExit(f"The load generators are missing: apt install {' '.join(missing)}")


def rest_load(url: str, body: Path, concurrency: int, seconds: float) -> Measurement:
    """So many connections, each with one request at a time."""
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", "--timeout=10s", "-s", str(_SCRIPT), url]
    output = _output(command, {"BODY": str(body)})
    return Measurement(**json.loads(output.splitlines()[-1]))


def grpc_load(url: str, message: Path, concurrency: int, seconds: float, answer_bytes: int) -> Measurement:
    """One connection with so many calls at a time. An answer of another size than expected is a failure."""
    log = message.with_suffix(".log")
    log.unlink(missing_ok=True)
    command = ["h2load", "-t1", "-c1", f"-m{concurrency}", f"-D{seconds:.0f}", f"--data={message}", f"--log-file={log}"]
    for header in ("content-type: application/grpc", "te: trailers"):
        command += ["-H", header]
    output = _output([*command, url], {})
    rows = np.loadtxt(log, dtype=np.int64, ndmin=2)
    log.unlink()
    status, took = rows[:, 1], rows[:, 2]
    received = re.search(r"\((\d+)\) data", output)
    answers = int(received.group(1)) / (answer_bytes + _GRPC_PREFIX) if received else 0
    failed = int((status != 200).sum()) + max(0, round(abs(len(rows) - answers)) - concurrency)
    return Measurement(len(rows), seconds, failed, *_percentiles(took))


def call_loop(function: Callable[[], object], gap: float, seconds: float) -> Measurement:
    """A function called again and again in this process, with an idle gap (in seconds) before each call."""
    took, used = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if gap:
            time.sleep(gap)
        cpu, start = time.thread_time_ns(), time.perf_counter_ns()
        function()
        took.append((time.perf_counter_ns() - start) / 1e3)
        used.append((time.thread_time_ns() - cpu) / 1e3)
    return Measurement(len(took), seconds, 0, *_percentiles(np.array(took)), cpu=sum(used) / len(used))


def middle(rounds: list[Measurement]) -> Measurement:
    """The medians of several measurements; what failed is added up."""
    medians = {name: median(getattr(each, name) for each in rounds) for name in Measurement.__dataclass_fields__}
    return Measurement(**{**medians, "failed": sum(each.failed for each in rounds)})


def _percentiles(took: np.ndarray) -> tuple[float, float, float, float]:
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9]).tolist()
    return p50, p99, p999, float(took.max())


def _output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout
