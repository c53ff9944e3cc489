"""A gate's findings as a table: what, where, expected, received, before, outcome."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.gates.verdict import Finding, Outcome

OUTCOME_STYLES = {
    Outcome.PASSED: "green",
    Outcome.NOTED: "yellow",
    Outcome.ACCEPTED: "yellow",
    Outcome.FAILED: "bold red",
}


def findings_table(findings: Iterable[Finding]) -> Table:
    """One row for each finding."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("check", "where", "bound", "value", "baseline", "outcome"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        cells = (finding.check, finding.where, finding.bound, finding.value, finding.baseline)
        table.add_row(*map(Text, cells), Text(finding.outcome.value, OUTCOME_STYLES[finding.outcome]))
    return table
