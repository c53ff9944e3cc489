"""Reports of a watched model, as `headrace monitor` makes them."""

from __future__ import annotations

from typing import Any

from monitoring.report import (
    Action,
    Check,
    Comparison,
    Decision,
    Distribution,
    Problem,
    QualityPoint,
    Report,
    ServerHealth,
    State,
    Volume,
)

DAY = 86_400.0
MONDAY = 1_370_217_600.0  # 2013-06-03 00:00 UTC
HOSTILE = '<script>alert("x")</script>\n\\"&\' <!channel> \x9b31m\u2028]]>'


def check(subject: str = "distance", **changes: Any) -> Check:
    """One that alarms, unless `changes` say otherwise."""
    fields: dict[str, Any] = {
        "comparison": Comparison.SKEW,
        "subject": subject,
        "aspect": "values",
        "measure": "Jensen-Shannon divergence",
        "value": 0.4123,
        "threshold": 0.021,
        "rows": 12_345,
        "state": State.ALARM,
        "against": "training window",
        "source": "requests",
        "since": MONDAY + DAY,
        "importance": 0.31,
        "diagnosis": "values are 1.609 times those of training: miles became kilometres?",
        "distribution": Distribution(
            bins=("≤ 200", "200 to 500", "500 to 1,000", "1,000 to 2,000", "> 2,000", "missing"),
            reference=(0.1, 0.25, 0.3, 0.2, 0.14, 0.01),
            current=(0.02, 0.13, 0.3, 0.3, 0.249, 0.001),
        ),
    }
    return Check(**fields | changes)


def passed(subject: str, **changes: Any) -> Check:
    """One that does not alarm."""
    quiet = {"state": State.PASSED, "value": 0.004, "since": None, "diagnosis": "", "importance": 0.02}
    return check(subject, **quiet | changes)


def quality(day: int, value: float, **changes: Any) -> QualityPoint:
    """The AUC of one day."""
    fields: dict[str, Any] = {
        "metric": "auc",
        "slice": "all examples",
        "start": MONDAY + day * DAY,
        "end": MONDAY + (day + 1) * DAY,
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "rows": 900,
        "reference": 0.74,
    }
    return QualityPoint(**fields | changes)


def report(**changes: Any) -> Report:
    """A model whose distances are in kilometres and whose labels arrived for the first days."""
    carriers = Distribution(
        bins=("UA", "B6", "EV", "DL", "AA", "MQ", "other"),
        reference=(0.18, 0.17, 0.16, 0.15, 0.1, 0.08, 0.16),
        current=(0.0, 0.17, 0.16, 0.15, 0.1, 0.08, 0.34),
    )
    fields: dict[str, Any] = {
        "pipeline": "flights",
        "version": 1_370_044_800,
        "window": "spans 1 to 12, evaluated on span 13",
        "created": MONDAY + 6.3 * DAY,
        "start": MONDAY,
        "end": MONDAY + 6 * DAY,
        "rows": 12_345,
        "decision": Decision(
            action=Action.BLOCK,
            headline="Block: distance looks like kilometres where training had miles",
            reasons=(
                "distance: values are 1.609 times those of training since 4 June; 31% of the quality rests on it",
                "Training on this would only learn the error: mend the source first",
                "auc is estimated at 0.69, below the reference of 0.74",
            ),
        ),
        "checks": (
            check(is_fault=True),
            check(
                "carrier",
                aspect="unseen values",
                measure="share of rows",
                value=0.18,
                threshold=0.01,
                importance=0.12,
                diagnosis="UA is gone and UA2 is new: renamed?",
                distribution=carriers,
                comparison=Comparison.DRIFT,
                source="span 14",
                against="last good span 13",
            ),
            *(passed(name) for name in ("origin", "dest", "sched_dep_time", "hour", "temp", "wind_speed", "visib")),
            passed("precip", state=State.UNDECIDED, rows=41),
        ),
        "quality": (
            *(quality(day, 0.74 - 0.01 * day) for day in range(4)),
            *(quality(day, 0.70 - 0.005 * day, is_estimate=True) for day in (4, 5)),
            *(quality(day, 0.71 - 0.02 * day, slice="origin=JFK", rows=300) for day in range(4)),
            *(quality(day, 0.55 + 0.02 * day, metric="log_loss", reference=0.52) for day in range(4)),
        ),
        "volumes": tuple(
            Volume(start=MONDAY + day * DAY, end=MONDAY + (day + 1) * DAY, rows=rows, mean_score=0.2 + 0.01 * day)
            for day, rows in enumerate((2100, 2250, 2190, 0, 2805, 3000))
        ),
        "server": ServerHealth(
            requests=12_345,
            errors=3,
            refused=17,
            seconds=86_400.0,
            latency_milliseconds={"p50": 0.43, "p90": 1.9, "p99": 12.5},
            requests_per_second=0.1429,
            logs_lost=2,
        ),
        "problems": (Problem(what="a log file is cut off", count=1, where="flights-host-17-1.tfrecord"),),
    }
    return Report(**fields | changes)
