"""Whether values went missing: of any type of feature."""

from __future__ import annotations

import math

from monitoring.diagnosis.summaries import Diagnosis
from monitoring.diagnosis.words import percent

_ROWS_OF_ONE_CAUSE = 25
"""Rows that arrive together lack a value together (an hour without a weather report), so so many count as one; twice
as many where values are often missing."""
_SURE = 4.0
"""Standard deviations."""


def diagnose_missing(reference: float, current: float, rows: int) -> Diagnosis | None:
    """Tells values that went missing, from shares of missing rows; None if there are about as many as before.

    A feature that is missing by nature (gusts on a calm day) is missing more often at times; it is a fault only if it
    is gone altogether over many rows.
    """
    if current <= reference:
        return None
    gone = (current - reference) / (1 - reference)
    chance = max(reference, 0.01)
    often = reference >= 0.05
    rows_of_one_cause = 2 * _ROWS_OF_ONE_CAUSE if often else _ROWS_OF_ONE_CAUSE
    deviation = math.sqrt(chance * (1 - chance) * rows_of_one_cause / max(rows, 1))
    if gone < 0.03 or (gone < 0.15 and current - reference < 2 * deviation):
        return None
    text = f"{percent(current)} of rows have no value, {percent(reference)} in training"
    if current >= 0.995:
        text = f"all rows lack a value, {percent(reference)} in training"
        if current < 1:
            text = f"{percent(current)} of rows lack a value, {percent(reference)} in training"
    if reference > 0.4:
        whole_days = rows / (8 * _ROWS_OF_ONE_CAUSE)
        return Diagnosis(text, is_fault=current >= 0.995 and reference**whole_days < 1e-3)
    return Diagnosis(text, is_fault=gone >= (0.25 if often else 0.1) and current - reference > _SURE * deviation)
