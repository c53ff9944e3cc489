"""From counts to evidence: what alarms, since when, in which order, and what is told of bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from small_reference import DAY, FEATURES, LABEL, SCHEMA, answers_of, changed, flights_of, reference_of, rows_of
from tensorflow_metadata.proto.v0 import schema_pb2

from monitoring.config import MonitorConfig
from monitoring.evidence import Evidence
from monitoring.join import Joined
from monitoring.judge import JudgePlan, judge
from monitoring.parts import Part
from monitoring.problems import Problems
from monitoring.quality import BinaryCounts
from monitoring.report import Comparison, State
from monitoring.slicing import quality_by_slice
from schema.errors import SchemaError

TABLES = {span: flights_of(span) for span in (1, 2, 3, 4)}
REFERENCE = reference_of(TABLES)
LIVE = flights_of(5, 3000)
KILOMETRES = changed(LIVE, miles=LIVE["miles"].to_numpy() * 1.609344)
VERSION = 77


def part(table: pa.Table, scores: np.ndarray | None = None, is_span: bool = False) -> Part:
    rows = rows_of(table if is_span else table.drop(["late"]))
    answers = None if is_span else answers_of(table) if scores is None else scores
    features = (*FEATURES, LABEL) if is_span else FEATURES
    return Part.of(rows, answers, features, REFERENCE.profile.bins, 1.0, np.random.default_rng(0))


def judged(
    parts: dict[tuple[str, int, int], Part],
    joined: Joined | None = None,
    schema: str = "",
    problems: Problems | None = None,
    reference: Any = REFERENCE,
    **config: Any,
) -> Evidence:
    plan = JudgePlan(
        reference,
        VERSION,
        MonitorConfig(**config),
        text_format.Parse(SCHEMA + schema, schema_pb2.Schema()).SerializeToString(),
    )
    return judge(plan, parts, joined or Joined(), None, problems or Problems())


def windows(*tables: pa.Table, start: int = 0, every: int = DAY) -> dict[tuple[str, int, int], Part]:
    return {("requests", VERSION, start + place * every): part(table) for place, table in enumerate(tables)}


def days(table: pa.Table, count: int = 6) -> list[pa.Table]:
    size = len(table) // count
    return [table.slice(place * size, size) for place in range(count)]


def test_clean_requests_and_a_clean_span_alarm_nothing() -> None:
    parts = {**windows(*days(LIVE)), ("span", 5, 0): part(LIVE, is_span=True)}
    evidence = judged(parts)
    assert [check for check in evidence.checks if check.state is State.ALARM] == []
    assert (evidence.rows, evidence.start, evidence.end) == (3000, 0.0, 6.0 * DAY)
    assert (evidence.new_spans, evidence.new_rows, evidence.problems) == ((5,), 3000, ())
    assert {check.comparison for check in evidence.checks} == {Comparison.SKEW, Comparison.DRIFT}
    assert "predictions" in {check.subject for check in evidence.checks}


def test_what_matters_leads() -> None:
    renamed = changed(KILOMETRES, carrier=["Delta" if each == "DL" else each for each in LIVE["carrier"].to_pylist()])
    evidence = judged(windows(renamed))
    states = [check.state for check in evidence.checks]
    assert states == sorted(states, key=[State.ALARM, State.UNDECIDED, State.PASSED].index)
    first, *others = [check for check in evidence.checks if check.state is State.ALARM]
    assert (first.subject, first.is_fault) == ("miles", True)
    assert "1.609" in first.diagnosis
    assert "carrier" in {check.subject for check in others}
    faults = [check.is_fault for check in (first, *others)]
    assert faults == sorted(faults, reverse=True)


def test_since_the_first_window_that_looks_so() -> None:
    good, bad = days(LIVE), days(KILOMETRES)
    evidence = judged(windows(*good[:3], *bad[3:]))
    [first, *_] = evidence.checks
    assert (first.subject, first.state, first.since) == ("miles", State.ALARM, 3.0 * DAY)


def test_the_last_window_alone_alarms_before_the_period_does() -> None:
    many = [flights_of(span, 1500) for span in range(20, 50)]
    late = days(KILOMETRES, 6)[-1]
    evidence = judged(windows(*many, late))
    alarms = {check.subject: check for check in evidence.checks if check.state is State.ALARM}
    assert alarms["miles"].source == "requests of the last window"
    assert alarms["miles"].since == 30.0 * DAY


def test_a_clock_that_is_years_ahead_hides_no_last_window() -> None:
    parts = windows(*[flights_of(span, 1500) for span in range(20, 50)], days(KILOMETRES, 6)[-1])
    parts["requests", VERSION, 4_000_000_000 // DAY * DAY] = part(LIVE.slice(0, 3))
    evidence = judged(parts)
    assert next(check.subject for check in evidence.checks if check.state is State.ALARM) == "miles"
    assert len(evidence.volumes) == len(parts)  # not a hundred thousand empty ones


def test_windows_without_a_request_are_told() -> None:
    parts = {("requests", VERSION, start * DAY): part(LIVE.slice(0, 400)) for start in (0, 1, 4)}
    evidence = judged(parts)
    assert [volume.rows for volume in evidence.volumes] == [400, 400, 0, 0, 400]
    [problem] = evidence.problems
    assert (problem.what, problem.count) == ("windows of time without a request", 2)


def test_a_last_window_without_answers_is_judged_by_its_features() -> None:
    first, last = LIVE.slice(0, 1500), KILOMETRES.slice(1500)
    parts = {("requests", VERSION, 0): part(first), ("requests", VERSION, DAY): part(last, np.full(1500, np.nan))}
    evidence = judged(parts)
    assert evidence.checks[0].subject == "miles"
    assert [volume.mean_score is None for volume in evidence.volumes] == [False, True]


def test_too_few_requests_decide_nothing() -> None:
    evidence = judged(windows(KILOMETRES.slice(0, 299)))
    assert {check.state for check in evidence.checks} == {State.UNDECIDED}


def test_nothing_at_all() -> None:
    evidence = judged({})
    assert evidence == Evidence()


def test_only_the_judged_version_is_judged_and_each_is_told() -> None:
    parts = {**windows(LIVE), ("requests", 5, 0): part(KILOMETRES)}
    joined = Joined(losses={5: BinaryCounts.of(np.array([0.9]), np.array([1.0])).log_loss})
    evidence = judged(parts, joined)
    assert [check for check in evidence.checks if check.state is State.ALARM] == []
    assert evidence.rows == 3000
    of_5, of_77 = evidence.versions
    assert (of_5.version, of_5.rows, of_5.loss.rows) == (5, 3000, 1)
    assert (of_77.version, of_77.loss.rows) == (77, 0)
    assert of_5.mean_score > of_77.mean_score


def test_a_span_is_compared_with_the_window_and_with_its_newest_span() -> None:
    evidence = judged({("span", 5, 0): part(KILOMETRES, is_span=True)})
    alarms = [check for check in evidence.checks if check.state is State.ALARM and check.subject == "miles"]
    assert {(check.against, check.source) for check in alarms} >= {
        ("training window", "span 5"),
        ("last span, 4", "span 5"),
    }
    assert evidence.rows == 0
    assert evidence.new_rows == 3000


@pytest.mark.parametrize(
    ("found", "what", "count"),
    [
        ({"contradictions": 3, "first_contradiction": "7, AA"}, "rows whose labels contradict each other", 3),
        ({"repeated": 4}, "rows that the same version had answered before: the first answer counts", 4),
        ({"anonymous": 5}, "requests without a whole identifier: they have no label", 5),
        ({"anonymous_in_tables": 6}, "rows without a whole identifier: they label nothing", 6),
    ],
)
def test_what_the_join_passed_over_is_told(found: dict[str, Any], what: str, count: int) -> None:
    evidence = judged({}, Joined(**found))
    assert [(each.what, each.count) for each in evidence.problems] == [(what, count)]


def test_labels_and_scores_that_cannot_be_are_counted() -> None:
    labels = np.array([0.0, 1.0, 2.0, np.nan, 0.0])
    scores = np.array([0.1, 0.9, 0.5, 0.5, np.nan])
    quality = {(VERSION, 0): quality_by_slice(pa.RecordBatch.from_pydict({}), scores, labels, (), "binary")}
    evidence = judged({}, Joined(quality=quality))
    [problem] = evidence.problems
    assert (problem.what, problem.count) == ("rows with a score or a label that cannot be: they count in no metric", 2)


def test_problems_of_the_reading_come_first() -> None:
    problems = Problems()
    problems.add("a log file is cut off", "x.tfrecord")
    evidence = judged({}, Joined(repeated=1), problems=problems)
    assert next(each.what for each in evidence.problems) == "a log file is cut off"
    assert len(evidence.problems) == 2


def test_a_comparator_that_does_not_fit_is_an_error() -> None:
    plan = judge_schema("skew_comparator { infinity_norm { threshold: 0.1 } }")
    with pytest.raises(SchemaError, match="miles"):
        judge(plan, windows(LIVE), Joined(), None, Problems())


def test_a_comparator_that_fits_sets_the_threshold() -> None:
    plan = judge_schema("skew_comparator { jensen_shannon_divergence { threshold: 0.9 } }")
    evidence = judge(plan, windows(KILOMETRES), Joined(), None, Problems())
    [check] = [each for each in evidence.checks if (each.subject, each.aspect) == ("miles", "values")]
    assert (check.state, check.threshold) == (State.PASSED, 0.9)


def judge_schema(comparator: str) -> JudgePlan:
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    [miles] = [each for each in schema.feature if each.name == "miles"]
    text_format.Merge(comparator, miles)
    return JudgePlan(REFERENCE, VERSION, MonitorConfig(), schema.SerializeToString())


def test_a_reference_of_one_span_compares_with_no_span() -> None:
    whole = pa.concat_tables(TABLES.values())
    reference = reference_of({0: whole})
    evidence = judged(windows(LIVE), reference=reference)
    assert {check.state for check in evidence.checks if check.subject == "miles"} == {State.PASSED}
    assert {check.against for check in evidence.checks} == {"training window"}


def test_flipped_labels_lead() -> None:
    def flipped(table: pa.Table) -> Joined:
        late = table["late"].to_numpy().astype(np.float64)
        counts = quality_by_slice(rows_of(table), answers_of(LIVE), 1 - late, (), "binary")
        return Joined(quality={(VERSION, 0): counts})

    evidence = judged(windows(LIVE), flipped(LIVE))
    [first, *_] = evidence.checks
    assert (first.subject, first.aspect, first.is_fault) == ("late", "labels", True)


def test_a_reference_is_not_changed() -> None:
    before = {key: counts.copy() for key, counts in REFERENCE.profile.counts.items()}
    judged({**windows(KILOMETRES), ("span", 5, 0): part(KILOMETRES, is_span=True)})
    assert all((REFERENCE.profile.counts[key] == counts).all() for key, counts in before.items())
    assert replace(REFERENCE.profile).rows == 6000
