"""What a change of the labels looks like."""

from __future__ import annotations

import math

from monitoring.diagnosis.summaries import Diagnosis
from monitoring.diagnosis.words import percent

_FEWEST_ROWS = 100


def diagnose_labels(
    reference_rate: float,
    current_rate: float,
    rows: int,
    reference_auc: float | None = None,
    live_auc: tuple[float, float] | None = None,
    features_moved: bool = False,
) -> Diagnosis | None:
    """Tells what binary labels look like, against those of training.

    Args:
        reference_rate: The share of ones in training.
        current_rate: The same now.
        rows: How many labels there are now.
        reference_auc: The served model's AUC on its evaluation span.
        live_auc: The ends of its confidence interval on the labels now.
        features_moved: Whether features that matter have alarmed: a worse model needs no fault of the labels then.
    """
    if rows < _FEWEST_ROWS:
        return None
    rates = f"{percent(current_rate)} are 1, {percent(reference_rate)} in training"
    rarer = min(reference_rate, 1 - reference_rate)
    if current_rate in (0, 1) and rarer * rows >= 20:
        return Diagnosis(
            f"all labels are {int(current_rate)}: {percent(reference_rate)} were 1 in training", is_fault=True
        )
    if reference_auc is not None and live_auc is not None and reference_auc > 0.55:
        low, high = live_auc
        half = (low + high) / 2
        if high < 0.5 and (
            0.5 - half > 0.3 * (reference_auc - 0.5) or _is_mirrored(reference_rate, current_rate, rows)
        ):
            return Diagnosis(
                f"labels are flipped: the live AUC is {half:.2f}, {reference_auc:.2f} at evaluation; {rates}",
                is_fault=True,
            )
        if low < 0.5 and half < 0.5 + 0.25 * (reference_auc - 0.5) and high < reference_auc and not features_moved:
            aucs = f"the live AUC is {half:.2f}, {reference_auc:.2f} at evaluation"
            text = f"labels are unrelated to the features: {aucs}: joined to the wrong rows?"
            return Diagnosis(text, is_fault=True)
    elif _is_mirrored(reference_rate, current_rate, rows):
        return Diagnosis(f"labels are flipped: {rates}", is_fault=True)
    deviation = math.sqrt(max(reference_rate * (1 - reference_rate), 1e-4) / rows)
    if abs(current_rate - reference_rate) > max(4 * deviation, 0.01):
        verb = "rose" if current_rate > reference_rate else "fell"
        return Diagnosis(
            f"the share of ones {verb} from {percent(reference_rate)} to {percent(current_rate)}", is_fault=False
        )
    return None


def _is_mirrored(reference_rate: float, current_rate: float, rows: int) -> bool:
    mirrored = abs(current_rate - (1 - reference_rate)) < 0.08 + 2 / math.sqrt(rows)
    return mirrored and abs(reference_rate - 0.5) > 0.12 and (current_rate - 0.5) * (reference_rate - 0.5) < 0
