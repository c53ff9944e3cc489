"""TFMA's metrics, computed from batches of examples.

TFMA's own combiners take one example at a time, at some 100 µs for each metric, model and slice. These take arrays and
give the same values under the same keys, but for a model that diverged: with a prediction that is not finite a metric
is not a number, where TFMA fails or leaves the example out. What TFMA derives from a metric's counts (curves,
differences from a baseline, validation against thresholds) is TFMA's. TFMA's metric N is `BatchN` here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import calibration_histogram, confusion_matrix_metrics, metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

Sums = np.ndarray
"""What examples add up to, float64 [sums of the metric]."""

Buckets = tuple[np.ndarray, np.ndarray]
"""The buckets that hold predictions: their numbers, ascending; their labels, predictions and examples [buckets, 3]."""


class _MeanMetric(metric_types.Metric):
    """A metric that follows from sums over examples."""

    is_of_predictions = True
    """Whether it is not a number if a prediction is not finite."""

    def __init__(self, name: str) -> None:
        super().__init__(metric_util.merge_per_key_computations(self._of_model), name=name)

    def _of_model(
        self, name: str, eval_config: config_pb2.EvalConfig, model_name: str, example_weighted: bool
    ) -> list[metric_types.MetricComputation]:
        key = metric_types.MetricKey(name=name, model_name=model_name, example_weighted=example_weighted)
        combiner = _CombineSums(key, eval_config, type(self))
        return [metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner)]

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """What a batch adds: labels and predictions [batch] → numbers."""
        raise NotImplementedError

    @staticmethod
    def value(sums: Sums) -> float:
        """Their quotient, where a metric says nothing else: the mean."""
        total, count = sums.tolist()
        return float(total / count) if count else float("nan")


class BatchExampleCount(_MeanMetric):
    """How many examples there are."""

    is_of_predictions = False

    def __init__(self, name: str = "example_count") -> None:
        super().__init__(name)

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """The examples."""
        return [len(labels)]

    @staticmethod
    def value(sums: Sums) -> float:
        """Their number."""
        return float(sums[0])


class BatchBinaryAccuracy(_MeanMetric):
    """The share of predictions on their label's side of 0.5; a label in between counts on both sides, in parts."""

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """What is right, and the examples."""
        _expect_probabilities(labels)
        return [np.sum(np.where(predictions > 0.5, labels, 1.0 - labels), dtype=np.float64), len(labels)]


class BatchBinaryCrossEntropy(_MeanMetric):
    """The mean cross entropy, not finite where a prediction is 0 or 1."""

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """The cross entropies, and the examples."""
        with np.errstate(divide="ignore", invalid="ignore"):
            losses = -labels * np.log(predictions) - (1 - labels) * np.log(1 - predictions)
        return [np.sum(losses, dtype=np.float64), len(labels)]


class BatchCalibration(_MeanMetric):
    """The mean prediction over the mean label."""

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """The predictions, and the labels."""
        return [np.sum(predictions, dtype=np.float64), np.sum(labels, dtype=np.float64)]

    @staticmethod
    def value(sums: Sums) -> float:
        """Not a number if there is no positive label."""
        predictions, labels = sums.tolist()
        return float("nan") if np.isclose(labels, 0.0) else float(predictions / labels)


class BatchMeanSquaredError(_MeanMetric):
    """The mean of the squared differences; a label that is not a number does not count."""

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """The squared errors, and the examples."""
        return _total((labels - predictions).astype(np.float64) ** 2)


class BatchMeanAbsoluteError(_MeanMetric):
    """The mean of the differences; a label that is not a number does not count."""

    @staticmethod
    def sums(labels: np.ndarray, predictions: np.ndarray) -> Iterable[float]:
        """The errors, and the examples."""
        return _total(np.abs(labels - predictions).astype(np.float64))


class BatchAUC(confusion_matrix_metrics.AUC):
    """TFMA's area under the curve, over a histogram that is counted batch by batch."""

    def computations(self, eval_config: config_pb2.EvalConfig, **settings: Any) -> list[Any]:
        """TFMA's, with another histogram."""
        return _with_batches(super().computations(eval_config, **settings), eval_config)


class BatchAUCPrecisionRecall(confusion_matrix_metrics.AUCPrecisionRecall):
    """TFMA's area under the curve of precision and recall, over the same histogram."""

    def computations(self, eval_config: config_pb2.EvalConfig, **settings: Any) -> list[Any]:
        """TFMA's, with another histogram."""
        return _with_batches(super().computations(eval_config, **settings), eval_config)


class _CombineBatches(beam.CombineFn):
    """What one computation makes of batches."""

    def __init__(self, key: metric_types.MetricKey, eval_config: config_pb2.EvalConfig) -> None:
        self._key = key
        self._eval_config = eval_config

    def _arrays(self, batch: metric_types.StandardMetricInputs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The labels and predictions of this computation's model, [batch] each."""
        found = metric_util.to_label_prediction_example_weight(
            batch, self._eval_config, self._key.model_name, flatten=False, squeeze=False
        )
        for labels, predictions, _ in found:
            if labels.size != predictions.size:
                raise ValueError(
                    f"expected one label and one prediction of each example, received {labels.size} labels and "
                    f"{predictions.size} predictions"
                )
            yield labels.ravel(), predictions.ravel()


class _CombineSums(_CombineBatches):
    def __init__(
        self, key: metric_types.MetricKey, eval_config: config_pb2.EvalConfig, metric: type[_MeanMetric]
    ) -> None:
        super().__init__(key, eval_config)
        self._metric = metric

    def create_accumulator(self) -> Sums | float:
        return 0.0

    def add_input(self, accumulator: Sums | float, element: metric_types.StandardMetricInputs) -> Sums | float:
        for labels, predictions in self._arrays(element):
            sums = np.array(self._metric.sums(labels, predictions), np.float64)
            if self._metric.is_of_predictions and not np.isfinite(predictions).all():
                sums[:] = np.nan
            accumulator = accumulator + sums
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Sums | float]) -> Sums | float:
        return sum(accumulators, 0.0)

    def extract_output(self, accumulator: Sums) -> dict[metric_types.MetricKey, float]:
        return {self._key: self._metric.value(accumulator)}


class _CombineHistograms(_CombineBatches):
    """TFMA's histogram of 10,000 buckets between 0 and 1, and one beyond each end.

    A prediction that is not finite makes its bucket not a number, see `_IfKnown`.
    """

    def create_accumulator(self) -> Buckets:
        return np.empty(0, np.int64), np.empty((0, 3))

    def add_input(self, accumulator: Buckets, element: metric_types.StandardMetricInputs) -> Buckets:
        count = calibration_histogram.DEFAULT_NUM_BUCKETS
        for labels, predictions in self._arrays(element):
            _expect_probabilities(labels)
            sums = np.stack([labels, predictions, np.ones(len(labels))], axis=1)
            sums[~np.isfinite(predictions)] = np.nan
            places = np.nan_to_num(predictions.astype(np.float64) * count + 1, nan=np.inf)
            accumulator = _add([accumulator, (np.clip(places, 0, count + 1).astype(np.int64), sums)])
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Buckets]) -> Buckets:
        return _add(list(accumulators))

    def extract_output(self, accumulator: Buckets) -> dict[metric_types.MetricKey, list[calibration_histogram.Bucket]]:
        numbers, sums = accumulator
        return {
            self._key: [
                calibration_histogram.Bucket(number, *values)
                for number, values in zip(numbers.tolist(), sums.tolist(), strict=True)
            ]
        }


def _with_batches(computations: list[Any], eval_config: config_pb2.EvalConfig) -> list[Any]:
    """What is counted comes from batches; what is derived stays, but is not derived from what is not a number."""
    changed: list[Any] = []
    histograms: dict[str, metric_types.PlotKey] = {}
    for each in computations:
        [key] = each.keys
        if isinstance(each, metric_types.MetricComputation):
            histograms[key.model_name] = key
            combiner = _CombineHistograms(key, eval_config)
            changed.append(metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner))
        else:
            derived = _IfKnown(histograms[key.model_name], key, each.result)
            changed.append(metric_types.DerivedMetricComputation(keys=[key], result=derived))
    return changed


@dataclass(frozen=True)
class _IfKnown:
    """A metric from its histogram, not a number where the histogram is none."""

    histogram: metric_types.PlotKey
    key: metric_types.MetricKey
    derive: Callable[[dict[Any, Any]], dict[Any, Any]]
    """TFMA's: computed values by key → further ones."""

    def __call__(self, metrics: dict[Any, Any]) -> dict[Any, Any]:
        if any(math.isnan(bucket.weighted_predictions) for bucket in metrics[self.histogram]):
            return {self.key: math.nan}
        return self.derive(metrics)


def _add(parts: list[Buckets]) -> Buckets:
    numbers, where = np.unique(np.concatenate([numbers for numbers, _ in parts]), return_inverse=True)
    sums = np.concatenate([sums for _, sums in parts])
    return numbers, np.stack([np.bincount(where, column, len(numbers)) for column in sums.T], axis=1)


def _total(errors: np.ndarray) -> list[float]:
    known = errors[~np.isnan(errors)]
    return [float(known.sum()), len(known)]


def _expect_probabilities(labels: np.ndarray) -> None:
    if not ((labels >= 0) & (labels <= 1)).all():
        raise ValueError(f"expected labels between 0 and 1, received {labels.min()} to {labels.max()}")
