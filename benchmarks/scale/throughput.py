"""What a row costs each node: core-seconds and bytes, on the flights of a year and on a part of them."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import yaml
from apache_beam.metrics.monitoring_infos import (
    ELEMENT_COUNT_URN,
    PCOLLECTION_LABEL,
    SAMPLED_BYTE_SIZE_URN,
    extract_counter_value,
    extract_distribution,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner, RunnerResult

from benchmarks.scale.graphs import group_inputs
from benchmarks.scale.measured import NODES, Cost
from benchmarks.scale.nodes import Nodes
from pipeline.config import PipelineConfig, find_config, load_config, to_yaml

REPOSITORY = Path(__file__).parents[2]
SPANS = range(1, 13)


class MeasuringRunner(FnApiRunner):
    """Beam's in-memory runner, which adds up what goes into shuffles."""

    shuffle_bytes: ClassVar[int] = 0

    def run_stages(self, stage_context: Any, stages: Any) -> RunnerResult:
        """Runs, and then reads Beam's own counters."""
        inputs = set(group_inputs(stages))
        result = super().run_stages(stage_context, stages)
        elements: dict[str, int] = {}
        sizes: dict[str, float] = {}
        for info in result.monitoring_infos():
            name = info.labels.get(PCOLLECTION_LABEL)
            if name in inputs and info.urn == ELEMENT_COUNT_URN:
                elements[name] = elements.get(name, 0) + extract_counter_value(info)
            elif name in inputs and info.urn == SAMPLED_BYTE_SIZE_URN:
                count, total, _, _ = extract_distribution(info)
                sizes[name] = total / max(count, 1)
        MeasuringRunner.shuffle_bytes += round(sum(count * sizes.get(name, 0.0) for name, count in elements.items()))
        return result


def measure(folder: Path, share: float, tell: Callable[[str], None]) -> tuple[dict[str, Cost], dict[str, float]]:
    """Runs the nodes of the flights pipeline on a share of the flights of each month of a year.

    Returns:
        The cost of each node, and the bytes of a row as Parquet, as an example and as a transformed example.
    """
    nodes = Nodes(_configure(folder, share), folder / "artifacts")
    rows = sum(pq.read_metadata(path).num_rows for path in (folder / "data").rglob("*.parquet"))
    costs = {}
    for name in NODES:
        MeasuringRunner.shuffle_bytes, start = 0, _core_seconds()
        nodes.run(name, [f"--runner={MeasuringRunner.__module__}.{MeasuringRunner.__name__}"])
        costs[name] = Cost(rows, _core_seconds() - start, MeasuringRunner.shuffle_bytes)
        tell(f"{rows} rows, {name}: {costs[name]}")
    return costs, {
        "parquet": sum(path.stat().st_size for path in (folder / "data").rglob("*.parquet")) / rows,
        "examples": nodes.output_bytes("ExampleGen", "examples") / rows,
        "transformed": nodes.output_bytes("Transform", "transformed_examples") / rows,
    }


def _core_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _configure(folder: Path, share: float) -> PipelineConfig:
    """The shipped configuration, on data of its own."""
    for span in SPANS:
        path = folder / "data" / f"span-{span:02d}" / "flights.parquet"
        path.parent.mkdir(parents=True)
        table = pq.read_table(REPOSITORY / "data" / "flights" / f"span-{span:02d}" / "flights.parquet")
        pq.write_table(table.slice(0, round(share * len(table))), path, compression="zstd")
    raw = yaml.safe_load(to_yaml(load_config(find_config("flights"))))
    raw["data"]["source"]["path"] = str(folder / "data" / "span-{SPAN}" / "*.parquet")
    raw |= {"root": str(folder / "root"), "push": {"path": str(folder / "models")}}
    path = folder / "flights.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_config(path)
