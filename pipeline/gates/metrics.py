"""The metrics that a quality bound can name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric of TFMA's, by its class name (its own, not Keras's: those break with more than one worker)."""

    class_name: str
    higher_is_better: bool
    task: str


METRICS = {
    "auc": Metric("AUC", True, "binary"),
    "pr_auc": Metric("AUCPrecisionRecall", True, "binary"),
    "accuracy": Metric("BinaryAccuracy", True, "binary"),
    "log_loss": Metric("BinaryCrossEntropy", False, "binary"),
    "calibration": Metric("Calibration", True, "binary"),
    "mse": Metric("MeanSquaredError", False, "regression"),
    "mae": Metric("MeanAbsoluteError", False, "regression"),
}
"""The metrics that a bound can name. Calibration is the mean prediction over the mean label."""
