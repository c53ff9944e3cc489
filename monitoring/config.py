"""The `monitor:` section of a pipeline's YAML."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from models.features import Feature, Role
from schema.errors import ConfigError
from schema.strict import Strict

Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class LabelsConfig(Strict):
    """Labels that arrive after the predictions: a table with the identifier's columns and the label."""

    format: Literal["parquet", "csv"] = "parquet"
    path: Name
    """A glob of files."""


class Trigger(str, Enum):
    """What may start a retraining."""

    NEW_SPAN = "new_span"
    """A span arrived that no run has trained or evaluated on: `headrace watch` runs it. (Of itself it is no reason for
    `headrace monitor` to alarm.)"""
    DRIFT = "drift"
    """An important feature, or the predictions, moved outside what is normal between training spans."""
    QUALITY = "quality"
    """The live metric, once labels are there, is significantly below the reference."""
    AGE = "age"
    """The served model is older than `most_days`."""


class PolicyConfig(Strict):
    """When the decision is to retrain, and when not yet."""

    retrain_on: tuple[Trigger, ...] = (Trigger.NEW_SPAN, Trigger.DRIFT, Trigger.QUALITY, Trigger.AGE)
    cool_down_hours: NonNegativeFloat = 0.0
    """No retraining within so many hours of the last push."""
    fewest_new_rows: NonNegativeInt = 1000
    """No retraining before so many rows arrived that the served model has not seen."""
    most_days: PositiveFloat | None = None
    """A served model older than this is retrained; None for never."""
    worse_by: NonNegativeFloat = 0.02
    """The live metric may be so much below the reference (of AUC; of log loss or error: relative) before it counts,
    beyond what its windows of time differ by."""
    most_server_errors: Share = 0.01
    """The share of the server's answers that may be errors of its own."""


class WebhookConfig(Strict):
    """Where alarms are posted."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    format: Literal["json", "slack"] = "json"
    timeout_seconds: PositiveFloat = 5.0
    attempts: PositiveInt = 3
    on: tuple[Literal["keep", "retrain", "roll_back", "block"], ...] = ("retrain", "roll_back", "block")


class CanaryConfig(Strict):
    """How a new version is tried on a share of the traffic before it gets all of it."""

    share: Share = 0.1
    """Of the requests that the candidate answers."""
    false_alarm_rate: Share = 0.05
    """The chance of a wrong decision between two equal versions, however often it is looked at."""


class MonitorConfig(Strict):
    """What is watched, how it is judged, and what follows from it."""

    identifier: tuple[Name, ...] = ()
    """Columns that together identify a row, to join a request with its example and its label. Empty: no join."""
    labels: LabelsConfig | None = None
    """None: the labels are in the spans that arrive."""
    event_time: Name | None = None
    """A column with the time that a row is about; None: the time at which the server answered."""
    window_hours: PositiveFloat = 24.0
    """The log is told apart by windows of this length."""
    look_back_days: PositiveFloat = 31.0
    """Requests of windows that are so much older than the newest are not looked at: what was mended is over then."""
    fewest_rows: Annotated[int, Field(ge=50)] = 300
    """With fewer rows nothing is judged."""
    false_alarm_rate: Share = 0.01
    """The chance that a report on unchanged data alarms at all; divided among its checks."""
    slices: tuple[Name, ...] = ()
    """Columns by whose values the live metrics are told apart."""
    metrics_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """The server's Prometheus page; None: that of `serve:` on this machine, if it answers."""
    policy: PolicyConfig = PolicyConfig()
    webhook: WebhookConfig | None = None
    canary: CanaryConfig | None = None
    """None: a new version gets all the traffic at once."""
    watch_seconds: PositiveFloat = 60.0
    """`headrace watch` looks so often."""


def require_features(config: MonitorConfig, features: Sequence[Feature]) -> None:
    """Checks the columns that the configuration names against those that requests carry.

    Raises:
        ConfigError: The model has no such feature, or the time of an event is no time.
    """
    known = sorted(feature.name for feature in features)
    times = sorted(feature.name for feature in features if feature.role is Role.TIME)
    event_time = (config.event_time,) if config.event_time else ()
    for key, names in {"identifier": config.identifier, "slices": config.slices, "event_time": event_time}.items():
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"The model has no feature {name!r}", where=f"monitor.{key}", expected=f"some of {', '.join(known)}"
                )
    if config.event_time and config.event_time not in times:
        raise ConfigError(
            f"The feature {config.event_time!r} is no time",
            where="monitor.event_time",
            expected=f"one of {', '.join(times)}" if times else "a feature with a time_domain in the schema",
        )
