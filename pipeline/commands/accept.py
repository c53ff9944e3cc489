"""What a person accepted: earlier, and with `--accept REASON` now."""

from __future__ import annotations

from pipeline.gates.verdict import GateName, Outcome
from pipeline.metadata import History
from pipeline.runners.report import RunReport
from schema.errors import UsageError


def accepted_findings(history: History, reports: list[RunReport], reason: str | None) -> dict[GateName, dict[str, str]]:
    """All accepted findings by gate, with reasons.

    A reason given now accepts what the last run's gates refused: exactly those findings with exactly those values.
    Anything else that a gate finds still stops the run, since nobody has seen it.

    Raises:
        UsageError: There is nothing to accept.
    """
    accepted = history.accepted()
    if reason is None:
        return accepted
    refused = [
        (verdict.gate, finding)
        for verdict in (history.verdicts_of_run(reports[-1].run_id) if reports else [])
        for finding in verdict.findings
        if finding.outcome is Outcome.FAILED
    ]
    if not refused or not reason.strip():
        raise UsageError(
            "There is nothing to accept" if reason.strip() else "The reason is empty",
            where="--accept",
            expected="a reason, after a run that a gate has stopped",
            received=f"the last run {reports[-1].outcome}" if reports else "no run yet",
            mend="Run without --accept first, and read what the gate says.",
        )
    for gate, finding in refused:
        accepted.setdefault(gate, {})[finding.key] = reason.strip()
    return accepted
