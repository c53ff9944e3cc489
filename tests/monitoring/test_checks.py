from __future__ import annotations

from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from watched import FLIGHTS, category, check_of, counts_of, flights, number, profile_of, setting_of, time, watched_rows

from monitoring.bins import Kind
from monitoring.checks import OUTSIDE, by_impact, compare, rate_of_check
from monitoring.measures import Measure
from monitoring.profile import Profile
from monitoring.report import Check, Comparison, State
from schema.errors import SchemaError


@pytest.fixture(scope="module")
def profile() -> Profile:
    random = np.random.default_rng(0)
    return profile_of(FLIGHTS, {span: flights(random, 3000) for span in range(1, 9)})


def schema(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def alarms(checks: list[Check]) -> set[tuple[str, str]]:
    return {(check.subject, check.aspect) for check in checks if check.state is State.ALARM}


def test_each_kind_of_feature_has_its_checks(profile: Profile) -> None:
    checks = compare(profile, counts_of(profile, flights(np.random.default_rng(1), 1000)), setting_of())
    found = [(check.subject, check.aspect, check.measure, check.against) for check in checks]
    js, li = Measure.JENSEN_SHANNON.value, Measure.L_INFINITY.value
    both = ("training window", "last span, 8")
    assert len(set(found)) == len(found)
    assert set(found) == {
        *((name, "values", js, against) for name in ("temp", "stops") for against in both),
        *(("carrier", "values", li, against) for against in both),
        *(("departure", aspect, js, against) for aspect in ("hour of day", "day of week") for against in both),
        *((name, "missing", Measure.SHARE_CHANGE.value, both[0]) for name in ("temp", "stops", "carrier", "departure")),
        ("carrier", "unseen values", Measure.SHARE.value, both[0]),
        *((name, OUTSIDE, Measure.SHARE.value, both[0]) for name in ("temp", "stops")),
    }


def test_fresh_rows_of_the_same_world_are_silent(profile: Profile) -> None:
    """At a rate of 1% of all checks together, 20 reports."""
    random = np.random.default_rng(2)
    setting = setting_of(rate=rate_of_check(0.01, profile))
    for rows in (300, 3000):
        for _ in range(10):
            assert not alarms(compare(profile, counts_of(profile, flights(random, rows)), setting))


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("temp", np.random.default_rng(5).normal(70, 15, 1000), {"values"}),
        ("temp", np.full(1000, 60.0), {"values"}),
        ("temp", np.full(1000, 500.0), {"values", OUTSIDE}),
        ("temp", [None] * 1000, {"missing"}),
        ("stops", [1] * 1000, {"values"}),
        ("stops", [7] * 1000, {"values", OUTSIDE}),
        ("carrier", ["AA", "B6", "DL", "ua"] * 250, {"values", "unseen values"}),
        ("carrier", ["AA", "B6", "DL", None] * 250, {"values", "missing"}),
        ("departure", 1_388_966_400 + 3600 * np.random.default_rng(6).choice(5, 1000), {"hour of day"}),
        ("departure", 1_388_966_400 + 3600 * 25 * np.r_[np.zeros(900), np.arange(100)], {"hour of day", "day of week"}),
    ],
)
def test_a_change_is_caught_in_1000_rows(profile: Profile, name: str, values: Any, expected: set[str]) -> None:
    rows = flights(np.random.default_rng(3), 1000, **{name: values})
    found = alarms(compare(profile, counts_of(profile, rows), setting_of()))
    assert found == {(name, aspect) for aspect in expected}


def test_with_too_few_rows_nothing_is_decided(profile: Profile) -> None:
    rows = flights(np.random.default_rng(3), 300, carrier=["new"] * 300, temp=[None] * 299 + [1.0])
    checks = compare(profile, counts_of(profile, rows), setting_of(fewest_rows=301))
    assert {check.state for check in checks} == {State.UNDECIDED}
    judged = compare(profile, counts_of(profile, rows), setting_of(fewest_rows=300))
    assert {("temp", "missing"), ("carrier", "unseen values")} <= alarms(judged)
    values = check_of(judged, "temp")  # one row of the 300 has one
    assert (values.rows, values.state) == (1, State.UNDECIDED)


def test_no_rows_at_all(profile: Profile) -> None:
    checks = compare(profile, counts_of(profile, flights(np.random.default_rng(3), 0)), setting_of())
    assert {check.state for check in checks} == {State.UNDECIDED}
    assert all(np.isfinite([check.value, check.threshold]).all() for check in checks)


def test_a_feature_that_is_not_counted_is_not_checked(profile: Profile) -> None:
    current = {("carrier", Kind.CATEGORIES): profile.counts[("carrier", Kind.CATEGORIES)][0]}
    assert {check.subject for check in compare(profile, current, setting_of())} == {"carrier"}


def test_a_day_is_not_blamed_for_being_one_day(profile: Profile) -> None:
    """Training in the order of time: a day's requests show some of the hours, and one weekday."""
    random = np.random.default_rng(4)
    start = 1_388_966_400
    seconds = np.sort(random.integers(start, start + 8 * 7 * 86400, 24_000))
    feature = time("departure")
    spans = {index: watched_rows({"departure": part}, [feature]) for index, part in enumerate(np.split(seconds, 8))}
    of_time = profile_of([feature], spans)
    day = start + 9 * 7 * 86400 + random.integers(6 * 3600, 20 * 3600, 300)
    checks = compare(of_time, counts_of(of_time, watched_rows({"departure": day}, [feature])), setting_of())
    assert not alarms(checks)
    assert check_of(checks, "departure", "day of week").state is State.UNDECIDED


def test_the_last_good_span_can_be_named(profile: Profile) -> None:
    rows = flights(np.random.default_rng(5), 1000)
    checks = compare(profile, counts_of(profile, rows), setting_of(last_span=3))
    found = check_of(checks, "carrier", against="last span, 3")
    key = ("carrier", Kind.CATEGORIES)
    of_span = profile.counts[key][profile.spans == 3].sum(axis=0)
    expected = np.abs(of_span[:-2] / 3000 - counts_of(profile, rows)[key][:-2] / 1000).max()
    assert found.value == pytest.approx(expected)
    assert found.distribution is not None
    assert sum(found.distribution.reference) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("comparison", Comparison)
def test_a_threshold_in_the_schema_wins(profile: Profile, comparison: Comparison) -> None:
    comparator = f"{comparison.value}_comparator"
    reviewed = schema(
        f'feature {{ name: "carrier" {comparator} {{ normalized_abs_difference {{ threshold: 0.9 }} }} }}'
        f'feature {{ name: "temp" {comparator} {{ jensen_shannon_divergence {{ threshold: 1e-6 }} }} }}'
        f'feature {{ name: "departure" {comparator} {{ jensen_shannon_divergence {{ threshold: 0.9 }} }} }}'
    )
    rows = flights(
        np.random.default_rng(6), 1000, carrier=["AA", "B6"] * 500, departure=[1_388_966_400 + 36_000] * 1000
    )
    checks = compare(profile, counts_of(profile, rows), setting_of(reviewed, comparison=comparison))
    carrier, temp = check_of(checks, "carrier"), check_of(checks, "temp")
    assert (carrier.measure, carrier.threshold, carrier.state) == (
        Measure.NORMALIZED_DIFFERENCE.value,
        0.9,
        State.PASSED,
    )
    assert carrier.value == pytest.approx(0.7, abs=0.03)
    assert (temp.threshold, temp.state) == (pytest.approx(1e-6), State.ALARM)
    assert check_of(checks, "departure", "hour of day").threshold == pytest.approx(0.9)
    assert all(check.against == "training window" for check in checks if check.subject in ("carrier", "temp"))
    other = Comparison.DRIFT if comparison is Comparison.SKEW else Comparison.SKEW
    by_data = compare(profile, counts_of(profile, rows), setting_of(reviewed, comparison=other))
    assert check_of(by_data, "carrier").state is State.ALARM


def test_a_threshold_in_the_schema_needs_no_second_block() -> None:
    reviewed = schema('feature { name: "carrier" skew_comparator { infinity_norm { threshold: 0.2 } } }')
    small = profile_of(FLIGHTS, {1: flights(np.random.default_rng(7), 200)})
    rows = flights(np.random.default_rng(8), 200, carrier=["AA"] * 200)
    assert check_of(compare(small, counts_of(small, rows), setting_of(reviewed)), "carrier").state is State.ALARM


@pytest.mark.parametrize("name", ["temp", "stops", "departure"])
def test_a_measure_that_does_not_fit_is_refused(profile: Profile, name: str) -> None:
    reviewed = schema(f'feature {{ name: "{name}" skew_comparator {{ infinity_norm {{ threshold: 0.2 }} }} }}')
    with pytest.raises(SchemaError, match="says nothing of a number"):
        compare(profile, counts_of(profile, flights(np.random.default_rng(9), 100)), setting_of(reviewed))


def test_values_that_no_earlier_span_had_are_normal_where_each_span_has_some() -> None:
    tail = category("tail")
    random = np.random.default_rng(10)

    def span(number: int, new: float) -> pa.RecordBatch:
        is_new, is_missing = random.random(2000) < new, random.random(2000) < 0.7
        known, fresh = random.integers(0, 50, 2000), random.integers(0, 20, 2000)
        values = np.where(is_new, np.char.add(f"{number}-", fresh.astype(str)), known.astype(str))
        return watched_rows({"tail": np.where(is_missing, "", values)}, [tail])

    profile = profile_of([tail], {number: span(number, 0.3) for number in range(8)})
    usual = compare(profile, counts_of(profile, span(8, 0.3)), setting_of())
    assert check_of(usual, "tail", "unseen values").state is State.PASSED
    assert check_of(usual, "tail", "unseen values").value == pytest.approx(0.3, abs=0.08)
    more = compare(profile, counts_of(profile, span(9, 0.6)), setting_of())
    assert check_of(more, "tail", "unseen values").state is State.ALARM


def test_values_too_rare_to_be_known_are_unseen_in_training_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.profile._MOST_VALUES", 100)
    order = category("order")
    spans = {span: watched_rows({"order": np.arange(1000) + 1000 * span}, [order]) for span in range(6)}
    profile = profile_of([order], spans)
    fresh = watched_rows({"order": np.arange(1000) + 10**6}, [order])
    found = check_of(compare(profile, counts_of(profile, fresh), setting_of()), "order", "unseen values")
    assert (found.value, found.state) == (1.0, State.PASSED)


@pytest.mark.parametrize("rows", [300, 3000])
def test_of_a_single_span_what_was_seen_once_says_how_much_is_new_by_chance(rows: int) -> None:
    tail = category("tail")
    random = np.random.default_rng(20)

    def drawn(rows: int, renamed: float = 0.0) -> pa.RecordBatch:
        values = random.zipf(1.6, rows).clip(0, 10**9).astype(str)
        return watched_rows({"tail": np.where(random.random(rows) < renamed, np.char.add("x", values), values)}, [tail])

    profile = profile_of([tail], {1: drawn(5000)})
    for _ in range(20):
        usual = check_of(compare(profile, counts_of(profile, drawn(rows)), setting_of()), "tail", "unseen values")
        assert usual.state is State.PASSED
    more = check_of(compare(profile, counts_of(profile, drawn(rows, 0.15)), setting_of()), "tail", "unseen values")
    assert more.state is State.ALARM


def test_one_new_value_in_a_small_window_is_no_alarm(profile: Profile) -> None:
    carriers = ["AA"] * 6 + ["B6"] * 12 + ["DL"] * 18 + ["UA"] * 20 + ["new"] * 4
    few = compare(profile, counts_of(profile, flights(np.random.default_rng(11), 60, carrier=carriers)), setting_of())
    assert check_of(few, "carrier", "unseen values").state is State.PASSED
    carriers[-8:] = ["new"] * 8
    more = compare(profile, counts_of(profile, flights(np.random.default_rng(11), 60, carrier=carriers)), setting_of())
    assert check_of(more, "carrier", "unseen values").state is State.ALARM


@pytest.mark.parametrize("rows", [100, 256, 300, 700])
def test_a_window_of_one_span_is_compared_as_a_whole(rows: int) -> None:
    """As when a hash chooses the evaluation rows."""
    profile = profile_of(FLIGHTS, {4: flights(np.random.default_rng(12), rows)})
    checks = compare(profile, counts_of(profile, flights(np.random.default_rng(13), 300)), setting_of())
    by_band = [check for check in checks if check.aspect != OUTSIDE]  # which has none: `explained` passes judgement
    assert not alarms(by_band)
    assert {check.against for check in checks} == {"training window"}
    if rows > 256:
        moved = flights(np.random.default_rng(14), 300, carrier=["AA"] * 300)
        assert ("carrier", "values") in alarms(compare(profile, counts_of(profile, moved), setting_of()))


def test_the_same_rows_are_judged_alike_every_time(profile: Profile) -> None:
    current = counts_of(profile, flights(np.random.default_rng(15), 100))
    assert compare(profile, current, setting_of()) == compare(profile, current, setting_of())


def test_what_a_check_shows_can_be_stored() -> None:
    feature = category("c")
    profile = profile_of([feature], {1: watched_rows({"c": [b"\xff\xfe", b"x", None] * 200}, [feature])})
    checks = compare(
        profile, counts_of(profile, watched_rows({"c": [b"\xff\xfe", b"\xfd"] * 100}, [feature])), setting_of()
    )
    shown = check_of(checks, "c").distribution
    assert shown is not None
    assert shown.bins == ("x", "��", "(never seen in training)", "(missing)")
    assert shown.current == (0, 0.5, 0.5, 0)
    for check in checks:
        assert Check.model_validate_json(check.model_dump_json()) == check


def test_bins_that_neither_side_has_are_not_shown(profile: Profile) -> None:
    checks = compare(profile, counts_of(profile, flights(np.random.default_rng(16), 500)), setting_of())
    hours = check_of(checks, "departure", "hour of day").distribution
    assert hours is not None
    assert hours.bins == tuple(f"{hour}:00" for hour in range(5, 23))
    assert sum(hours.current) == pytest.approx(1, abs=1e-4)


def test_the_rate_of_a_report_is_divided_among_its_checks(profile: Profile) -> None:
    checks = compare(profile, counts_of(profile, flights(np.random.default_rng(17), 100)), setting_of())
    assert 0 < rate_of_check(0.01, profile) * len(checks) <= 0.01


def check(
    subject: str, value: float, state: State = State.ALARM, importance: float = 0.0, is_fault: bool = False
) -> Check:
    return Check(
        comparison=Comparison.SKEW,
        subject=subject,
        aspect="values",
        measure="m",
        value=value,
        threshold=0.1,
        rows=1000,
        state=state,
        against="training window",
        importance=importance,
        is_fault=is_fault,
    )


def test_what_does_most_to_the_model_comes_first() -> None:
    checks = [
        check("passed, important", 0.09, State.PASSED, 0.9),
        check("undecided", 0.9, State.UNDECIDED, 0.9),
        check("large, of no importance", 0.9),
        check("small, important", 0.15, importance=0.5),
        check("larger, important", 0.3, importance=0.5),
        check("fault of no importance", 0.11, is_fault=True),
        check("beyond all measure, of little importance", 1e9, importance=0.001),
    ]
    assert [each.subject for each in by_impact(checks)] == [
        "fault of no importance",
        "larger, important",
        "small, important",
        "beyond all measure, of little importance",
        "large, of no importance",
        "undecided",
        "passed, important",
    ]
    assert by_impact([]) == []


def test_importances_are_told(profile: Profile) -> None:
    current = counts_of(profile, flights(np.random.default_rng(18), 100))
    checks = compare(profile, current, setting_of(importances={"temp": 0.75}))
    assert {each.subject: each.importance for each in checks} == {
        "temp": 0.75,
        "stops": 0,
        "carrier": 0,
        "departure": 0,
    }


def test_a_wide_window_is_compared_at_once() -> None:
    """35 features in 1,000 blocks: more than a hundred checks."""
    random = np.random.default_rng(19)
    features = tuple(number(f"n{index}") for index in range(35))
    template = profile_of(
        features, {0: watched_rows({each.name: random.normal(size=512) for each in features}, features)}
    )
    keys = list(template.bins)
    counts = {key: random.multinomial(256, [0.04] * 20 + [0.05] * 4, size=1000) for key in keys}
    profile = Profile(features, template.bins, np.repeat(np.arange(10), 100), counts, {}, {}, {})
    before = process_time()
    checks = compare(profile, {key: each[:40].sum(axis=0) for key, each in counts.items()}, setting_of())
    assert process_time() - before < 3  # some 0.1 s; a loop over draws takes longer
    assert len(checks) >= 105


def test_of_rows_of_one_day_the_weekday_is_not_judged(profile: Profile) -> None:
    times = 1_388_966_400 + np.random.default_rng(7).uniform(0, 86_399, 3000)
    checks = compare(
        profile, counts_of(profile, flights(np.random.default_rng(3), 3000, departure=times)), setting_of()
    )
    states = {check.state for check in checks if check.aspect == "day of week"}
    assert states == {State.UNDECIDED}


def test_of_an_id_that_never_repeats_nothing_is_said() -> None:
    features = (category("order"),)
    random = np.random.default_rng(8)

    def orders() -> list[str]:
        return [f"{number:012d}" for number in random.integers(0, 10**12, 1000)]

    profile = profile_of(features, {span: watched_rows({"order": orders()}, features) for span in range(5)})
    checks = compare(profile, counts_of(profile, watched_rows({"order": orders()}, features)), setting_of())
    assert {check.state for check in checks if check.aspect != "missing"} == {State.UNDECIDED}
