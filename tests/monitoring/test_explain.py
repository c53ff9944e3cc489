from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from watched import FLIGHTS, category, check_of, counts_of, flights, number, profile_of, setting_of, watched_rows

from monitoring.checks import compare
from monitoring.diagnosis import CategoricalSummary, NumericSummary
from monitoring.explain import compared, explained
from monitoring.profile import Profile, Survey
from monitoring.report import Check, State, leading

LABEL = "late"
FEATURES = (*FLIGHTS, number(LABEL, is_whole=True))
ROWS = 1000


def drawn(random: np.random.Generator, rows: int, **changed: object) -> pa.RecordBatch:
    batch = flights(random, rows, **{name: values for name, values in changed.items() if name != LABEL})
    late = changed.get(LABEL, (random.random(rows) < 0.2).astype(np.int64))
    return pa.RecordBatch.from_arrays(
        [*batch.columns, watched_rows({LABEL: late}, FEATURES[-1:]).column(0)], [each.name for each in FEATURES]
    )


@pytest.fixture(scope="module")
def profile() -> Profile:
    random = np.random.default_rng(0)
    return profile_of(FEATURES, {span: drawn(random, 3000) for span in range(6)})


def judged(profile: Profile, rows: pa.RecordBatch) -> list[Check]:
    checks = compare(profile, counts_of(profile, rows), setting_of())
    current = Survey.of(rows, FEATURES, 0, 1.0, np.random.default_rng(0)).summaries()
    return explained(checks, profile.earlier, profile.newest, current, LABEL)


def test_without_an_alarm_nothing_is_said(profile: Profile) -> None:
    checks = judged(profile, drawn(np.random.default_rng(1), ROWS))
    assert {check.state for check in checks} == {State.PASSED}
    assert {(check.diagnosis, check.is_fault) for check in checks} == {("", False)}


def test_another_unit(profile: Profile) -> None:
    celsius = (np.random.default_rng(2).normal(60, 15, ROWS).round(2) - 32) / 1.8
    (found,) = leading(judged(profile, drawn(np.random.default_rng(2), ROWS, temp=celsius)))
    assert (found.subject, found.is_fault) == ("temp", True)
    assert "°C" in found.diagnosis


def test_a_renamed_category(profile: Profile) -> None:
    carriers = np.random.default_rng(3).choice(["AA", "B6", "DL", "United"], ROWS, p=[0.1, 0.2, 0.3, 0.4])
    (found,) = leading(judged(profile, drawn(np.random.default_rng(3), ROWS, carrier=carriers)))
    assert (found.subject, found.is_fault) == ("carrier", True)
    assert "United" in found.diagnosis


def test_missing_values(profile: Profile) -> None:
    random = np.random.default_rng(4)
    temp = np.where(random.random(ROWS) < 0.5, np.nan, random.normal(60, 15, ROWS).round(2))
    (found,) = leading(judged(profile, drawn(random, ROWS, temp=temp)))
    assert (found.subject, found.aspect) == ("temp", "missing")
    assert "no value" in found.diagnosis


def test_a_time_zone(profile: Profile) -> None:
    random = np.random.default_rng(5)
    shifted = np.asarray(flights(random, ROWS).column("departure")) + 5 * 3600
    checks = judged(profile, drawn(random, ROWS, departure=shifted))
    found = check_of(checks, "departure", "hour of day")
    assert found.is_fault
    assert "5 hours later" in found.diagnosis


def test_a_label_that_is_flipped(profile: Profile) -> None:
    late = (np.random.default_rng(6).random(ROWS) >= 0.2).astype(np.int64)
    found = check_of(judged(profile, drawn(np.random.default_rng(6), ROWS, late=late)), LABEL)
    assert found.state is State.ALARM
    assert found.is_fault
    assert "flip" in found.diagnosis


def test_only_alarms_are_explained(profile: Profile) -> None:
    checks = judged(profile, drawn(np.random.default_rng(7), ROWS, stops=[1] * ROWS))
    assert check_of(checks, "stops").diagnosis
    assert {check.subject for check in checks if check.diagnosis} == {"stops"}
    assert not check_of(checks, "stops", "missing").diagnosis


def test_no_season_is_a_fault_for_being_outside_of_training(profile: Profile) -> None:
    """Warmer than ever, but no unit: the band of the values is for that."""
    checks = judged(profile, drawn(np.random.default_rng(8), ROWS, temp=np.random.default_rng(8).normal(95, 15, ROWS)))
    assert check_of(checks, "temp").state is State.ALARM
    assert not check_of(checks, "temp").is_fault
    assert check_of(checks, "temp", "outside training").state is State.PASSED


def test_a_feature_without_a_summary_keeps_its_alarm(profile: Profile) -> None:
    rows = drawn(np.random.default_rng(9), ROWS, stops=[1] * ROWS)
    checks = compare(profile, counts_of(profile, rows), setting_of())
    found = check_of(explained(checks, profile.earlier, profile.newest, {}, LABEL), "stops")
    assert (found.state, found.diagnosis) == (State.ALARM, "")


def test_a_trend_hides_no_fault() -> None:
    """Fares rise from span to span; what was dollars and is cents now is told by the newest span."""
    random = np.random.default_rng(10)
    fare = number("fare")
    spans = {
        span: watched_rows({"fare": (random.gamma(4, 25, 3000) * 2.0**span).round(2)}, [fare]) for span in range(4)
    }
    profile = profile_of([fare], spans)
    rows = watched_rows({"fare": (random.gamma(4, 25, ROWS) * 2.0**3).round(2) * 100}, [fare])
    checks = compare(profile, counts_of(profile, rows), setting_of())
    current = {"fare": NumericSummary.of(np.asarray(rows.column(0)))}
    found = check_of(explained(checks, profile.earlier, profile.newest, current, LABEL), "fare")
    assert found.is_fault
    assert "100" in found.diagnosis


def test_summaries_of_different_kinds_cannot_be_compared() -> None:
    numeric, categorical = NumericSummary.of(np.arange(9.0)), CategoricalSummary.of([b"a"] * 9)
    assert compared(numeric, categorical) is None
    assert compared(categorical, numeric) is None


def test_new_values_that_always_come_explain_no_other_change() -> None:
    """Each span has flights of its own: that a category lost another value is not said to be these."""
    random = np.random.default_rng(11)
    tail = category("tail")

    def span(number: int, known: list[str]) -> pa.RecordBatch:
        is_new = random.random(2000) < 0.1
        fresh = np.char.add(f"{number}-", random.integers(0, 30, 2000).astype(str))
        return watched_rows({"tail": np.where(is_new, fresh, random.choice(known, 2000))}, [tail])

    profile = profile_of([tail], {number: span(number, ["a", "b", "c"]) for number in range(6)})
    rows = span(9, ["a", "a", "a", "b", "c"])
    checks = compare(profile, counts_of(profile, rows), setting_of())
    current = {"tail": CategoricalSummary.of(rows.column(0).to_pylist())}
    found = explained(checks, profile.earlier, profile.newest, current, LABEL)
    assert check_of(found, "tail", "unseen values").state is State.PASSED
    assert check_of(found, "tail").state is State.ALARM
    assert "9-" not in check_of(found, "tail").diagnosis
