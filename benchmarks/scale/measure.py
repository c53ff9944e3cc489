"""All measurements, in turn."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.scale import synthetic, throughput
from benchmarks.scale.graphs import translate
from benchmarks.scale.measured import BEAM_NODES, NODES, Cost, Graph, Measured
from benchmarks.scale.nodes import Nodes

FEATURES = (10, 50, 200)
SHARES = (0.25, 1.0)
_EMPTY = frozenset({"StatisticsGen", "ReferenceGen", "Evaluator"})
"""Nothing reads what these leave, so that they are only translated."""


def measure() -> Measured:
    """Translates every node's job, and runs every node on data of two sizes."""
    graphs = {features: _graphs(features) for features in FEATURES}
    small, large = (_costs(share) for share in SHARES)
    return Measured(
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        graphs=graphs,
        costs=(small[0], large[0]),
        row_bytes=large[1],
        listed_bytes=_listed_bytes(),
        files=len(throughput.SPANS),
    )


def _graphs(features: int) -> dict[str, Graph]:
    with tempfile.TemporaryDirectory() as folder:
        nodes = Nodes(synthetic.make(Path(folder), features), Path(folder) / "artifacts")
        found = {}
        for name in NODES:
            if name in BEAM_NODES:
                found[name] = translate(nodes, name)
                _tell(f"{features} features, {name}: {found[name]}")
            if name not in _EMPTY:
                nodes.run(name)
        return found


def _costs(share: float) -> tuple[dict[str, Cost], dict[str, float]]:
    folder = Path(tempfile.mkdtemp())
    try:
        return throughput.measure(folder, share, _tell)
    finally:
        shutil.rmtree(folder)


def _listed_bytes() -> dict[str, float]:
    """How much larger a graph is for each file that it lists; a file has one row group here."""
    few, many = (_list_of_files(spans) for spans in (2, 102))
    return {name: (many[name] - few[name]) / 100 for name in few}


def _list_of_files(spans: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        nodes = Nodes(synthetic.make(Path(folder), 10, spans), Path(folder) / "artifacts")
        found = {}
        for name in ("ExampleGen", "DistributionValidator"):
            found[name] = translate(nodes, name).proto_bytes
            if name == "ExampleGen":
                nodes.run(name)
        return found


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
