"""Feature skew, row by row: a request's values against those of the same row in the tables."""

from __future__ import annotations

from monitoring.config import MonitorConfig
from monitoring.diagnosis import diagnose_pairs
from monitoring.explain import compared
from monitoring.join import Joined
from monitoring.reference import Reference
from monitoring.report import MISMATCH, Check, Comparison, State

_MOST_MISMATCHED = 0.01
"""Of the joined rows: late corrections of single rows are no skew."""


def mismatch_checks(joined: Joined, reference: Reference, config: MonitorConfig) -> list[Check]:
    """The share of joined requests whose value differs, for each feature that the tables have."""
    if not joined.matched:
        return []
    asked = joined.asked.summaries() if joined.asked else {}
    tabled = joined.tabled.summaries() if joined.tabled else {}
    shares = {name: joined.mismatched.get(name, 0) / joined.matched for name in sorted(joined.compared)}
    skewed = {name for name, share in shares.items() if share > _MOST_MISMATCHED and name in tabled}
    pairs = diagnose_pairs(tabled, asked, skewed)
    checks = []
    for name, share in shares.items():
        is_skewed = share > _MOST_MISMATCHED
        state = State.UNDECIDED if joined.matched < config.fewest_rows else State.ALARM if is_skewed else State.PASSED
        found = (pairs.get(name) or compared(tabled[name], asked[name])) if name in skewed else None
        told = f"{share:.1%} of requests hold another value than the same row in the data"
        checks.append(
            Check(
                comparison=Comparison.SKEW,
                subject=name,
                aspect=MISMATCH,
                measure="share of joined rows",
                value=share,
                threshold=_MOST_MISMATCHED,
                rows=joined.matched,
                state=state,
                against="same rows in the data",
                source="requests",
                importance=reference.importances.get(name, 0.0),
                is_fault=state is State.ALARM,
                diagnosis="" if state is not State.ALARM else f"{found.text}; {told}" if found else told,
            )
        )
    return checks
