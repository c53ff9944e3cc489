"""The tables, in Markdown: each node and in all, and how cost grows with the rows; and all of it as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.pipeline.measure import CACHED, FIRST, HEADRACE, LOCAL_DAG, NEW_SPAN, STOCK, Node, Run

_NONE = "–"
_GIB = 1 << 30
_PACKAGES = {"TFX": "tfx", "Beam": "apache-beam", "TensorFlow": "tensorflow-cpu"}
_STOCK_NAMES = {"ExampleGen": "CsvExampleGen"}
"""Of nodes that have another name in stock TFX."""

Table = list[list[str]]


@dataclass(frozen=True)
class Total:
    """A number of a run as a whole."""

    name: str
    kind: str
    of: Callable[[Run], float]
    show: Callable[[float | None], str]


def machine() -> str:
    """What it ran on."""
    memory = psutil.virtual_memory().total / _GIB
    packages = ", ".join(f"{name} {version(package)}" for name, package in _PACKAGES.items())
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, {packages}"


def show(runs: Sequence[Run]) -> str:
    """All tables of what was measured."""
    sizes = sorted({run.times for run in runs})
    parts = []
    for times in sizes:
        count = max(len(_select(runs, system, times, FIRST)) for system in (STOCK, HEADRACE))
        parts.append(f"{times}× the rows" + (f", medians of {count} runs" if count > 1 else ""))
        tables = [nodes(runs, times), totals(runs, times), runners(runs, times)]
        parts += [_markdown(table) for table in tables if len(table) > 1]
    if len(sizes) > 1:
        parts += [
            f"{sizes[-1]}× the rows against {sizes[0]}×: linear growth is {sizes[-1] / sizes[0]:g}×",
            _markdown(growth(runs, sizes[0], sizes[-1])),
        ]
    return "\n\n".join(parts)


def nodes(runs: Sequence[Run], times: int) -> Table:
    """Time and memory of each node of the first runs."""
    table = [["node", STOCK, HEADRACE, "ratio", f"{STOCK}, memory", f"{HEADRACE}, memory"]]
    for name, stock, ours in _pairs(runs, times):
        row = [name, _seconds(stock.seconds), _seconds(ours.seconds), _ratio(stock.seconds, ours.seconds)]
        table.append([*row, _mib(stock.peak_mib), _mib(ours.peak_mib)])
    return table


def totals(runs: Sequence[Run], times: int) -> Table:
    """What is asked of a run as a whole."""
    table = [["in all", STOCK, HEADRACE, "ratio"]]
    for total in _TOTALS:
        stock, ours = (_median(map(total.of, _select(runs, each, times, total.kind))) for each in (STOCK, HEADRACE))
        if stock is not None or ours is not None:
            table.append([total.name, total.show(stock), total.show(ours), _ratio(stock, ours)])
    new, first = (_median(map(_whole, _select(runs, HEADRACE, times, kind))) for kind in (NEW_SPAN, FIRST))
    if new is not None and first is not None:
        table.append(["one new span / data → pushed", _NONE, f"{new / first:.2f}", _NONE])
    return table


def runners(runs: Sequence[Run], times: int) -> Table:
    """The same nodes on both runners."""
    table = [["Headrace's nodes on", LOCAL_DAG, "its own runner", "ratio"]]
    for name, kind in (("data → pushed", FIRST), ("again, from the cache", CACHED)):
        theirs, ours = (_median(map(_whole, _select(runs, each, times, kind))) for each in (LOCAL_DAG, HEADRACE))
        if theirs is not None:
            table.append([name, _seconds(theirs), _seconds(ours), _ratio(theirs, ours)])
    return table


def growth(runs: Sequence[Run], small: int, large: int) -> Table:
    """How many times as much the larger data takes of the first runs' time and memory."""
    table = [["node", f"{STOCK}, time", "memory", f"{HEADRACE}, time", "memory"]]
    for (name, *few), (_, *many) in zip(_pairs(runs, small), _pairs(runs, large), strict=True):
        row = [name]
        for before, after in zip(few, many, strict=True):
            row += [_ratio(after.seconds, before.seconds), _ratio(after.peak_mib, before.peak_mib)]
        table.append(row)
    row = ["in all"]
    for system in (STOCK, HEADRACE):
        of_small, of_large = (_select(runs, system, times, FIRST) for times in (small, large))
        for value in (_whole, _peak):
            row.append(_ratio(_median(map(value, of_large)), _median(map(value, of_small))))
    return [*table, row]


def save(runs: Iterable[Run], path: Path) -> None:
    """Writes every run, and what it ran on."""
    found = {"machine": machine(), "runs": [dataclasses.asdict(run) for run in runs]}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> list[Run]:
    """The runs that `save` wrote."""
    raw = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return [Run(**each | {"nodes": {name: Node(**node) for name, node in each["nodes"].items()}}) for each in raw]


def _pairs(runs: Sequence[Run], times: int) -> list[tuple[str, Node, Node]]:
    """The nodes in Headrace's order: name, stock TFX's, Headrace's."""
    stock, ours = (_select(runs, system, times, FIRST) for system in (STOCK, HEADRACE))
    names = dict.fromkeys(name for run in ours for name in run.nodes)
    return [(name, _node(stock, _STOCK_NAMES.get(name, name)), _node(ours, name)) for name in names]


def _node(runs: Iterable[Run], name: str) -> Node:
    found = [run.nodes[name] for run in runs if name in run.nodes]
    return Node(_median(node.seconds for node in found), _median(node.peak_mib for node in found))


def _select(runs: Iterable[Run], system: str, times: int, kind: str) -> list[Run]:
    return [run for run in runs if (run.system, run.times, run.kind) == (system, times, kind)]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _whole(run: Run) -> float:
    return run.seconds


def _peak(run: Run) -> float:
    return run.peak_mib


def _seconds(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f} s"


def _mib(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f} MiB"


def _ratio(above: float | None, below: float | None) -> str:
    return f"{above / below:.1f}×" if above and below else _NONE


def _markdown(table: Table) -> str:
    head, *rest = ("| " + " | ".join(line) + " |" for line in table)
    return "\n".join([head, "| --- |" + " ---: |" * (len(table[0]) - 1), *rest])


_TOTALS = (
    Total("data → verdict", FIRST, lambda run: run.verdict_seconds, _seconds),
    Total("data → pushed", FIRST, _whole, _seconds),
    Total("processor time", FIRST, lambda run: run.cpu_seconds, _seconds),
    Total("peak memory", FIRST, _peak, _mib),
    Total("again, from the cache", CACHED, _whole, _seconds),
    Total("one new span", NEW_SPAN, _whole, _seconds),
)
