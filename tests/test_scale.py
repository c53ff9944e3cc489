"""docs/scale.md says what benchmarks/scale computes, and no job grows with the number of features."""

from pathlib import Path

import pytest

from benchmarks.scale import model as assumed
from benchmarks.scale.measured import BEAM_NODES, Cost, Measured
from benchmarks.scale.model import SIZES, Model, Rate
from benchmarks.scale.report import tables
from data import readers
from models import batches
from monitoring import profile

DOCUMENT = Path(__file__).parents[1] / "docs" / "scale.md"


@pytest.fixture(scope="module")
def measured() -> Measured:
    return Measured.load()


@pytest.mark.parametrize("name", ["graphs", "rates", "sizes", "nodes", "single"])
def test_the_document_has_the_tables(measured: Measured, name: str) -> None:
    assert tables(Model(measured))[name] in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("node", BEAM_NODES)
def test_stages_and_shuffles_do_not_grow_with_the_features(measured: Measured, node: str) -> None:
    assert len(measured.graphs) == 3
    assert len({(nodes[node].stages, nodes[node].shuffles) for nodes in measured.graphs.values()}) == 1


def test_a_rate_is_the_line_through_two_runs() -> None:
    rate = Rate.of(Cost(100, 7.0, 1300), Cost(300, 11.0, 1500), files=4)
    assert (rate.fixed_seconds, rate.row_seconds) == pytest.approx((5.0, 0.02))
    assert (rate.bundle_bytes, rate.row_bytes) == pytest.approx((300.0, 1.0))


def test_more_workers_than_shards_do_not_help(measured: Measured) -> None:
    model, size = Model(measured), 10**8
    assert model.shards(size) < 16
    assert model.node("Transform", size, 16).seconds == model.node("Transform", size, 1024).seconds


def test_the_bounds_are_those_of_the_code() -> None:
    bounds = assumed.FOOTERS_AT_ONCE, assumed.OPEN_FILES, assumed.GATHERED
    assert bounds == (readers._OPEN_HEADERS, batches._OPEN_FILES, profile.MOST_BLOCKS)


def test_what_one_worker_gets_has_a_bound(measured: Measured) -> None:
    model, large, largest = Model(measured), SIZES["1 TB"], SIZES["100 TB"]
    assert model.shards(largest) > 99 * model.shards(large)
    for node in ("DistributionValidator", "ReferenceGen"):
        assert model.gathered_bytes(node, largest) == model.gathered_bytes(node, large) < 1e9
    assert model.open_files(largest) == model.open_files(large) == 128


def test_it_is_kept_as_it_was_saved(measured: Measured, tmp_path: Path) -> None:
    measured.save(tmp_path / "measured.json")
    assert Measured.load(tmp_path / "measured.json") == measured
