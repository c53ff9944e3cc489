"""Faults in real flights are named in the report's first line, and unchanged flights leave it silent."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from faults import FAULTS, NAMED_IN_THE_ISSUE, Fault, from_row, lost, permuted, replace, scaled, together
from table_looks import DAY, LABEL, SCHEMA, Watch, flights, rows_of_table, window_profile

from monitoring.report import Action, Check, Decision, State, leading
from pipeline.components.distribution_validator import judge_newest_span
from pipeline.gates.config import DataGateConfig
from pipeline.gates.drift import drift_findings
from pipeline.gates.verdict import Outcome

ROWS = 3000
NEEDS_ROWS = {"two values exchanged"}


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


def _subject(decision: Decision) -> str:
    return decision.headline.split(": ")[1]


UNTOLD_WITHOUT_JOIN = {"rounded": "no bin of the distribution changes"}
UNTOLD = {}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named_in_the_first_line_without_a_join(watch: Watch, requests: pa.Table, fault: Fault) -> None:
    if fault.name in UNTOLD_WITHOUT_JOIN:
        pytest.skip(UNTOLD_WITHOUT_JOIN[fault.name])
    _, decision = watch.look(_damaged(fault, requests))
    assert decision.action is Action.BLOCK, decision.headline
    assert _subject(decision) in fault.subjects and re.search(fault.words, decision.headline), decision.headline


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_named_in_the_first_line_with_a_join(watch: Watch, requests: pa.Table, fault: Fault) -> None:
    _, decision = watch.look(_damaged(fault, requests), table=requests)
    assert decision.action is Action.BLOCK, decision.headline
    assert _subject(decision) in fault.subjects and re.search(fault.words, decision.headline), decision.headline
