from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from tensorflow_metadata.proto.v0 import schema_pb2

from monitoring.measures import (
    DISTANCES,
    Bound,
    Measure,
    jensen_shannon,
    l_infinity,
    normalized_difference,
    schema_bound,
    shares,
)
from schema.errors import SchemaError

steady = settings(max_examples=150, deadline=None, derandomize=True, database=None)
COUNTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=12).map(
    lambda pairs: np.array(pairs).T
)
every_distance = pytest.mark.parametrize("measure", DISTANCES)


def test_by_hand() -> None:
    reference, current = np.array([50, 50, 0]), np.array([2, 4, 2])
    assert l_infinity(reference, current) == pytest.approx(0.25)
    assert normalized_difference(reference, current) == pytest.approx(0.25)
    # middle (3/8, 1/2, 1/8): (1/2 log2 4/3 + 1/2 log2 1)/2 + (1/4 log2 2/3 + 1/2 log2 1 + 1/4 log2 2)/2
    assert jensen_shannon(reference, current) == pytest.approx((np.log2(4 / 3) / 2 + np.log2(2 / 3) / 4 + 1 / 4) / 2)


@every_distance
def test_nothing_in_common_is_as_far_as_can_be(measure: Measure) -> None:
    assert DISTANCES[measure](np.array([7, 0]), np.array([0, 3])) == pytest.approx(1)


@every_distance
@steady
@given(both=COUNTS)
def test_symmetric_and_bounded(measure: Measure, both: np.ndarray) -> None:
    reference, current = both
    distance = float(DISTANCES[measure](reference, current))
    assert 0 <= distance <= 1
    assert distance == pytest.approx(float(DISTANCES[measure](current, reference)), abs=1e-12)


@every_distance
@steady
@given(both=COUNTS, times=st.integers(1, 1000))
def test_zero_for_the_same_shares_of_any_number_of_rows(measure: Measure, both: np.ndarray, times: int) -> None:
    counts = both[0]
    assert float(DISTANCES[measure](counts, counts * times)) == pytest.approx(0, abs=1e-12)


@steady
@given(COUNTS)
def test_as_scipy_computes_it(both: np.ndarray) -> None:
    reference, current = both
    if not reference.any() or not current.any():
        return
    # SciPy's is the root; rounding below 1e-16 is NaN there
    expected = np.nan_to_num(jensenshannon(reference, current, base=2)) ** 2
    assert float(jensen_shannon(reference, current)) == pytest.approx(expected, abs=1e-9)


@every_distance
def test_many_at_once(measure: Measure) -> None:
    random = np.random.default_rng(0)
    reference, current = random.integers(0, 50, (2, 4, 5, 6))
    together = DISTANCES[measure](reference, current)
    assert together.shape == (4, 5)
    for row, column in np.ndindex(4, 5):
        assert together[row, column] == pytest.approx(
            float(DISTANCES[measure](reference[row, column], current[row, column]))
        )


def test_shares_of_nothing_are_zeros() -> None:
    assert shares(np.array([[0, 0], [1, 3]])).tolist() == [[0, 0], [0.25, 0.75]]


def feature(text: str) -> schema_pb2.Feature:
    return text_format.Parse(f'name: "f" {text}', schema_pb2.Feature())


@pytest.mark.parametrize(
    ("named", "measure"),
    [
        ("infinity_norm", Measure.L_INFINITY),
        ("jensen_shannon_divergence", Measure.JENSEN_SHANNON),
        ("normalized_abs_difference", Measure.NORMALIZED_DIFFERENCE),
    ],
)
@pytest.mark.parametrize("comparator", ["skew_comparator", "drift_comparator"])
def test_the_schema_bounds_a_category_by_any_measure(named: str, measure: Measure, comparator: str) -> None:
    bounded = feature(f"{comparator} {{ {named} {{ threshold: 0.25 }} }}")
    assert schema_bound(bounded, comparator, is_number=False) == Bound(measure, 0.25)
    other = "drift_comparator" if comparator == "skew_comparator" else "skew_comparator"
    assert schema_bound(bounded, other, is_number=False) is None


def test_the_schema_bounds_a_number_by_jensen_shannon() -> None:
    bounded = feature("skew_comparator { jensen_shannon_divergence { threshold: 0.1 } }")
    assert schema_bound(bounded, "skew_comparator", is_number=True) == Bound(Measure.JENSEN_SHANNON, 0.1)


@pytest.mark.parametrize("named", ["infinity_norm", "normalized_abs_difference"])
def test_a_measure_that_says_nothing_of_a_number_is_refused(named: str) -> None:
    bounded = feature(f"drift_comparator {{ {named} {{ threshold: 0.1 }} }}")
    with pytest.raises(SchemaError) as refused:
        schema_bound(bounded, "drift_comparator", is_number=True)
    said = str(refused.value)
    for part in ("'f'", named, "drift_comparator", "jensen_shannon_divergence { threshold: 0.1 }"):
        assert part in said


@pytest.mark.parametrize(
    "comparators", ["", "infinity_norm { threshold: 0.1 } jensen_shannon_divergence { threshold: 0.1 }"]
)
def test_a_comparator_names_one_measure(comparators: str) -> None:
    with pytest.raises(SchemaError, match="must name one measure"):
        schema_bound(feature(f"skew_comparator {{ {comparators} }}"), "skew_comparator", is_number=False)


@every_distance
def test_one_against_many(measure: Measure) -> None:
    one, many = np.array([5, 5]), np.array([[5, 5], [10, 0], [0, 3]])
    for distances in (DISTANCES[measure](one, many), DISTANCES[measure](many, one)):
        assert distances.shape == (3,)
        assert distances[0] == 0
        assert distances[1] == pytest.approx(distances[2])
