"""What one look at a served model found: the report that is shown, stored as JSON, and decided upon."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from pathlib import Path

from schema.strict import Strict

REPORT_FILE = "report.json"
MISMATCH = "mismatch"
"""The aspect of a feature: requests that hold another value than the same row in the data."""
UNSEEN = "unseen values"
"""The aspect of a category: its values that training did not have."""


class State(str, Enum):
    """Of a check."""

    PASSED = "passed"
    ALARM = "alarm"
    UNDECIDED = "undecided"
    """Too few rows to judge."""


class Comparison(str, Enum):
    """What was compared with the reference."""

    SKEW = "skew"
    """Requests with the training data of the version that answered them."""
    DRIFT = "drift"
    """A span that arrived with the training window, or with the last good span."""


class Distribution(Strict):
    """Shares by bin, of the reference and now: what a chart shows."""

    bins: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]


class Check(Strict):
    """One measure of one feature (or of the predictions, or of a schema's rule) against its threshold."""

    comparison: Comparison
    subject: str
    """The feature, or `predictions`, or `labels`."""
    aspect: str
    """What of it: `values`, `missing`, `unseen values`, `hour of day`, `day of week`, `schema`, `mismatch`, `score`."""
    measure: str
    """`Jensen-Shannon divergence`, `L-infinity distance`, `share of rows`, …"""
    value: float
    threshold: float
    rows: int
    """How many rows were compared."""
    state: State
    against: str
    """What it was compared with, in words: `training window`, `last good span 11`."""
    source: str = ""
    """What was compared: `requests`, `span 12`."""
    since: float | None = None
    """Seconds since 1970: the start of the first window from which on it alarms."""
    importance: float = 0.0
    """The feature's share of what the model's quality rests on, 0 to 1."""
    is_fault: bool = False
    """Whether it looks like an error in the data that training again would only learn, rather than a change of the
    world."""
    diagnosis: str = ""
    """What it looks like, in words: `values are 1.609 times those of training: miles became kilometres?`"""
    distribution: Distribution | None = None

    @property
    def excess(self) -> float:
        """How far the value is beyond its threshold; 1 is at the threshold."""
        return self.value / self.threshold if self.threshold > 0 else (float("inf") if self.value > 0 else 0.0)


def leading(checks: Iterable[Check]) -> tuple[Check, ...]:
    """One alarm for each subject, the first one that says what it looks like; in the order of the checks."""
    best: dict[str, Check] = {}
    for check in checks:
        known = best.get(check.subject)
        if check.state is State.ALARM and (known is None or (not known.diagnosis and check.diagnosis)):
            best[check.subject] = check
    return tuple(best.values())


class QualityPoint(Strict):
    """A metric of the live model over a window of time and a slice."""

    metric: str
    """`auc`, `log_loss`, `rmse`, …"""
    slice: str
    """`all examples`, or `origin=JFK`."""
    start: float
    """Seconds since 1970."""
    end: float
    value: float
    low: float
    high: float
    """The 95% confidence interval."""
    rows: int
    reference: float | None = None
    """The same metric on the evaluation span."""
    is_estimate: bool = False
    """Whether there were no labels: estimated from calibrated scores."""


def of_whole_period(points: Iterable[QualityPoint]) -> list[QualityPoint]:
    """The points over the longest time: of a report, those of its whole period."""
    points = list(points)
    longest = max((point.end - point.start for point in points), default=0.0)
    return [point for point in points if point.end - point.start == longest]


class Volume(Strict):
    """How many requests a window holds, and the mean prediction."""

    start: float
    end: float
    rows: int
    mean_score: float | None = None


class ServerHealth(Strict):
    """Read off the server's Prometheus page, since the last look (or since it started)."""

    requests: int
    errors: int
    """Answered with an error of the server's own, not of the client's."""
    refused: int
    """Answered with an error of the client's."""
    seconds: float | None
    """The time between the two looks; None at the first."""
    latency_milliseconds: dict[str, float]
    """By quantile: `p50`, `p90`, `p99`."""
    requests_per_second: float | None
    logs_lost: int
    """Requests that were to be logged and were not."""


class LossSums(Strict):
    """The sums of a loss over rows."""

    rows: int = 0
    total: float = 0.0
    total_of_squares: float = 0.0


class VersionEvidence(Strict):
    """What the log says of one version."""

    version: int
    rows: int
    mean_score: float | None
    loss: LossSums
    """Log loss (or squared error) of the rows with a label; while a candidate is tried, only of those since then."""


class Problem(Strict):
    """Bad input that was passed over: counted, never fatal, never silent."""

    what: str
    """`a log file is cut off`."""
    count: int
    where: str
    """The first place."""


class Action(str, Enum):
    """What a look at a served model leads to."""

    KEEP = "keep"
    RETRAIN = "retrain"
    ROLL_BACK = "roll_back"
    BLOCK = "block"
    """The data is wrong: training on it would make the model wrong as well."""


class Decision(Strict):
    """What to do, and why."""

    action: Action
    headline: str
    """One line: the action, and what matters most."""
    reasons: tuple[str, ...] = ()
    """What speaks for it, and what else was considered, most important first."""
    to_version: int | None = None
    """For a rollback: the version to go back to."""
    is_of_requests: bool = False
    """For a block: whether only requests are wrong, so that what arrives may still be trained on."""


class Report(Strict):
    """All of it."""

    pipeline: str
    version: int
    """The version that is judged."""
    window: str
    """What it was trained and evaluated on, in words."""
    created: float
    """Seconds since 1970."""
    start: float | None
    end: float | None
    """The period of the requests; None without any."""
    rows: int
    """The requests' rows."""
    decision: Decision
    checks: tuple[Check, ...]
    """Alarms first, by what they do to the model."""
    quality: tuple[QualityPoint, ...] = ()
    volumes: tuple[Volume, ...] = ()
    server: ServerHealth | None = None
    versions: tuple[VersionEvidence, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def alarms(self) -> tuple[Check, ...]:
        """The checks that alarm, most important first."""
        return tuple(check for check in self.checks if check.state is State.ALARM)

    def leading(self) -> tuple[Check, ...]:
        """One alarm for each subject, the first one that says what it looks like."""
        return leading(self.checks)

    def save(self, folder: Path) -> None:
        """Writes the report as JSON; a reader never sees half of one."""
        unfinished = folder / f".{REPORT_FILE}.unfinished"
        unfinished.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        unfinished.replace(folder / REPORT_FILE)

    @classmethod
    def load(cls, folder: Path) -> Report:
        """Reads what `save` wrote."""
        return cls.model_validate_json((folder / REPORT_FILE).read_text(encoding="utf-8"))
