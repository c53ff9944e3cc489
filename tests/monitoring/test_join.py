"""The join of requests with tables: labels as pandas would merge them, mismatches as TFDV counts them."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
import watched
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_data_validation.skew import feature_skew_detector

from monitoring.join import SCORE, SECONDS, VERSION, WINDOW, Joined, JoinPlan, join, keys, partition
from monitoring.rows import as_rows
from monitoring.slicing import ALL_EXAMPLES

FLIGHT, CARRIER, MILES = watched.category("flight", is_whole=True), watched.category("carrier"), watched.number("miles")
LATE = watched.number("late", is_whole=True)
FEATURES = (FLIGHT, CARRIER, MILES)
PLAN = JoinPlan(("flight", "carrier"), FEATURES, "late", (), "binary", 3, 1.0)


def requests(rows, version=3, window=0, scores=None):
    """Requests of (flight, carrier, miles)."""
    batch = table(rows, FEATURES)
    size = len(rows)
    beside = {
        SCORE: pa.array(np.full(size, 0.5) if scores is None else scores, pa.float64()),
        WINDOW: pa.array([window] * size, pa.int64()),
        VERSION: pa.array([version] * size, pa.int64()),
        SECONDS: pa.array([window] * size, pa.int64()),
    }
    return pa.RecordBatch.from_arrays([*batch.columns, *beside.values()], [*batch.schema.names, *beside])


def table(rows, features):
    """Rows of a table, as they are read."""
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in features]
    arrays = {each.name: pa.array(list(values)) for each, values in zip(features, columns, strict=True)}
    return as_rows(arrays, features, len(rows))


def labels(*rows):
    return table(rows, (FLIGHT, CARRIER, LATE))


def labelled(found: Joined, version=3, window=0):
    """Rows by label: late, not late, unknown."""
    counts = found.quality[version, window][ALL_EXAMPLES]
    return tuple(int(each.sum()) for each in (counts.positives, counts.negatives, counts.unlabelled))


ids = st.tuples(st.integers(0, 6) | st.none(), st.sampled_from(["AA", "DL"]) | st.none())
asked_rows = st.lists(st.tuples(ids, st.sampled_from([1.0, 2.0]) | st.none()), min_size=1, max_size=30)
label_rows = st.lists(st.tuples(ids, st.sampled_from([0, 1]) | st.none()), max_size=30)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(asked_rows, label_rows, st.integers(1, 5))
def test_labels_are_those_of_pandas(asked, told, partitions) -> None:
    plan = PLAN
    batches = requests([(*key, miles) for key, miles in asked])
    tables = labels(*[(*key, late) for key, late in told]) if told else None
    total = Joined()
    for number in range(partitions):
        sides = [
            [rows for place, rows in partition(each, plan.identifier, partitions) if place == number]
            for each in ([batches] if tables is None else [batches, tables])
        ]
        total = total + join(sides[0], sides[1] if len(sides) > 1 else [], plan)

    frame = pd.DataFrame([key for key, _ in asked], columns=["flight", "carrier"])
    anonymous = frame.isna().any(axis=1)
    repeated = ~anonymous & frame.duplicated()
    truth = pd.DataFrame([(*key, late) for key, late in told], columns=["flight", "carrier", "late"]).dropna()
    kinds = truth.groupby(["flight", "carrier"])["late"].agg(["nunique", "first"]).reset_index()
    merged = frame[~repeated].astype({"flight": float}).merge(kinds.astype({"flight": float}), how="left")
    late = merged["first"].where(merged["nunique"] == 1).astype(float)
    assert labelled(total) == ((late == 1).sum(), (late == 0).sum(), late.isna().sum())
    assert (total.repeated, total.anonymous) == (repeated.sum(), anonymous.sum())
    assert total.anonymous_in_tables == sum(None in key for key, _ in told)
    assert total.contradictions == (kinds["nunique"] > 1).sum()


@pytest.fixture(scope="module")
def corrected():
    """Requests and the same rows in the data, where some values were corrected, went missing, or came later."""
    random = np.random.default_rng(0)
    size = 400
    asked = [(i, "AA", float(i)) for i in range(size)]
    told = []
    for flight, carrier, miles in asked:
        kind = random.choice(["same", "changed", "gone", "absent"], p=[0.6, 0.2, 0.1, 0.1])
        if kind != "absent":
            told.append((flight, carrier, {"same": miles, "changed": miles + 1, "gone": None}[kind]))
    return asked, [*told, *((size + i, "AA", 1.0) for i in range(20))]


def test_mismatches_are_those_of_tfdv(corrected) -> None:
    asked, told = corrected

    def examples(rows):
        for flight, carrier, miles in rows:
            example = tf.train.Example()
            example.features.feature["flight"].int64_list.value.append(flight)
            example.features.feature["carrier"].bytes_list.value.append(carrier.encode())
            if miles is not None:
                example.features.feature["miles"].float_list.value.append(miles)
            yield example

    plan = JoinPlan(("flight",), FEATURES, "late", (), "binary", 3, 1.0)
    found = join([requests(asked)], [table(told, FEATURES)], plan)

    def agree(results):
        [of_miles] = [each for each in results if each.feature_name == "miles"]
        by_tfdv = of_miles.mismatch_count + of_miles.base_only + of_miles.test_only
        assert found.mismatched == {"carrier": 0, "miles": by_tfdv}
        assert by_tfdv > 50

    def agree_on_rows(stats):
        assert found.matched == stats[0].identifiers_count - stats[0].ids_missing_in_base_count - 20

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        sides = tuple(
            pipeline | name >> beam.Create(list(examples(rows))) for name, rows in (("d", told), ("r", asked))
        )
        skew = sides | feature_skew_detector.DetectFeatureSkewImpl(["flight"])
        assert_that(skew[feature_skew_detector.SKEW_RESULTS_KEY], agree)
        assert_that(skew[feature_skew_detector.MATCH_STATS_KEY], agree_on_rows, "matched")


def test_a_number_that_went_through_float32_is_the_same() -> None:
    asked, told = [(1, "AA", float(np.float32(0.1))), (2, "AA", 0.1)], [(1, "AA", 0.1), (2, "AA", 0.1001)]
    found = join([requests(asked)], [table(told, FEATURES)], PLAN)
    assert (found.matched, found.mismatched) == (2, {"miles": 1})
    assert found.compared == {"miles"}  # what identifies a row cannot differ


def test_only_the_judged_version_is_compared_row_by_row() -> None:
    found = join([requests([(1, "AA", 1.0)], version=2)], [table([(1, "AA", 9.0)], FEATURES)], PLAN)
    assert (found.matched, found.mismatched) == (0, {"miles": 0})
    assert labelled(found, version=2) == (0, 0, 1)


def test_a_table_of_labels_says_nothing_of_features() -> None:
    asked = requests([(number, "AA", 1.0) for number in range(5)])
    told = [(number, "AA", 1.0) for number in range(5)]
    late = labels(*[(number, "AA", 1) for number in range(5)])
    for tables in ([late, table(told, FEATURES)], [table(told, FEATURES), late]):
        found = join([asked], tables, PLAN)
        assert (found.matched, found.mismatched) == (5, {"miles": 0})
        assert labelled(found) == (5, 0, 0)


def test_a_feature_that_one_file_lacks_is_not_compared() -> None:
    tables = [table([(1, "AA", 1.0)], FEATURES), labels((2, "AA", 1))]
    plan = JoinPlan(("flight",), FEATURES, "late", (), "binary", 3, 1.0)
    found = join([requests([(1, "AA", 1.0), (2, "DL", 1.0)])], tables, plan)
    assert (found.compared, found.mismatched) == ({"carrier"}, {"carrier": 1})


@pytest.mark.parametrize(
    "flights",
    [
        pa.array([7, 8]),
        pa.array([7, 8], pa.int16()),
        pa.array([7.0, 8.0]),
        pa.array(["7", "8"]),
        pa.array([b"7", b"8"]),
    ],
    ids=["int64", "int16", "double", "text", "bytes"],
)
@pytest.mark.parametrize(
    "late", [pa.array([1, 0]), pa.array([1.0, 0.0]), pa.array(["1", "0"]), pa.array([True, False])]
)
def test_a_table_of_other_types_joins(flights, late) -> None:
    columns = {"flight": flights, "carrier": pa.array(["AA", "AA"]), "late": late}
    told = as_rows(columns, (FLIGHT, CARRIER, LATE), 2)
    found = join([requests([(7, "AA", 1.0), (8, "AA", 1.0)])], [told], PLAN)
    assert labelled(found) == (1, 1, 0)


def test_a_contradiction_is_counted_and_named_and_labels_nothing() -> None:
    told = labels((1, "AA", 1), (1, "AA", 0), (2, "AA", 1), (2, "AA", 1), (9, "AA", 1))
    found = join([requests([(1, "AA", 1.0), (2, "AA", 1.0)])], [told], PLAN)
    assert (found.contradictions, found.first_contradiction) == (1, "1, AA")
    assert labelled(found) == (1, 0, 1)


def test_the_first_answer_of_each_version_counts() -> None:
    row = [(1, "AA", 1.0)]
    batches = [requests(row, scores=[0.9]), requests(row, scores=[0.1]), requests(row, version=2, scores=[0.2])]
    found = join(batches, [labels((1, "AA", 1))], PLAN)
    assert found.repeated == 1
    assert found.quality[3, 0][ALL_EXAMPLES].scores.total == pytest.approx(0.9)
    assert found.quality[2, 0][ALL_EXAMPLES].scores.total == pytest.approx(0.2)
    assert {version: loss.rows for version, loss in found.losses.items()} == {2: 1, 3: 1}


def test_versions_and_windows_and_slices_are_told_apart() -> None:
    plan = JoinPlan(("flight",), FEATURES, "late", ("carrier", "miles"), "binary", 3, 1.0)
    batches = [requests([(1, "AA", 1.0), (2, None, None)]), requests([(3, "DL", 1.5)], window=60)]
    found = join(batches, [labels((1, "AA", 1), (3, "DL", 0))], plan)
    assert set(found.quality) == {(3, 0), (3, 60)}
    assert set(found.quality[3, 0]) == {ALL_EXAMPLES, "carrier=AA", "miles=1"}
    assert set(found.quality[3, 60]) == {ALL_EXAMPLES, "carrier=DL", "miles=1.5"}
    assert labelled(found) == (1, 0, 1)


def test_a_slice_that_is_missing_everywhere() -> None:
    plan = JoinPlan(("flight",), FEATURES, "late", ("carrier",), "binary", 3, 1.0)
    found = join([requests([(1, None, 1.0)])], [], plan)
    assert set(found.quality[3, 0]) == {ALL_EXAMPLES}


def test_losses_begin_with_the_trial() -> None:
    plan = JoinPlan(("flight",), FEATURES, "late", (), "binary", 3, 1.0, losses_since=60)
    batches = [requests([(1, "AA", 1.0)]), requests([(2, "AA", 1.0)], window=60)]
    found = join(batches, [labels((1, "AA", 1), (2, "AA", 1))], plan)
    assert found.losses[3].rows == 1


def test_nothing_asked_nothing_found() -> None:
    assert join([], [labels((1, "AA", 1))], PLAN).quality == {}
    assert join([requests([])], [], PLAN).quality == {}


def test_without_an_identifier_all_is_unlabelled() -> None:
    plan = JoinPlan((), FEATURES, "late", (), "binary", 3, 1.0)
    found = join([requests([(1, "AA", 1.0)] * 2)], [], plan)
    assert labelled(found) == (0, 0, 2)
    assert (found.repeated, found.anonymous) == (0, 0)


def test_a_row_is_in_the_partition_of_its_identifier() -> None:
    rows = [(number % 50, "AA" if number % 3 else None, float(number)) for number in range(200)]
    parts = partition(table(rows, FEATURES), PLAN.identifier, 7)
    assert sum(len(each) for _, each in parts) == 200
    of = {}
    for number, each in parts:
        for key in keys(each, PLAN.identifier).to_pylist():
            assert of.setdefault(key, number) == number
    assert len(set(of.values())) > 3
    assert partition(table(rows, FEATURES), (), 3) == [(200 % 3, table(rows, FEATURES))]


def test_joined_adds_up() -> None:
    batches = [
        requests([(n, "AA", float(n % 2)) for n in range(10)]),
        requests([(n, "AA", 1.0) for n in range(10, 20)]),
    ]
    told = table([(n, "AA", 1.0) for n in range(20)], FEATURES)
    apart = join(batches[:1], [told], PLAN) + Joined() + join(batches[1:], [told], PLAN)
    whole = join(batches, [told], PLAN)
    assert (apart.matched, apart.mismatched, apart.compared) == (20, whole.mismatched, whole.compared)
    assert labelled(apart) == labelled(whole)
    assert sorted(apart.asked.numbers["miles"]) == sorted(whole.asked.numbers["miles"])
