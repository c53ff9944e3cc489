"""What was measured: job graphs, and what rows cost. Nothing here imports TFX."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

MEASURED = Path(__file__).with_name("measured.json")

BEAM_NODES = ("ExampleGen", "StatisticsGen", "DistributionValidator", "Transform", "ReferenceGen", "Evaluator")
"""Those that Dataflow can run."""

NODES = (
    *("ExampleGen", "ImportSchemaGen", "StatisticsGen", "DistributionValidator", "Transform", "Trainer"),
    *("ReferenceGen", "Evaluator"),
)
"""Those, and those whose output they read, in an order in which they can run."""


@dataclass(frozen=True)
class Graph:
    """The size of a job."""

    transforms: int
    """Leaves of the pipeline as Dataflow gets it."""
    stages: int
    """After fusion: what workers run one after the other."""
    shuffles: int
    """Grouping by key, those of combiners among them."""
    bytes: int
    """Of the request that creates the job; the service takes 20 MB."""
    proto_bytes: int
    """Of the pipeline that is staged beside it."""


@dataclass(frozen=True)
class Cost:
    """Of one run of a node on one core."""

    rows: int
    core_seconds: float
    shuffle_bytes: int
    """What the groupings by key were given, combiners being lifted."""


@dataclass(frozen=True)
class Measured:
    """What was measured, see `measure`."""

    machine: str
    graphs: dict[int, dict[str, Graph]]
    """By number of features, by node."""
    costs: tuple[dict[str, Cost], dict[str, Cost]]
    """By node, of a small and of a large run."""
    row_bytes: dict[str, float]
    """Of a row in Parquet (`parquet`), as an example with its columns (`examples`), and as a transformed example with
    its blocks (`transformed`)."""
    listed_bytes: dict[str, float]
    """What a file adds to the graph of the node that lists it: of Parquet to ExampleGen, of examples to the other."""
    files: int
    """Of examples, in either run."""

    def save(self, path: Path = MEASURED) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path = MEASURED) -> Measured:
        """What `save` wrote."""
        raw = json.loads(path.read_text())
        graphs = {
            int(features): {name: Graph(**graph) for name, graph in nodes.items()}
            for features, nodes in raw.pop("graphs").items()
        }
        small, large = ({name: Cost(**cost) for name, cost in costs.items()} for costs in raw.pop("costs"))
        return cls(graphs=graphs, costs=(small, large), **raw)
