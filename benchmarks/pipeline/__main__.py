"""Stock TFX and Headrace on the same data in one run, in turn: each node and in all, time and memory.

    .venv/bin/python -m benchmarks.pipeline [--quick] [--rows 1 3 10] [--stock-up-to 10] [--repeat N] [--output FILE]

The data is the year of flights as CSV, once, three and ten times over (`flights.py`). Stock TFX is what its guide and
templates write, on LocalDagRunner (`stock.py`); Headrace is the shipped pipeline, with the gates, the profile, the
reference and the infra check that stock TFX does without. Each run is a process of its own, imports counted, and begins
with nothing; then it runs again, from the cache. (The templates' LatestBlessedModelStrategy then answers with the model
itself, so stock TFX evaluates it once more.) At the first size Headrace also runs on the window before and then on one
new span, and its nodes run on LocalDagRunner too. Memory is sampled; in all, a page that processes share is counted
once (`memory.py`), so the machine should be idle otherwise. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.pipeline import flights, report
from benchmarks.pipeline.flights import EVAL_SPAN, Dataset
from benchmarks.pipeline.measure import (
    CACHED,
    EARLIER,
    FIRST,
    NEW_SPAN,
    Run,
    RunFailed,
    configure,
    run_headrace,
    run_local_dag,
    run_stock,
)
from pipeline.config import find_config, load_config

_ROWS = (1, 3, 10)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables."""
    given = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what runs is ended too
    runs: list[Run] = []
    try:
        for run in _rounds(given.rows, given.repeat, given.stock_up_to):
            runs.append(run)
            print(f"{run.times}×: {run.system}, {run.kind}: {run.seconds:.1f} s", file=sys.stderr, flush=True)
            if given.output is not None:  # after each run, since ten times the rows take long
                report.save(runs, given.output)
    except RunFailed as error:
        raise SystemExit(str(error)) from None
    finally:
        if runs:
            print(f"{report.machine()}\n\n{report.show(runs)}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rows", nargs="+", type=int, metavar="N", help="how often the rows are there (default: 1 3 10)"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="runs of each; medians are shown (default: 1)"
    )
    parser.add_argument(
        "--stock-up-to", type=int, default=max(_ROWS), metavar="N", help="the largest size that stock TFX runs on"
    )
    parser.add_argument("--quick", action="store_true", help="the rows once only")
    parser.add_argument("--output", type=Path, metavar="FILE", help="writes every run as JSON")
    given = parser.parse_args(arguments)
    given.rows = given.rows or ([1] if given.quick else list(_ROWS))
    return given


def _rounds(sizes: Sequence[int], repeat: int, stock_up_to: int) -> Iterator[Run]:
    config = load_config(find_config("flights"))
    for times in sizes:
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            dataset = flights.write(Path(folder) / "data", times, config)
            for _ in range(repeat):
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    yield from _turns(dataset, Path(scratch), with_stock=times <= stock_up_to)
                    if times == sizes[0]:
                        yield from _span_turns(dataset, Path(scratch))
                        yield from _runner_turns(dataset, Path(scratch))


def _turns(dataset: Dataset, folder: Path, *, with_stock: bool) -> Iterator[Run]:
    stock, headrace = (configure(dataset, folder / name) for name in ("stock", "headrace"))
    for kind in (FIRST, CACHED):
        if with_stock:
            yield run_stock(stock, dataset, kind)
        yield run_headrace(headrace, dataset, kind)


def _span_turns(dataset: Dataset, folder: Path) -> Iterator[Run]:
    path = configure(dataset, folder / "spans")
    yield run_headrace(path, dataset, EARLIER, EVAL_SPAN - 1)
    yield run_headrace(path, dataset, NEW_SPAN)


def _runner_turns(dataset: Dataset, folder: Path) -> Iterator[Run]:
    path = configure(dataset, folder / "local_dag")
    for kind in (FIRST, CACHED):
        yield run_local_dag(path, dataset, kind)


if __name__ == "__main__":
    main()
