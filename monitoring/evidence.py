"""What the data says of a served model, before anything is decided."""

from __future__ import annotations

from monitoring.report import Check, Problem, QualityPoint, VersionEvidence, Volume
from schema.strict import Strict


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
