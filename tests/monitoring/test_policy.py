"""From situations to actions."""

from __future__ import annotations

from typing import Any

import pytest
from monitor_reports import DAY, MONDAY, check, passed, quality

from monitoring.config import MonitorConfig, PolicyConfig, Trigger
from monitoring.evidence import Evidence
from monitoring.policy import Situation, decide, worse_metric
from monitoring.report import Action, Decision, LossSums, QualityPoint, ServerHealth, State, VersionEvidence, leading

NOW = MONDAY + 30 * DAY
FAULT = check("distance", is_fault=True, diagnosis="miles became kilometres?")
DRIFT = check("temp", importance=0.2, diagnosis="values are lower by 20")
SMALL = check("visib", importance=0.001, diagnosis="")
MOVED = check("predictions", importance=0.0, diagnosis="")


def period(value: float, apart: float = 0.01, days: int = 8, **changes: Any) -> tuple[QualityPoint, ...]:
    """Days that differ by so much from one another, and the whole period."""
    each = [quality(day, value + apart * (-1) ** day, **changes) for day in range(days)]
    whole = {"end": MONDAY + days * DAY, "rows": 5000, **changes}
    return (*each, quality(0, value, **whole))


WORSE = (*period(0.60), quality(0, 0.5, end=MONDAY + 20 * DAY, is_estimate=True))
FINE = (quality(0, 0.735, rows=5000),)
ESTIMATE = (quality(0, 0.50, is_estimate=True),)
FAILS = ServerHealth(
    requests=1000,
    errors=30,
    refused=0,
    seconds=60.0,
    latency_milliseconds={},
    requests_per_second=None,
    logs_lost=0,
)
ALL = tuple(Trigger)


def decided(
    checks: tuple = (),
    live: tuple = FINE,
    age_days: float | None = 10.0,
    earlier: tuple[int, ...] = (1, 2),
    server: ServerHealth | None = None,
    new_rows: int = 5000,
    new_spans: tuple[int, ...] = (),
    losses: dict[int, float] | None = None,
    **policy: Any,
) -> Decision:
    evidence = Evidence(
        rows=900,
        checks=(*checks, passed("origin", importance=0.0)),
        quality=live,
        new_rows=new_rows,
        new_spans=new_spans,
        versions=tuple(
            VersionEvidence(
                version=version,
                rows=900,
                mean_score=0.2,
                loss=LossSums(rows=900, total=900 * mean, total_of_squares=900 * (mean**2 + 0.25)),
            )
            for version, mean in ({2: 0.4, 20: 0.6} if losses is None else losses).items()
        ),
    )
    pushed_at = None if age_days is None else NOW - age_days * DAY
    config = MonitorConfig(policy=PolicyConfig(**policy))
    return decide(evidence, Situation(NOW, 20, pushed_at, earlier, server), config)


@pytest.mark.parametrize(
    ("situation", "action", "headline"),
    [
        ({}, Action.KEEP, "Keep: nothing moved beyond what is normal (1 checks, 900 requests)"),
        ({"checks": (FAULT, DRIFT)}, Action.BLOCK, "Block: distance: miles became kilometres? (and 0 more)"),
        ({"checks": (FAULT, DRIFT), "live": WORSE}, Action.BLOCK, "Block: distance: miles became kilometres?"),
        ({"checks": (FAULT,), "new_rows": 0, "cool_down_hours": 1000}, Action.BLOCK, "Block: distance"),
        ({"checks": (DRIFT,)}, Action.RETRAIN, "Retrain: temp: values are lower by 20"),
        ({"checks": (DRIFT, SMALL)}, Action.RETRAIN, "Retrain: temp: values are lower by 20 (and 1 more)"),
        ({"checks": (SMALL,)}, Action.KEEP, "Keep, but look: visib: values moved"),
        ({"checks": (SMALL, MOVED)}, Action.RETRAIN, "Retrain: visib: values moved"),
        ({"checks": (DRIFT,), "retrain_on": ()}, Action.KEEP, "Keep, but look: temp: values are lower by 20"),
        ({"live": WORSE, "age_days": 1.0}, Action.ROLL_BACK, "Roll back to version 2: live auc is 0.600 (0.580 to"),
        ({"live": WORSE, "age_days": 1.0, "losses": {}}, Action.RETRAIN, "Retrain: live auc is 0.600"),
        ({"live": WORSE, "age_days": 1.0, "losses": {2: 0.58, 20: 0.6}}, Action.RETRAIN, "Retrain: live auc is"),
        ({"live": WORSE, "age_days": 1.0, "losses": {2: 0.8, 20: 0.6}}, Action.RETRAIN, "Retrain: live auc is"),
        ({"live": WORSE, "age_days": 1.0, "earlier": ()}, Action.RETRAIN, "Retrain: live auc is 0.600"),
        ({"live": WORSE, "age_days": 1.0, "checks": (DRIFT,)}, Action.RETRAIN, "Retrain: live auc is 0.600"),
        ({"live": WORSE, "age_days": 20.0}, Action.RETRAIN, "Retrain: live auc is 0.600"),
        ({"live": WORSE, "age_days": None}, Action.RETRAIN, "Retrain: live auc is 0.600"),
        ({"live": WORSE, "age_days": -400.0}, Action.ROLL_BACK, "Roll back to version 2"),
        ({"live": WORSE, "age_days": 20.0, "retrain_on": ("drift",)}, Action.KEEP, "Keep, but look: live auc is 0.600"),
        ({"live": ESTIMATE}, Action.KEEP, "Keep: nothing moved"),
        ({"live": ()}, Action.KEEP, "Keep: nothing moved"),
        ({"server": FAILS}, Action.KEEP, "Keep, but look: the server fails 3.0%"),
        (
            {"server": FAILS, "age_days": 0.5},
            Action.ROLL_BACK,
            "Roll back to version 2: the server fails 3.0% of 1,000 requests",
        ),
        ({"server": FAILS, "earlier": ()}, Action.KEEP, "Keep, but look: the server fails 3.0%"),
        (
            {"server": FAILS, "age_days": 0.5, "checks": (FAULT,)},
            Action.ROLL_BACK,
            "Roll back to version 2: the server",
        ),
        ({"server": FAILS, "checks": (FAULT,)}, Action.BLOCK, "Block: distance"),
        ({"server": FAILS, "most_server_errors": 0.05}, Action.KEEP, "Keep: nothing moved"),
        ({"server": FAILS.model_copy(update={"requests": 99, "errors": 99})}, Action.KEEP, "Keep: nothing moved"),
        (
            {"age_days": 40.0, "most_days": 30},
            Action.RETRAIN,
            "Retrain: the served version is 40 days old (at most 30)",
        ),
        ({"age_days": 29.0, "most_days": 30}, Action.KEEP, "Keep: nothing moved"),
        ({"age_days": 40.0, "most_days": 30, "retrain_on": ("drift",)}, Action.KEEP, "Keep: nothing moved"),
        ({"new_spans": (13, 14), "retrain_on": ALL}, Action.KEEP, "Keep: nothing moved"),
        ({"new_spans": (13, 14)}, Action.KEEP, "Keep: nothing moved"),
        (
            {"checks": (DRIFT,), "new_rows": 999},
            Action.KEEP,
            "Keep for now: temp: values are lower by 20; training again waits for data: 999 new rows arrived, 1,000",
        ),
        (
            {"checks": (DRIFT,), "cool_down_hours": 300},
            Action.KEEP,
            "Keep for now: temp: values are lower by 20; training again waits until 300 hours after the last",
        ),
        ({"checks": (DRIFT,), "cool_down_hours": 240}, Action.RETRAIN, "Retrain: temp"),
    ],
)
def test_situations(situation: dict[str, Any], action: Action, headline: str) -> None:
    decision = decided(**situation)
    assert (decision.action, decision.headline[: len(headline)]) == (action, headline.replace(" (and 0 more)", ""))
    assert (decision.to_version == 2) == (action is Action.ROLL_BACK)


@pytest.mark.parametrize(
    "situation",
    [
        {"server": FAILS},
        {"server": FAILS, "earlier": ()},
        {"live": WORSE},
        {"age_days": 40.0, "most_days": 30},
        {"new_spans": (14,), "retrain_on": ALL},
        {"new_rows": 0},
        {"retrain_on": ()},
        {},
    ],
)
@pytest.mark.parametrize("checks", [(FAULT,), (FAULT, DRIFT), (DRIFT,), (DRIFT, SMALL), (SMALL,), (MOVED, SMALL)])
def test_the_headline_is_one_line_that_names_the_top_alarm(situation: dict[str, Any], checks: tuple) -> None:
    decision = decided(**situation, checks=checks)
    [first, *_] = leading(checks)
    assert f"{first.subject}: " in decision.headline
    assert "\n" not in decision.headline
    assert all(any(each.subject in reason for reason in decision.reasons) for each in checks)


def test_a_value_with_a_line_break_stays_in_its_line() -> None:
    decision = decided(checks=(check("note", diagnosis="'a\nb' is\u2028new", is_fault=True),))
    assert decision.headline == "Block: note: 'a b' is new"


def test_what_was_judged_is_named_unless_it_is_the_requests() -> None:
    span = check("temp", source="span 14", diagnosis="", importance=0.5)
    assert (
        "temp: values moved: Jensen-Shannon divergence 0.412, normal is up to 0.021 [span 14]"
        in decided((span,)).headline
    )


def test_reasons_tell_all_and_each_once() -> None:
    decision = decided((DRIFT, SMALL), WORSE, age_days=40.0, most_days=30, server=FAILS, earlier=())
    assert decision.action is Action.RETRAIN
    assert len(decision.reasons) == len(set(decision.reasons))
    for part in ("live auc", "temp:", "40 days old", "the server fails", "visib:"):
        assert any(part in reason for reason in decision.reasons), part


def test_a_small_drift_is_told_to_be_small_only_if_it_is() -> None:
    small = "The features that moved hardly matter to the model."
    assert small in decided((SMALL,)).reasons
    assert small not in decided((DRIFT,), retrain_on=()).reasons
    unknown = SMALL.model_copy(update={"importance": 0.0})  # nothing is known of any importance
    assert decided((unknown,)).action is Action.RETRAIN


def test_silence_says_what_it_rests_on() -> None:
    config = MonitorConfig()
    situation = Situation(NOW, 20, None, (), None)
    assert decide(Evidence(), situation, config).headline.startswith("Keep: nothing was judged")
    few = Evidence(rows=12, checks=(passed("temp", state=State.UNDECIDED),))
    assert decide(few, situation, config).headline == "Keep: too few rows to judge (12 requests)"


def test_a_metric_is_worse_beyond_doubt_and_beyond_what_is_allowed() -> None:
    def worse(value: float, by: float = 0.03, **changes: Any) -> bool:
        return worse_metric(period(value, **changes), by) is not None

    assert worse(0.68)  # 0.71 is allowed, and days differ by 0.01
    assert not worse(0.68, apart=0.05)  # days differ by more than what is missing
    assert not worse(0.705)
    assert not worse(0.68, by=0.05)
    assert not worse(0.1, days=4)  # too few days to know how much they differ
    assert not worse(0.1, slice="origin=JFK")
    assert not worse(0.1, metric="brier")
    assert not worse(0.1, reference=None)
    rmse = {"metric": "rmse", "reference": 10.0}
    assert worse(11.0, **rmse)
    assert not worse(11.0, apart=2.0, **rmse)
    assert not worse(5.0, **rmse)


def test_the_whole_period_decides_not_its_best_or_worst_day() -> None:
    assert worse_metric([*period(0.5)[:-1], quality(0, 0.74, end=MONDAY + 8 * DAY)], 0.03) is None
    assert worse_metric([*period(0.74)[:-1], quality(0, 0.5, end=MONDAY + 8 * DAY)], 0.03).value == 0.5
