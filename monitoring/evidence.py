"""What the data says of a served model, before anything is decided."""

from __future__ import annotations

from monitoring.report import Check, Problem, QualityPoint, Volume
from schema.strict import Strict


class LossSums(Strict):
    """The sums of a loss over rows."""

    rows: int = 0
    total: float = 0.0
    total_of_squares: float = 0.0


class VersionEvidence(Strict):
    """What the log says of one version."""

    version: int
    rows: int
    loss: LossSums
    """Log loss (or squared error) of the rows with a label."""
    scores: LossSums


class Evidence(Strict):
    """All that was found in the log, in the spans that arrived, and in the labels."""

    rows: int = 0
    """Of the judged version's requests."""
    start: float | None = None
    end: float | None = None
    checks: tuple[Check, ...] = ()
    quality: tuple[QualityPoint, ...] = ()
    """By window, and over the whole period (the longest)."""
    volumes: tuple[Volume, ...] = ()
    versions: tuple[VersionEvidence, ...] = ()
    new_spans: tuple[int, ...] = ()
    new_rows: int = 0
    """Of the spans that the model has not seen."""
    problems: tuple[Problem, ...] = ()
