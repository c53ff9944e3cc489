"""One run of one pipeline in a process of its own, and what is to be known of it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ml_metadata.proto import metadata_store_pb2 as pb

from benchmarks.pipeline.flights import EVAL_SPAN, TRAIN_SPANS, Dataset
from benchmarks.pipeline.memory import Sample, Sampler
from pipeline.config import PipelineConfig, find_config, load_config, to_yaml
from pipeline.metadata import FINISHED, History, open_store
from pipeline.runners.report import load_reports

STOCK, HEADRACE = "stock TFX", "Headrace"
LOCAL_DAG = "LocalDagRunner"
"""Headrace's nodes on stock TFX's runner."""

FIRST, CACHED, EARLIER, NEW_SPAN = "first", "cached", "window before", "new span"
PROJECT = Path(__file__).parents[2]

_VERDICT = {STOCK: "Evaluator", HEADRACE: "QualityGate", LOCAL_DAG: "QualityGate"}
_UNMISSABLE = {"at_least": 0.0, "at_most": 1000.0, "not_worse_by": 1.0}
_LAST_WORDS = 4000


@dataclass(frozen=True)
class Node:
    """One node of a run; what is not known is None."""

    seconds: float | None
    peak_mib: float | None = None
    """Resident memory: of stock TFX's one process while the node ran, of the process that Headrace gives each node.
    None if the node was too short to be looked at."""


@dataclass(frozen=True)
class Run:
    """One run."""

    system: str
    kind: str
    times: int
    seconds: float
    """From the start of the process to its end."""
    verdict_seconds: float
    """From the start of the process to the end of the node that decides on the model."""
    cpu_seconds: float
    peak_mib: float
    nodes: Mapping[str, Node] = field(default_factory=dict)


class RunFailed(Exception):
    """A run did not end as it should; the message has the end of its output."""


def configure(dataset: Dataset, folder: Path) -> Path:
    """The flights pipeline on the year in these files, with all that it writes in `folder`.

    No gate closes: rows that are repeated ten times are learned by heart, a busy machine answers slowly, and a run that
    is stopped does less. What the gates compute stays the same.
    """
    raw: dict[str, Any] = yaml.safe_load(to_yaml(load_config(find_config("flights"))))
    raw |= {"root": str(folder / "root"), "push": {"path": str(folder / "models")}}
    raw["data"]["source"] = {"format": "csv", "path": dataset.pattern}
    raw["data"]["window"]["train"] = len(TRAIN_SPANS)
    raw["data"]["drop"] = []
    raw["gates"]["data"] = {"drift": "note"}
    raw["gates"]["infra"] |= {"load_seconds": 600, "request_milliseconds": 60_000, "memory_mib": 16_384}
    for bound in raw["gates"]["quality"]:
        bound |= {key: value for key, value in _UNMISSABLE.items() if bound.get(key) is not None}
    folder.mkdir(parents=True)
    path = folder / "flights.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def run_stock(path: Path, dataset: Dataset, kind: str) -> Run:
    """Runs stock TFX once.

    Raises:
        RunFailed: It failed, or ended without a verdict.
    """
    rows = [str(dataset.train_rows), str(dataset.eval_rows)]
    command = ["-m", "benchmarks.pipeline.stock", str(path), str(dataset.splits), *rows]
    return _run(STOCK, path, dataset.times, kind, command, stock_nodes)


def run_headrace(path: Path, dataset: Dataset, kind: str, span: int = EVAL_SPAN) -> Run:
    """Runs Headrace once, on the window that ends with a span.

    Raises:
        RunFailed: It failed, or ended without a verdict.
    """
    command = ["-m", "pipeline", "run", str(path), "--span", str(span)]
    return _run(HEADRACE, path, dataset.times, kind, command, headrace_nodes)


def run_local_dag(path: Path, dataset: Dataset, kind: str) -> Run:
    """Runs Headrace's nodes on LocalDagRunner once.

    Raises:
        RunFailed: It failed, or ended without a verdict.
    """
    return _run(LOCAL_DAG, path, dataset.times, kind, ["-m", "benchmarks.pipeline.local_dag", str(path)], stock_nodes)


Nodes = Callable[[PipelineConfig, Mapping[str, pb.Execution], Sequence[Sample]], dict[str, Node]]


def _run(system: str, path: Path, times: int, kind: str, command: Sequence[str], nodes_of: Nodes) -> Run:
    config = load_config(path)
    config.home.mkdir(parents=True, exist_ok=True)
    before, cpu_before = _newest_execution(config), _cpu_seconds()
    log = path.parent / "output.log"
    started, start = time.time(), time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            with Sampler(process.pid) as sampler:
                code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    seconds = time.monotonic() - start
    executions = _executions(config, before)
    verdict = executions.get(_VERDICT[system])
    if code or verdict is None:
        said = log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]
        raise RunFailed(f"{system}, {kind}, {times}×: exit code {code}, no more nodes than {list(executions)}\n{said}")
    return Run(
        system,
        kind,
        times,
        seconds,
        verdict.last_update_time_since_epoch / 1e3 - started,
        _cpu_seconds() - cpu_before,
        sampler.peak_mib,
        nodes_of(config, executions, sampler.samples),
    )


def stock_nodes(
    config: PipelineConfig, executions: Mapping[str, pb.Execution], samples: Sequence[Sample]
) -> dict[str, Node]:
    """The times that ML Metadata has: driver, executor and publisher."""
    del config
    nodes = {}
    for name, execution in executions.items():
        start, end = execution.create_time_since_epoch / 1e3, execution.last_update_time_since_epoch / 1e3
        seen = [sum(sample.resident_mib.values()) for sample in samples if start <= sample.when <= end]
        nodes[name] = Node(end - start, max(seen, default=None))
    return nodes


def headrace_nodes(
    config: PipelineConfig, executions: Mapping[str, pb.Execution], samples: Sequence[Sample]
) -> dict[str, Node]:
    """The times of the run report: of a node's process, from the fork to its end."""
    del executions
    return {
        name: Node(node.seconds, max((each.resident_mib.get(name, 0.0) for each in samples), default=0.0) or None)
        for name, node in load_reports(config.home)[-1].nodes.items()
    }


def _newest_execution(config: PipelineConfig) -> int:
    return max((each.id for each in open_store(config.home).get_executions()), default=0)


def _executions(config: PipelineConfig, after: int) -> dict[str, pb.Execution]:
    """The finished executions since that one, by node, in the order in which they began."""
    store = open_store(config.home)
    history = History(store, config.name)
    executions = sorted(store.get_executions(), key=lambda each: each.id)
    return {
        history.node_of(each.id): each for each in executions if each.id > after and each.last_known_state in FINISHED
    }


def _cpu_seconds() -> float:
    """User and system time of all processes that have ended and been waited for, and of those that these waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
