"""Features that no longer go together, while each by itself is as in training."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from watched import counts_of, number, profile_of, setting_of, time, watched_rows

from monitoring.bins import Kind
from monitoring.checks import by_impact, compare
from monitoring.explain import explained
from monitoring.profile import Profile, Survey
from monitoring.related import Related
from monitoring.relations import Relation, fit_relations
from monitoring.report import Check, State, leading

FEATURES = (
    number("warm"),
    number("dew"),
    number("damp"),
    number("alone"),
    time("left"),
    number("clock"),
    number("late"),
)
LABEL = "late"
ROWS = 3000
Columns = dict[str, np.ndarray]


def weather(seed: int, season: float, rows: int = ROWS) -> Columns:
    """Temperatures in °F, whose dew point hangs on them and on the damp; a clock that says the time of departure."""
    random = np.random.default_rng(seed)
    warm = random.normal(55 + season, 12, rows)
    damp = random.normal(60, 15, rows)
    left = 86_400.0 * random.integers(0, 28, rows) + random.integers(5 * 3600, 23 * 3600, rows)
    return {
        "warm": warm,
        "damp": damp,
        "dew": warm + 0.5 * (damp - 100) + random.normal(0, 1, rows),
        "alone": random.normal(0, 1, rows),
        "left": left,
        "clock": np.floor(left / 3600 % 24) * 100 + random.integers(0, 60, rows),
        "late": warm + random.normal(0, 1, rows),
    }


SEASONS = [-25.0, -15.0, -5.0, 0.0, 5.0, 15.0, 25.0, 20.0]


def as_rows(columns: Columns) -> pa.RecordBatch:
    return watched_rows(columns, FEATURES)


@pytest.fixture(scope="module")
def profile() -> Profile:
    spans = {span: as_rows(weather(span, season)) for span, season in enumerate(SEASONS)}
    return profile_of(FEATURES, spans, label=LABEL)


def judged(profile: Profile, columns: Columns) -> list[Check]:
    rows = as_rows(columns)
    survey = Survey.of(rows, FEATURES, 0, 1.0, np.random.default_rng(0))
    checks = compare(profile, counts_of(profile, rows), setting_of())
    related = Related.of(profile, survey.numbers)
    return explained(checks, profile.earlier, profile.newest, survey.summaries(), LABEL, related)


def test_what_goes_together_is_found_and_the_label_is_left_out(profile: Profile) -> None:
    found = {each.feature: set(each.relation.columns) for each in profile.bins.values() if each.relation}
    weather_columns = {"warm", "dew", "damp"}
    assert found.keys() == {*weather_columns, "clock"}
    assert all(found[name] == weather_columns for name in weather_columns)
    assert found["clock"] == {"clock", "left"}


def test_a_relation_says_what_the_inputs_make_likely() -> None:
    columns = weather(0, 0.0)
    (relation,) = (each for each in fit_relations(FEATURES, columns, LABEL) if each.feature == "dew")
    assert np.std(relation.predicted(columns) - columns["dew"]) == pytest.approx(1.0, rel=0.1)
    assert relation.residuals(columns) == pytest.approx(
        (columns["dew"] - relation.predicted(columns)) / columns["dew"].std(), rel=0.1, abs=0.01
    )
    gap = {**columns, "damp": np.where(np.arange(ROWS) < 10, np.nan, columns["damp"])}
    assert np.isnan(relation.residuals(gap)).sum() == 10


def test_infinite_values_fail_nothing(profile: Profile) -> None:
    columns = weather(1, 0.0)
    columns["warm"][:100] = np.inf
    columns["dew"][:50] = -np.inf
    assert judged(profile, columns)


@pytest.mark.parametrize("season", [-25.0, -10.0, 0.0, 25.0])
def test_seasons_break_no_relation(profile: Profile, season: float) -> None:
    checks = judged(profile, weather(100, season))
    relations = [check for check in checks if check.aspect == Kind.RELATION.value]
    assert len(relations) == 4
    assert {check.state for check in relations} == {State.PASSED}


def celsius(columns: Columns) -> Columns:
    return {**columns, "warm": (columns["warm"] - 32) / 1.8}


def celsius_of_half(columns: Columns) -> Columns:
    half = np.random.default_rng(1).random(ROWS) < 0.5
    return {**columns, "warm": np.where(half, celsius(columns)["warm"], columns["warm"])}


def permuted(name: str) -> Callable[[Columns], Columns]:
    return lambda columns: {**columns, name: np.random.default_rng(1).permutation(columns[name])}


@pytest.mark.parametrize(
    ("damage", "subjects", "words"),
    [
        (celsius, {"warm"}, "°F became °C"),
        (celsius_of_half, {"warm"}, r"about 5\d% of the values are 0.5556 times .*two sources"),
        (lambda columns: {**columns, "warm": columns["dew"], "dew": columns["warm"]}, {"warm", "dew"}, "exchanged"),
        (permuted("damp"), {"damp"}, "unrelated to .*wrong rows"),
        (permuted("clock"), {"clock"}, "unrelated to left"),
    ],
    ids=["another unit", "another unit, half of the rows", "exchanged", "in the wrong rows", "in the wrong rows, time"],
)
def test_a_fault_is_told_of_its_feature_alone(
    profile: Profile, damage: Callable[[Columns], Columns], subjects: set[str], words: str
) -> None:
    checks = judged(profile, damage(weather(200, 10.0)))
    faults = [check for check in leading(by_impact(checks)) if check.is_fault]
    assert {check.subject for check in faults} == subjects
    assert all(re.search(words, check.diagnosis) for check in faults)
    alarmed = {c.subject for c in checks if c.state is State.ALARM and c.aspect == Kind.RELATION.value}
    assert alarmed <= subjects


def test_partners_follow(profile: Profile) -> None:
    checks = judged(profile, celsius(weather(300, 10.0)))
    dew = next(check for check in checks if (check.subject, check.aspect) == ("dew", Kind.RELATION.value))
    assert (dew.state, dew.diagnosis, dew.is_fault) == (State.UNDECIDED, "follows from warm", False)


def test_a_relation_that_loosens_is_no_fault(profile: Profile) -> None:
    columns = weather(400, 0.0)
    columns["dew"] = columns["dew"] + 0.8 * columns["warm"] - 40  # the same order, another climate
    columns["dew"] += np.random.default_rng(4).normal(0, 9, ROWS)
    checks = judged(profile, columns)
    broken = [c for c in checks if c.aspect == Kind.RELATION.value and c.state is State.ALARM]
    assert [check.subject for check in broken] != []
    assert not any(check.is_fault for check in broken)


def test_a_gate_does_not_learn_the_newest_spans_fault() -> None:
    spans = {span: as_rows(weather(span, 0.0)) for span in range(2)}
    damaged = {**spans, 2: as_rows(celsius(weather(9, 0.0)))}
    clean, faulty = (
        {key: bins for key, bins in profile_of(FEATURES, each, label=LABEL).bins.items() if bins.relation}
        for each in (spans | {2: as_rows(weather(9, 0.0))}, damaged)
    )
    assert clean == faulty


def test_a_relation_travels_with_the_profile(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path)
    loaded = Profile.load(tmp_path)
    assert loaded.bins == profile.bins
    assert loaded.sample.keys() == {"warm", "dew", "damp", "clock", "left"}
    assert all(np.array_equal(loaded.sample[name], values) for name, values in profile.sample.items())


def test_a_relation_is_plain_json() -> None:
    (relation, *_) = fit_relations(FEATURES, weather(0, 0.0), LABEL)
    raw = relation.to_json()
    assert Relation.from_json({name: list(v) if isinstance(v, tuple) else v for name, v in raw.items()}) == relation


def test_too_few_rows_hold_no_relation() -> None:
    assert fit_relations(FEATURES, weather(0, 0.0, rows=100), LABEL) == []


def test_the_same_column_twice_is_a_relation() -> None:
    columns = {"warm": weather(0, 0.0)["warm"]}
    twins = (number("warm"), number("twin"))
    spans = {span: watched_rows({**columns, "twin": columns["warm"]}, twins) for span in range(3)}
    of_twins = profile_of(twins, spans)
    current = counts_of(of_twins, watched_rows({**columns, "twin": columns["warm"][::-1]}, twins))
    broken = [c for c in compare(of_twins, current, setting_of()) if c.state is State.ALARM]
    assert {(check.subject, check.aspect) for check in broken} == {(n, Kind.RELATION.value) for n in ("warm", "twin")}
