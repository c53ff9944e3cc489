"""From evidence to a decision: keep, retrain, roll back or block, and why.

Wrong data first: to train on it would make the model wrong as well. Then a version that fails where the one before it
would not. Then what training again can mend: a world that changed, a metric that fell, an age.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.config import MonitorConfig, PolicyConfig, Trigger
from monitoring.evidence import Evidence
from monitoring.quality import HIGHER_IS_BETTER, Moments
from monitoring.reference import PREDICTIONS
from monitoring.report import (
    Action,
    Check,
    Comparison,
    Decision,
    QualityPoint,
    ServerHealth,
    State,
    leading,
    of_whole_period,
)
from monitoring.slicing import ALL_EXAMPLES

_DAY = 86_400.0
_MATTERS = 0.005
"""Of importance times shift, that the drifted features must have between them for training again to be worth it: half
a percent of new tail numbers is news, and nothing that the model feels."""
_FEWEST_ANSWERS = 100
_FEWEST_WINDOWS = 5
_TWO_SIDED = 1.96
_YOUNG_WINDOWS = 14
"""A version that is older was not bad from the start."""
_BEYOND_DOUBT = 2.58
"""Standard errors: 99.5%."""
DECIDING_METRICS = ("auc", "rmse")
"""The one that decides, by task."""


@dataclass(frozen=True)
class Situation:
    """What the evidence does not hold."""

    now: float
    """Seconds since 1970."""
    version: int
    """The judged one."""
    pushed_at: float | None
    """When the judged version was; None if it does not say."""
    earlier_versions: tuple[int, ...]
    """That could be gone back to, ascending."""
    server: ServerHealth | None
    has_spans: bool = True
    """Whether new data arrives as spans; without time nobody knows what is new."""


def decide(evidence: Evidence, situation: Situation, config: MonitorConfig) -> Decision:
    """The decision; its headline names the alarm that matters most, whatever else it says.

    Args:
        evidence: What was found.
        situation: What else counts.
        config: The policy.
    """
    alarms = [check for check in evidence.checks if check.state is State.ALARM]
    decision = _decide(evidence, alarms, situation, config)
    if not alarms or _told(leading(alarms)[0]) in decision.headline:
        return decision
    return decision.model_copy(update={"headline": f"{decision.headline}; {_lead(alarms)}"})


def _decide(evidence: Evidence, alarms: list[Check], situation: Situation, config: MonitorConfig) -> Decision:
    faults = [check for check in alarms if check.is_fault]
    drifted = [check for check in alarms if not check.is_fault]
    worse = worse_metric(evidence.quality, config.policy.worse_by)
    reasons = [_told(check) for check in leading(alarms)]
    failing = _failing(situation.server, config.policy)
    # an older version has answered well: then its server is the suspect, and going back from version to version no cure
    if failing and situation.earlier_versions and _is_young(situation, config, 1):
        return _roll_back(failing, reasons, situation)
    if faults:
        return Decision(
            action=Action.BLOCK,
            headline=f"Block: {_lead(faults)}",
            reasons=(*reasons, "Training on this data would teach the model the fault: mend the source first."),
            is_of_requests=all(check.comparison is Comparison.SKEW and check.aspect != "labels" for check in faults),
        )
    before = (
        _better_before(evidence, situation)
        if worse and not alarms and _is_young(situation, config, _YOUNG_WINDOWS)
        else ""
    )
    if worse and before:
        return _roll_back(f"{_fell(worse)}; {before}", reasons, situation)
    causes = _causes(drifted, worse, evidence, situation, config.policy)
    concerns = [*([failing] if failing else []), *([_fell(worse)] if worse else [])]
    return _retrain_or_keep(causes, drifted, concerns, reasons, evidence, situation, config.policy)


def worse_metric(quality: Sequence[QualityPoint], worse_by: float) -> QualityPoint | None:
    """The measured metric of the whole period, if it is below the reference beyond doubt; never an estimate.

    Rows of a day share their weather, so what is beyond doubt follows from how much the windows of time differ, not
    from the number of rows; the reference, a period too, is as uncertain.
    """
    measured = [
        point
        for point in quality
        if point.metric in DECIDING_METRICS and point.slice == ALL_EXAMPLES and not point.is_estimate
    ]
    whole = max(of_whole_period(measured), key=lambda point: point.end, default=None)
    windows = [point.value for point in measured if point is not whole]
    if whole is None or not whole.reference or len(windows) < _FEWEST_WINDOWS:
        return None
    doubt = _TWO_SIDED * statistics.stdev(windows) * math.sqrt(2 / len(windows))
    if HIGHER_IS_BETTER[whole.metric]:
        return whole if whole.value + doubt < whole.reference - worse_by else None
    return whole if whole.value - doubt > whole.reference * (1 + worse_by) else None


def _failing(server: ServerHealth | None, policy: PolicyConfig) -> str:
    if server is None or server.requests < _FEWEST_ANSWERS:
        return ""
    share = server.errors / server.requests
    if share <= policy.most_server_errors:
        return ""
    return f"the server fails {share:.1%} of {server.requests:,} requests (allowed: {policy.most_server_errors:.1%})"


def _roll_back(why: str, reasons: list[str], situation: Situation) -> Decision:
    version = situation.earlier_versions[-1]
    return Decision(
        action=Action.ROLL_BACK,
        headline=f"Roll back to version {version}: {why}",
        reasons=(why, *(reasons or ["The data is not to blame: nothing in it changed beyond what is normal."])),
        to_version=version,
    )


def _better_before(evidence: Evidence, situation: Situation) -> str:
    """How much smaller the loss of the version before was, if it was beyond doubt; empty if not, or if nobody knows.

    A world that changed makes every version worse, and going back would make it worse still.
    """
    losses = {each.version: Moments(*each.loss.model_dump().values()) for each in evidence.versions}
    now = losses.get(situation.version, Moments())
    before = losses.get(situation.earlier_versions[-1], Moments()) if situation.earlier_versions else Moments()
    if min(now.rows, before.rows) < _FEWEST_ANSWERS:
        return ""
    error = math.sqrt(now.variance / now.rows + before.variance / before.rows)
    if before.mean + _BEYOND_DOUBT * error >= now.mean:
        return ""
    return f"version {situation.earlier_versions[-1]} lost {before.mean:.3f} a row, this one {now.mean:.3f}"


def _is_young(situation: Situation, config: MonitorConfig, windows: int) -> bool:
    """Whether the version was pushed so few windows of time ago that it, not time, is the suspect."""
    return situation.pushed_at is not None and _age(situation) <= windows * config.window_hours * 3600


def _age(situation: Situation) -> float:
    """Of the version, in seconds; 0 if a clock says that it is of the future, or if it is not known."""
    return max(situation.now - situation.pushed_at, 0.0) if situation.pushed_at is not None else 0.0


def _causes(
    drifted: list[Check],
    worse: QualityPoint | None,
    evidence: Evidence,
    situation: Situation,
    policy: PolicyConfig,
) -> list[str]:
    """What speaks for training again, as far as the policy lets it."""
    causes = []
    if worse and Trigger.QUALITY in policy.retrain_on:
        causes.append(_fell(worse))
    if drifted and Trigger.DRIFT in policy.retrain_on and _matters(drifted, evidence.checks):
        causes.append(_lead(drifted))
    age = _age(situation) / _DAY
    if policy.most_days is not None and age > policy.most_days and Trigger.AGE in policy.retrain_on:
        causes.append(f"the served version is {age:.0f} days old (at most {policy.most_days:g})")
    return causes


def _retrain_or_keep(
    causes: list[str],
    drifted: list[Check],
    concerns: list[str],
    reasons: list[str],
    evidence: Evidence,
    situation: Situation,
    policy: PolicyConfig,
) -> Decision:
    if not causes:
        seen = [*concerns, *([_lead(drifted)] if drifted else [])]
        headline = f"Keep, but look: {seen[0]}" if seen else f"Keep: {_silence(evidence)}"
        small = (
            ["The features that moved hardly matter to the model."]
            if drifted and not _matters(drifted, evidence.checks)
            else []
        )
        return Decision(action=Action.KEEP, headline=headline, reasons=(*concerns, *reasons, *small))
    told = tuple(dict.fromkeys([*causes, *concerns, *reasons]))
    waiting = _not_yet(evidence, situation, policy)
    if waiting:
        return Decision(action=Action.KEEP, headline=f"Keep for now: {causes[0]}; {waiting}", reasons=(*told, waiting))
    return Decision(action=Action.RETRAIN, headline=f"Retrain: {causes[0]}", reasons=told)


def _not_yet(evidence: Evidence, situation: Situation, policy: PolicyConfig) -> str:
    """Why training again has to wait, if it has to."""
    if situation.has_spans and evidence.new_rows < policy.fewest_new_rows:
        return (
            f"training again waits for data: {evidence.new_rows:,} new rows arrived, "
            f"{policy.fewest_new_rows:,} are needed"
        )
    if situation.pushed_at is not None:
        hours = _age(situation) / 3600
        if hours < policy.cool_down_hours:
            return (
                f"training again waits until {policy.cool_down_hours:g} hours after the last push ({hours:.1f} passed)"
            )
    return ""


def _matters(drifted: list[Check], checks: Sequence[Check]) -> bool:
    """Whether the model feels it: by the features' importance, if that is known, or by its own answers."""
    felt: dict[str, float] = {}
    for check in drifted:
        felt[check.subject] = max(felt.get(check.subject, 0.0), check.importance * min(check.value, 1.0))
    is_unknown = not any(check.importance for check in checks)
    return PREDICTIONS in felt or is_unknown or sum(felt.values()) >= _MATTERS


def _lead(checks: list[Check]) -> str:
    """The first alarm in words, and how many other features alarm."""
    first, *others = leading(checks)
    return _told(first) + (f" (and {len(others)} more)" if others else "")


def _told(check: Check) -> str:
    told = (
        check.diagnosis
        or f"{check.aspect} moved: {check.measure} {check.value:.3g}, normal is up to {check.threshold:.3g}"
    )
    where = f" [{check.source}]" if check.source and check.source != "requests" else ""
    return " ".join(f"{check.subject}: {told}{where}".split())  # a feature's value may hold a line break


def _fell(point: QualityPoint) -> str:
    return (
        f"live {point.metric} is {point.value:.3f} ({point.low:.3f} to {point.high:.3f}, {point.rows:,} labels), "
        f"{float(point.reference or 0.0):.3f} on the evaluation span"
    )


def _silence(evidence: Evidence) -> str:
    if not evidence.checks:
        return "nothing was judged: no request was logged for this version and no span arrived"
    judged = [check for check in evidence.checks if check.state is not State.UNDECIDED]
    if not judged:
        return f"too few rows to judge ({evidence.rows:,} requests)"
    return f"nothing moved beyond what is normal ({len(judged)} checks, {evidence.rows:,} requests)"
