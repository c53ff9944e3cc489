"""The tables of docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.scale.measured import BEAM_NODES
from benchmarks.scale.model import FOOTERS_AT_ONCE, SIZES, WORKERS, Model


def tables(model: Model) -> dict[str, str]:
    """By name, in Markdown."""
    return {
        "graphs": graphs(model),
        "rates": rates(model),
        "sizes": sizes(model),
        "nodes": nodes(model),
        "single": single(model),
    }


def graphs(model: Model) -> str:
    """The job graphs by number of features: they are to stay the same."""
    found = model.measured.graphs
    rows = [
        [
            name,
            *(f"{each.stages} / {each.shuffles}" for each in (found[features][name] for features in found)),
            *(_bytes(found[features][name].proto_bytes) for features in found),
            _bytes(max(found[features][name].bytes for features in found)),
        ]
        for name in BEAM_NODES
    ]
    heads = [*(f"{each} features" for each in found), *(f"graph, {each}" for each in found), "request"]
    return _table(["node", *heads], rows)


def rates(model: Model) -> str:
    """What a row costs."""
    rows = [
        [
            name,
            f"{rate.fixed_seconds:.0f} s",
            f"{1 / rate.row_seconds:,.0f}",
            f"{rate.row_bytes:.1f} B",
            _bytes(rate.bundle_bytes),
        ]
        for name, rate in model.rates.items()
    ]
    return _table(["node", "fixed", "rows/s per core", "shuffle per row", "shuffle per bundle"], rows)


def sizes(model: Model) -> str:
    """What becomes of the data."""
    rows = [
        [
            name,
            f"{model.rows(size):.2g}",
            f"{model.files(size):,.0f}",
            f"{model.shards(size):,.0f}",
            _bytes(model.rows(size) * model.measured.row_bytes["examples"]),
            _bytes(model.rows(size) * model.measured.row_bytes["transformed"]),
            *(_all_nodes(model, size, workers) for workers in WORKERS),
            _bytes(model.all_nodes(size, WORKERS[0]).shuffle_bytes),
        ]
        for name, size in SIZES.items()
    ]
    heads = ["Parquet", "rows", "files", "shards", "examples", "transformed"]
    return _table([*heads, *(f"{each} workers" for each in WORKERS), "shuffle"], rows)


def nodes(model: Model) -> str:
    """Hours of each node."""
    cases = [(name, size, workers) for (name, size), workers in zip(SIZES.items(), WORKERS, strict=True)]
    rows = [
        [node, *(_hours(model.node(node, size, workers).seconds) for _, size, workers in cases)] for node in BEAM_NODES
    ]
    return _table(["node", *(f"{name}, {workers} workers" for name, _, workers in cases)], rows)


def single(model: Model) -> str:
    """What does not get shorter with more workers."""
    found: Sequence[tuple[str, Iterable[str]]] = [
        (
            "Trainer, one epoch, one machine of 4 cores",
            (_hours(model.training_seconds(each)) for each in SIZES.values()),
        ),
        (
            f"footers, {FOOTERS_AT_ONCE} at once, where the pipeline runs",
            (_hours(model.footer_seconds(each)) for each in SIZES.values()),
        ),
        (
            "checksums, one by one, where the pipeline runs",
            (_hours(model.checksum_seconds(each)) for each in SIZES.values()),
        ),
        ("list of files in ExampleGen's graph", _listed(model, "ExampleGen")),
        ("in DistributionValidator's and ReferenceGen's", _listed(model, "DistributionValidator")),
        ("blocks gathered by one worker, DistributionValidator", _gathered(model, "DistributionValidator")),
        ("blocks gathered by one worker, ReferenceGen", _gathered(model, "ReferenceGen")),
        ("files that the Trainer reads at once", (f"{model.open_files(each):,.0f}" for each in SIZES.values())),
    ]
    return _table(["", *SIZES], [[name, *values] for name, values in found])


def _gathered(model: Model, node: str) -> Iterable[str]:
    return (_bytes(model.gathered_bytes(node, size)) for size in SIZES.values())


def _listed(model: Model, node: str) -> Iterable[str]:
    return (_bytes(model.listed_bytes(size)[node]) for size in SIZES.values())


def _all_nodes(model: Model, size: int, workers: int) -> str:
    estimate = model.all_nodes(size, workers)
    return f"{_hours(estimate.seconds)} ({estimate.worker_hours:,.0f} worker-h)"


def _hours(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 60
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:,.1f} h"
    )


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} PB"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
