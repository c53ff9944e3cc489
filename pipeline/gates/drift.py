"""Evidence of the data gate: how the newest span differs from the training window and from the last good span."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.report import Check, leading
from pipeline.gates.config import DataGateConfig
from pipeline.gates.verdict import Finding, Outcome

_MEND = "Deliver the span again, or, if the world is so now, accept it."


def drift_findings(checks: Sequence[Check], config: DataGateConfig) -> list[Finding]:
    """A finding for each feature that alarms, and one for all that do not.

    A change of the world is noted: training on it is the cure. What looks like a fault in the data stops the run, or
    the model would learn it; `gates.data.drift` says otherwise.

    Args:
        checks: Of the newest span.
        config: What drift stops.
    """
    if not checks:
        return []
    findings = [_finding(check, config) for check in leading(checks)]
    calm = len({check.subject for check in checks}) - len(findings)
    findings.append(
        Finding(
            check="drift",
            where=f"{calm} features ({checks[0].source})",
            bound="as between training spans",
            value="none",
            outcome=Outcome.PASSED,
        )
    )
    return findings


def _finding(check: Check, config: DataGateConfig) -> Finding:
    stops = config.drift == "stop" or (config.drift == "stop_faults" and check.is_fault)
    return Finding(
        check=f"drift: {check.aspect}",
        where=f"{check.subject} ({check.source})",
        bound=f"≤ {check.threshold:.3g}",
        value=f"{check.value:.3g}: {check.diagnosis}" if check.diagnosis else f"{check.value:.3g}",
        baseline=check.against,
        outcome=Outcome.FAILED if stops else Outcome.NOTED,
        mend=_MEND,
    )
