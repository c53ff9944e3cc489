"""A server under load while new versions of its model arrive."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.model_server.load import Measurement
from benchmarks.model_server.payloads import Payload
from benchmarks.model_server.processes import wait_until
from benchmarks.model_server.systems import REST, System

CONCURRENCY = 8
_SECONDS_BETWEEN = 3.0
_SECONDS_TO_SERVE = 30.0
_POLL_SECONDS = 0.1


@dataclass
class Reloads:
    """What was seen."""

    steady: Measurement
    """Without reloads, as long."""
    during: Measurement
    served_after: list[float] = field(default_factory=list)
    """Seconds from the rename to the new version being available, for each reload."""
    memory: list[float] = field(default_factory=list)
    """MiB after each reload."""


def measure(system: System, payload: Payload, base_path: Path, reloads: int) -> Reloads:
    """Publishes copies of the only version in `base_path`, one after another, and deletes older ones."""
    seconds = reloads * _SECONDS_BETWEEN
    steady = system.load(REST, payload, CONCURRENCY, min(seconds, 10))
    result = Reloads(steady, steady, memory=[system.process.resident_mib()])
    publisher = threading.Thread(target=_publish, args=(system, base_path, reloads, result))
    publisher.start()
    try:
        result.during = system.load(REST, payload, CONCURRENCY, seconds + 1)
    finally:
        publisher.join()
    return result


def _publish(system: System, base_path: Path, reloads: int, result: Reloads) -> None:
    versions = sorted(int(folder.name) for folder in base_path.iterdir() if folder.name.isdigit())
    for _ in range(reloads):
        start = time.monotonic()
        newest = versions[-1]
        hidden = base_path / f".{newest + 1}"
        shutil.copytree(base_path / str(newest), hidden)
        hidden.rename(base_path / str(newest + 1))
        versions.append(newest + 1)
        renamed = time.monotonic()
        while not _is_available(system, newest + 1) and wait_until(renamed + _SECONDS_TO_SERVE, _POLL_SECONDS):
            pass
        result.served_after.append(time.monotonic() - renamed)
        result.memory.append(system.process.resident_mib())
        while len(versions) > 2:
            shutil.rmtree(base_path / str(versions.pop(0)))
        time.sleep(max(0.0, start + _SECONDS_BETWEEN - time.monotonic()))


def _is_available(system: System, version: int) -> bool:
    try:
        with urllib.request.urlopen(system.rest_url.removesuffix(":predict"), timeout=_SECONDS_TO_SERVE) as response:
            states = {each["version"]: each["state"] for each in json.load(response)["model_version_status"]}
    except OSError:  # the load sees it, and counts it
        return False
    return states.get(str(version)) == "AVAILABLE"
