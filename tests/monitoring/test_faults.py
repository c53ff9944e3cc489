"""Faults in real flights are named in the report's first line, and unchanged flights leave it silent."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from faults import FAULTS, NAMED_IN_THE_ISSUE, Fault, from_row, lost, permuted, replace, scaled, together
from table_looks import DAY, LABEL, SCHEMA, Watch, flights, window_profile

from monitoring.report import Action, Check, Decision, State, leading
from pipeline.components.distribution_validator import judge_newest_span
from pipeline.gates.config import DataGateConfig
from pipeline.gates.drift import drift_findings
from pipeline.gates.verdict import Outcome

ROWS = 3000
NEEDS_JOIN = {
    "two values exchanged": "the two airports have about as many flights",
    "°F → °C, half of the servers": "a tenth of the year is as cold",
    "999 for missing": "a pressure like any other",
    "the mean for missing": "in the middle of what is normal",
    "rounded": "every value stays in its bin",
}
"""Faults that leave the distribution as it was, or as another month's: only the same row in the data tells."""

STOPPED = {"miles → km", "a category renamed", "stuck at a constant", "30% missing", "a time zone", "all midnight"}
"""Some of those that the data gate stops by the distribution alone."""


@pytest.fixture(scope="session")
def months() -> dict[int, pa.Table]:
    """Every third flight of the second half of the year, but the last month."""
    return {month: _every_third(flights(month), 0) for month in range(6, 12)}


@pytest.fixture(scope="session")
def watch(months: dict[int, pa.Table]) -> Watch:
    return Watch.of(months)


@pytest.fixture(scope="session")
def requests() -> pa.Table:
    """Ten days of flights that the model has not seen, of a month that it has."""
    return _every_third(flights(11), 1).slice(0, ROWS).combine_chunks()


def _every_third(table: pa.Table, first: int) -> pa.Table:
    return table.take(pa.array(np.arange(first, len(table), 3))).combine_chunks()


def _damaged(fault: Fault, table: pa.Table) -> pa.Table:
    return fault.damage(table, np.random.default_rng(3)).combine_chunks()


def _alarms(checks: tuple[Check, ...] | list[Check]) -> list[Check]:
    return [check for check in checks if check.state is State.ALARM]


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.name not in NEEDS_JOIN], ids=lambda fault: fault.name
)
def test_a_fault_is_named_in_the_first_line(watch: Watch, requests: pa.Table, fault: Fault) -> None:
    _expect(fault, watch.look(_damaged(fault, requests))[1])


@pytest.mark.parametrize(
    "fault",
    [each for each in FAULTS if each.name in NEEDS_JOIN or each in NAMED_IN_THE_ISSUE],
    ids=lambda fault: fault.name,
)
def test_a_fault_is_named_in_the_first_line_when_requests_are_joined(
    watch: Watch, requests: pa.Table, fault: Fault
) -> None:
    _expect(fault, watch.look(_damaged(fault, requests), table=requests)[1])


@pytest.mark.parametrize("fault", NAMED_IN_THE_ISSUE, ids=lambda fault: fault.name)
def test_a_fault_is_named_in_a_span_that_arrived(watch: Watch, requests: pa.Table, fault: Fault) -> None:
    _, decision = watch.look(span=_damaged(fault, requests))
    if fault.name == "a new carrier":  # the schema's domain stops it at the data gate; its distribution is news
        assert decision.action is Action.RETRAIN
        assert re.search(fault.words, decision.headline)
    else:
        _expect(fault, decision)


@pytest.mark.parametrize("fault", [each for each in FAULTS if each.name in STOPPED], ids=lambda fault: fault.name)
def test_the_data_gate_stops_a_faulty_span(months: dict[int, pa.Table], requests: pa.Table, fault: Fault) -> None:
    profile = window_profile({month: months[month] for month in (8, 9, 10)} | {11: _damaged(fault, requests)})
    findings = drift_findings(judge_newest_span(profile, 10, 0.01, 300, SCHEMA, LABEL), DataGateConfig())
    failed = [each.where.split()[0] for each in findings if each.outcome is Outcome.FAILED]
    assert set(failed) & set(fault.subjects)


def test_the_data_gate_lets_a_clean_span_pass(months: dict[int, pa.Table]) -> None:
    profile = window_profile(months)
    findings = drift_findings(judge_newest_span(profile, 10, 0.01, 300, SCHEMA, LABEL), DataGateConfig())
    assert all(each.outcome is not Outcome.FAILED for each in findings)


@pytest.mark.parametrize("rows", [300, 1000, ROWS])
@pytest.mark.parametrize("is_joined", [False, True])
def test_clean_requests_leave_the_report_silent(watch: Watch, requests: pa.Table, rows: int, is_joined: bool) -> None:
    asked = requests.slice(ROWS - rows)
    evidence, decision = watch.look(asked, table=requests if is_joined else None)
    assert decision.headline.startswith("Keep: nothing moved")
    assert not _alarms(evidence.checks)


def test_a_column_in_the_wrong_rows_is_seen_by_the_join(watch: Watch, requests: pa.Table) -> None:
    asked = permuted("distance")(requests, np.random.default_rng(0))
    assert not _alarms(watch.look(asked)[0].checks)
    _, decision = watch.look(asked, table=requests)
    assert re.match(r"Block: distance: .*another value than the same row", decision.headline)


@pytest.mark.parametrize(("begins", "row"), [("in the middle", 0.5), ("on the last days", 0.8)])
def test_since_when_is_right(watch: Watch, begins: str, row: float) -> None:
    clean = flights(11).slice(0, 9000)
    times = np.asarray(pc.cast(clean["scheduled_departure"], pa.timestamp("s")).to_pandas(), "datetime64[s]")
    began = float(times[int(row * len(clean))].astype(np.int64) // DAY * DAY)
    asked = from_row(row, scaled("distance", 1.609344))(clean, np.random.default_rng(0))
    evidence, decision = watch.look(asked)
    assert decision.headline.startswith("Block: distance: "), begins
    assert {check.since for check in _alarms(evidence.checks) if check.subject == "distance"} <= {began, began + DAY}


def test_an_outage_in_the_last_window_waits_for_another_window(watch: Watch) -> None:
    names = ("temp", "dewp", "humid", "precip", "wind_speed", "visib")
    month = _every_third(flights(11), 1)
    last_day = int(np.flatnonzero(np.asarray(month["day"]) == 30)[0])
    outage = from_row((last_day + 0.5) / len(month), together(*(lost(name, 1.0) for name in names)))
    assert watch.look(outage(month, np.random.default_rng(0)))[1].action is Action.KEEP


def test_several_faults_are_all_reported(watch: Watch, requests: pa.Table) -> None:
    damage = together(scaled("distance", 1.609344), lost("wind_speed", 0.3), scaled("pressure", 100.0))
    evidence, decision = watch.look(damage(requests, np.random.default_rng(0)))
    faults = {check.subject for check in leading(evidence.checks) if check.is_fault}
    assert decision.action is Action.BLOCK
    assert {"distance", "wind_speed", "pressure"} <= faults


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (lambda late, _: 1 - late, "labels are flipped"),
        (lambda late, _: np.zeros_like(late), "all labels are 0"),
        (lambda late, generator: generator.permutation(late), "unrelated to the features"),
    ],
    ids=["flipped", "all 0", "random"],
)
def test_wrong_labels_are_named(
    watch: Watch, requests: pa.Table, labels: Callable[..., np.ndarray], words: str
) -> None:
    late = np.asarray(requests[LABEL])
    table = replace(requests, LABEL, pa.array(labels(late, np.random.default_rng(1))))
    _, decision = watch.look(requests, table=table)
    assert decision.action is Action.BLOCK
    assert decision.headline.startswith(f"Block: {LABEL}: ")
    assert words in decision.headline


def test_a_constant_score_is_noticed(watch: Watch, requests: pa.Table) -> None:
    evidence, decision = watch.look(requests, scores=np.full(len(requests), 0.5))
    assert "predictions" in decision.headline
    assert {check.subject for check in _alarms(evidence.checks)} == {"predictions"}


def test_scores_that_are_not_numbers_fail_nothing(watch: Watch, requests: pa.Table) -> None:
    evidence, _ = watch.look(requests, table=requests, scores=np.full(len(requests), np.nan))
    assert evidence.rows == len(requests)


def _expect(fault: Fault, decision: Decision) -> None:
    assert decision.action is Action.BLOCK, decision.headline
    subject = decision.headline.split(": ")[1]
    assert subject in fault.subjects, decision.headline
    assert re.search(fault.words, decision.headline), decision.headline


@pytest.fixture(scope="session", autouse=True)
def _names_are_real() -> None:
    assert NEEDS_JOIN.keys() | STOPPED <= {fault.name for fault in FAULTS}
