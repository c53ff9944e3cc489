"""The model server beside others, in one run: processor time for each request, latency, and reloads under load.

    .venv/bin/python -m benchmarks.model_server [--quick] [--markdown] [--only NAME …]

Needs a pushed flights model (`make run`), wrk and h2load (`apt install wrk nghttp2-client`), and PyPI the first time:
each peer is installed into an environment of its own under .cache/bench. All servers are up all the time and stopped
but for their turns, which go round several times; what is shown are medians. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported, by the servers too
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from benchmarks.model_server import reloads, report
from benchmarks.model_server.load import Measurement, call_loop, middle, require_tools
from benchmarks.model_server.payloads import SIGNATURE, Payload, make_payloads
from benchmarks.model_server.report import IN_PROCESS, IN_PROCESS_IDLE, Case
from benchmarks.model_server.systems import (
    BARE,
    ECHO,
    GRPC,
    LOGGING,
    OURS,
    PEERS,
    REST,
    System,
    Unavailable,
    start,
    wait,
)
from serving.session_model import SessionModel

_PUSHED = Path("serving", "models", "flights")
_ROWS = (1, 64)
_CONCURRENCIES = (1, 32)
_FUNCTION_GAPS = {IN_PROCESS: 0.0, IN_PROCESS_IDLE: 0.0003}
"""Seconds of idleness before each call, about what a client takes between two requests."""
_WARM_UP_SECONDS = 1.0
_BYTES_OF_A_ROW = 4
_SYSTEMS = (OURS, LOGGING, BARE, ECHO, *PEERS)


@dataclass(frozen=True)
class _Plan:
    rounds: int
    seconds: float
    reloads: int
    systems: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables."""
    plan, as_markdown = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the servers end too
    require_tools()
    model = _newest_version()
    Path(".cache", "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(".cache", "bench")) as folder:
        results, seen = _measure(plan, model, Path(folder).resolve())
    tables = [report.measurements(results), report.ratios(results, seen)]
    if seen is not None:
        tables.insert(1, report.reload_table(seen))
    print("\n\n".join(report.show(table, as_markdown) for table in tables))
    for line in report.reload_lists(seen) if seen else ():
        print(f"\n{line}")


def _parse(arguments: Sequence[str] | None) -> tuple[_Plan, bool]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_server", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round and two reloads")
    parser.add_argument(
        "--only", nargs="+", choices=_SYSTEMS, default=_SYSTEMS, metavar="NAME", help=", ".join(_SYSTEMS)
    )
    parser.add_argument("--rounds", type=int, help="how often each server has its turn (default: 3)")
    parser.add_argument("--seconds", type=int, help="of each load (default: 4)")
    parser.add_argument("--reloads", type=int, help="while under load; 0 for none (default: 10)")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    given = parser.parse_args(arguments)
    rounds, seconds, count = (1, 2, 2) if given.quick else (3, 4, 10)
    plan = _Plan(
        rounds if given.rounds is None else given.rounds,
        seconds if given.seconds is None else given.seconds,
        count if given.reloads is None else given.reloads,
        tuple(given.only),
    )
    return plan, given.markdown


def _measure(plan: _Plan, model: Path, folder: Path) -> tuple[report.Results, reloads.Reloads | None]:
    base_path = folder / "models"
    shutil.copytree(model, base_path / model.name)
    session = SessionModel(str(model))
    payloads = make_payloads(session, folder, _ROWS)
    systems: list[System] = []
    try:
        for name in plan.systems:
            _tell(f"Starting {name}")
            _add(systems, name, model, base_path, folder, payloads)
        results = _rounds(plan, session, systems, payloads)
        ours = next((each for each in systems if each.name == OURS), None)
        if ours is None or not plan.reloads:
            return results, None
        _tell(f"{plan.reloads} reloads")
        ours.process.resume()
        try:
            return results, reloads.measure(ours, payloads[1], base_path, plan.reloads)
        except Unavailable as error:
            _tell(f"No reloads. {error}")
            return results, None
    finally:
        for each in systems:
            each.process.stop()


def _add(
    systems: list[System], name: str, model: Path, base_path: Path, folder: Path, payloads: dict[int, Payload]
) -> None:
    """Starts a server, warms it up and stops it for now; one that does not work is told of and left out."""
    ours = next((each for each in systems if each.name == OURS), None)
    answer_bytes = ours.answer_bytes if ours else {rows: _BYTES_OF_A_ROW * rows for rows in payloads}
    try:
        system = start(name, model, base_path, folder, answer_bytes)
        systems.append(system)
        wait(system, list(payloads.values()))
        for protocol, payload, concurrency in itertools.product(system.protocols, payloads.values(), _CONCURRENCIES):
            system.load(protocol, payload, concurrency, _WARM_UP_SECONDS)
        system.process.pause()
    except Unavailable as error:
        _tell(f"{name} is left out. {error}")
        if systems and systems[-1].name == name:
            systems.pop().process.stop()


def _rounds(plan: _Plan, session: SessionModel, systems: list[System], payloads: dict[int, Payload]) -> report.Results:
    seen: dict[Case, list[Measurement]] = {}
    function = session.prepare(SIGNATURE)
    for number in range(plan.rounds):
        _tell(f"Round {number + 1} of {plan.rounds}")
        for rows, payload in payloads.items():
            for name, gap in _FUNCTION_GAPS.items():
                measured = call_loop(partial(function, *payload.arrays), gap, plan.seconds / 2)
                seen.setdefault(Case("", rows, 1, name), []).append(measured)
        for protocol, (rows, payload), concurrency in itertools.product((REST, GRPC), payloads.items(), _CONCURRENCIES):
            for system in [each for each in systems if protocol in each.protocols]:
                system.process.resume()
                try:
                    measured = system.load(protocol, payload, concurrency, plan.seconds)
                except Unavailable as error:
                    _tell(f"{system.name} is left out from here. {error}")
                    systems.remove(system)
                    system.process.stop()
                    continue
                system.process.pause()
                seen.setdefault(Case(protocol, rows, concurrency, system.name), []).append(measured)
    return {case: middle(measured) for case, measured in seen.items()}


def _newest_version() -> Path:
    versions = [folder for folder in _PUSHED.glob("[0-9]*") if folder.name.isdigit()]
    if not versions:
        raise SystemExit(f"There is no model in {_PUSHED}. Run `make run` first.")
    return max(versions, key=lambda folder: int(folder.name)).resolve()


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
