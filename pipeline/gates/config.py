"""The `gates:` section of a pipeline's YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from schema.strict import Strict

MetricName = Literal["auc", "pr_auc", "log_loss", "accuracy", "calibration", "mse", "mae"]


class DataGateConfig(Strict):
    """Bounds beside the schema's own."""

    most_dropped: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The largest share of rows that `data.drop` may leave out."""
    most_quarantined: Annotated[float, Field(ge=0, le=1)] = 0.001
    """The largest share of a split's rows that may be put aside since a value, or the whole line, does not fit. A typo
    in a thousand rows does not change a model; more is a fault of the delivery."""
    fewest_examples: PositiveInt = 100
    """In each split: with fewer, neither training nor a metric means anything."""
    drift: Literal["stop_faults", "note", "stop"] = "stop_faults"
    """What the newest span's drift does: `stop_faults` stops what looks like an error in the data and notes what looks
    like a change of the world, which training is the cure for; `note` stops nothing; `stop` stops at both."""


class QualityBound(Strict):
    """One bound on one metric of the newest span. Exactly one of the three bounds is given."""

    metric: MetricName
    at_least: float | None = None
    at_most: float | None = None
    not_worse_by: NonNegativeFloat | None = None
    """How much worse than the last blessed model the candidate may be, on the same examples."""
    slice: Annotated[str, Field(min_length=1)] | None = None
    """A feature: the bound holds for each of its values."""

    @model_validator(mode="after")
    def _one_bound(self) -> QualityBound:
        given = [name for name in ("at_least", "at_most", "not_worse_by") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "expects exactly one of at_least, at_most and not_worse_by; "
                f"received {', '.join(given) if given else 'none'}"
            )
        return self


class InfraGateConfig(Strict):
    """What the candidate must hold when it is loaded and asked as it will be served."""

    examples: PositiveInt = 64
    """Real examples of the newest span to ask with."""
    load_seconds: PositiveFloat = 60
    request_milliseconds: PositiveFloat = 250
    """The median over the signatures of the time of one request with all those examples, the fastest of five."""
    memory_mib: PositiveInt = 2048
    """The process's peak resident memory."""
    tolerance: PositiveFloat = 1e-5
    """The largest difference between a served prediction and the trainer's own, relative where that exceeds 1."""


class GatesConfig(Strict):
    """When a run stops."""

    data: DataGateConfig = DataGateConfig()
    quality: Annotated[tuple[QualityBound, ...], Field(min_length=1)]
    infra: InfraGateConfig = InfraGateConfig()
