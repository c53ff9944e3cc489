"""`headrace doctor`: what this machine, this installation and a pipeline's inputs are like."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from rich.console import Console

from pipeline.beam import RUNNERS
from pipeline.config import find_config, load_config
from pipeline.lane import current_lane, glibc_version
from schema.errors import ExitCode, HeadraceError

_LEAST_MEMORY_GIB = 6
_PACKAGES = ("tfx", "tensorflow-cpu", "keras", "apache-beam", "ml-metadata", "protobuf", "numpy", "pyarrow")


class _Trouble(Exception):
    """What a check found wrong, and how to mend it."""


def doctor(console: Console, pipeline: str) -> ExitCode:
    """Runs every check and says what each found; the exit code is that of the first that failed."""
    code = ExitCode.OK
    for name, check in _checks(pipeline):
        try:
            console.print(f"[green]ok[/]      {name}: {check()}", soft_wrap=True)
        except (HeadraceError, _Trouble) as error:
            console.print(f"[bold red]trouble[/] {name}: {error}", soft_wrap=True)
            code = code or getattr(error, "exit_code", ExitCode.INTERNAL)
    return code


def _checks(pipeline: str) -> list[tuple[str, Callable[[], str]]]:
    return [
        ("machine", _machine),
        ("lane", _lane),
        ("packages", _packages),
        ("memory", _memory),
        ("pipeline", lambda: _pipeline(pipeline)),
        ("metadata", lambda: _metadata(pipeline)),
        ("targets", lambda: _targets(pipeline)),
    ]


def _machine() -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise _Trouble(f"{sys.platform} on {platform.machine()}; TFX's packages exist for Linux on x86_64 only")
    free = shutil.disk_usage(Path.cwd()).free >> 30
    return f"Linux x86_64, {os.cpu_count()} cores, {free} GiB of disk free"


def _lane() -> str:
    lane, glibc = current_lane(), glibc_version()
    told = f"{lane.name}, Python {platform.python_version()}, glibc {'.'.join(map(str, glibc or ('none',)))}"
    if glibc is None or glibc < lane.oldest_glibc:
        oldest = ".".join(map(str, lane.oldest_glibc))
        raise _Trouble(f"{told}; this lane needs glibc {oldest}. Use the other: `LANE=tfx-1.16 make install`")
    return told


def _packages() -> str:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise _Trouble(f"{name} is not installed; run `make install`") from None
    if found["tfx"] != current_lane().tfx:
        raise _Trouble(f"tfx {found['tfx']} instead of {current_lane().tfx}; run `make install`")
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if total < _LEAST_MEMORY_GIB:
        raise _Trouble(f"{total:.0f} GiB; nodes that run together need about {_LEAST_MEMORY_GIB}. Use --jobs 1")
    return f"{total:.0f} GiB"


def _pipeline(name: str) -> str:
    from pipeline import preflight

    config = load_config(find_config(name))
    return f"{config.name} is ready to run: {preflight.check(config).describe()}"


def _metadata(name: str) -> str:
    from pipeline.metadata import open_store

    config = load_config(find_config(name))
    open_store(config.home, config.metadata)
    return config.metadata.kind


def _targets(name: str) -> str:
    from pipeline.preflight_targets import check_target

    config = load_config(find_config(name))
    described = [runner for runner in RUNNERS if getattr(config.targets, runner) is not None]
    for runner in described:
        check_target(config, runner)
    return f"ready for --on {', '.join(described)}" if described else "none are described: everything runs here"
