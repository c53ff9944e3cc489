"""Metrics from batches: however the examples are divided among batches and workers, the value is the same."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics import calibration_histogram, confusion_matrix_metrics, metric_types
from tensorflow_model_analysis.proto import config_pb2

from models.config import LabelConfig
from pipeline.components import batch_metrics
from pipeline.components.evaluation import with_batch_metrics
from pipeline.gates.config import QualityBound
from pipeline.gates.metrics import METRICS
from pipeline.gates.quality import eval_config

CONFIG = config_pb2.EvalConfig(model_specs=[config_pb2.ModelSpec(label_key="label")])
LABELS = np.random.default_rng(1).integers(0, 2, 5000)
SCORES = np.clip(LABELS * 0.2 + np.random.default_rng(2).uniform(0.01, 0.79, 5000), 0, 1).astype(np.float32)


def batch_of(labels: np.ndarray, predictions: np.ndarray) -> metric_types.StandardMetricInputs:
    extracts = {constants.LABELS_KEY: labels[:, None], constants.PREDICTIONS_KEY: predictions}
    return metric_types.StandardMetricInputs(extracts)


def computed(class_name: str, labels: np.ndarray, predictions: np.ndarray, parts: int = 1, workers: int = 1) -> float:
    """The metric's value, with batches that are spread over workers."""
    metric = getattr(batch_metrics, f"Batch{class_name}")(name="wanted")
    computations = metric.computations(eval_config=CONFIG)
    values: dict[Any, Any] = {}
    for each in computations:
        if isinstance(each, metric_types.MetricComputation):
            combiner = pickle.loads(pickle.dumps(each.combiner))  # as a worker gets it
            accumulators = [combiner.create_accumulator() for _ in range(workers)]
            for part, rows in enumerate(np.array_split(np.arange(len(labels)), parts)):
                worker = part % workers
                accumulators[worker] = combiner.add_input(
                    accumulators[worker], batch_of(labels[rows], predictions[rows])
                )
            values |= combiner.extract_output(combiner.merge_accumulators(iter(accumulators)))
        else:
            values |= each.result(values)
    return float(values[metric_types.MetricKey(name="wanted", example_weighted=False)])


@pytest.mark.parametrize("class_name", ["ExampleCount", *(metric.class_name for metric in METRICS.values())])
def test_a_value_does_not_depend_on_batches_and_workers(class_name: str) -> None:
    whole = computed(class_name, LABELS, SCORES)
    assert computed(class_name, LABELS, SCORES, parts=17, workers=4) == pytest.approx(whole, rel=1e-12)


def test_values_are_those_of_other_libraries() -> None:
    assert computed("ExampleCount", LABELS, SCORES) == 5000
    assert computed("AUC", LABELS, SCORES) == pytest.approx(roc_auc_score(LABELS, SCORES), abs=1e-4)
    assert computed("BinaryCrossEntropy", LABELS, SCORES) == pytest.approx(log_loss(LABELS, SCORES), abs=1e-6)
    assert computed("BinaryAccuracy", LABELS, SCORES) == pytest.approx(np.mean((SCORES > 0.5) == LABELS))
    assert computed("Calibration", LABELS, SCORES) == pytest.approx(SCORES.mean() / LABELS.mean(), rel=1e-6)
    assert computed("MeanSquaredError", LABELS, SCORES) == pytest.approx(np.mean((SCORES - LABELS) ** 2), rel=1e-6)
    assert computed("MeanAbsoluteError", LABELS, SCORES) == pytest.approx(np.mean(np.abs(SCORES - LABELS)), rel=1e-6)


def histogram_of(metric: Any, batches: list[metric_types.StandardMetricInputs]) -> list[calibration_histogram.Bucket]:
    [computation] = [
        each for each in metric.computations(eval_config=CONFIG) if isinstance(each, metric_types.MetricComputation)
    ]
    accumulator = computation.combiner.create_accumulator()
    for batch in batches:
        accumulator = computation.combiner.add_input(accumulator, batch)
    [histogram] = computation.combiner.extract_output(accumulator).values()
    return list(histogram)


def test_the_histogram_is_tfma_s() -> None:
    scores = np.concatenate([SCORES[:300], np.array([0, 1, 0.5, 0.1, -0.5, -0.00005, 1.5, 0.99999], np.float32)])
    labels = LABELS[: len(scores)]
    found = histogram_of(batch_metrics.BatchAUC(name="wanted"), [batch_of(labels, scores)])
    one_by_one = [batch_of(labels[row : row + 1], scores[row : row + 1]) for row in range(len(scores))]
    expected = histogram_of(confusion_matrix_metrics.AUC(name="wanted"), one_by_one)
    assert [each.bucket_id for each in found] == [each.bucket_id for each in expected]
    for name in ("weighted_labels", "weighted_predictions", "weighted_examples"):
        assert [getattr(each, name) for each in found] == pytest.approx([getattr(each, name) for each in expected])


def test_edges_are_tfma_s() -> None:
    none = np.zeros(3, np.int64)
    assert math.isnan(computed("Calibration", none, SCORES[:3]))
    assert math.isnan(computed("BinaryCrossEntropy", none, np.array([0.0, 0.5, 0.5], np.float32)))
    unknown = np.array([1.0, np.nan, 3.0], np.float32)
    assert computed("MeanAbsoluteError", unknown, np.zeros(3, np.float32)) == 2
    assert math.isnan(computed("MeanSquaredError", unknown[1:2], np.zeros(1, np.float32)))
    assert computed("BinaryAccuracy", np.array([0.25, 1.0]), np.array([0.9, 0.5], np.float32)) == pytest.approx(0.125)


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("class_name", [each.class_name for each in METRICS.values()])
def test_with_one_prediction_that_is_not_finite_a_metric_is_not_a_number(class_name: str, unknown: float) -> None:
    scores = np.append(SCORES, np.float32(unknown))
    assert math.isnan(computed(class_name, np.append(LABELS, 1), scores, parts=3))
    assert computed("ExampleCount", np.append(LABELS, 1), scores, parts=3) == len(scores)


@pytest.mark.parametrize("class_name", ["AUC", "BinaryAccuracy"])
def test_a_label_that_is_no_probability_is_an_error(class_name: str) -> None:
    with pytest.raises(ValueError, match="labels between 0 and 1, received 0 to 2"):
        computed(class_name, np.array([0, 2]), SCORES[:2])


def test_a_missing_label_is_an_error() -> None:
    [computation] = batch_metrics.BatchMeanSquaredError(name="wanted").computations(eval_config=CONFIG)
    batch = batch_of(LABELS[:2], SCORES[:3])
    with pytest.raises(ValueError, match="2 labels and 3 predictions"):
        computation.combiner.add_input(computation.combiner.create_accumulator(), batch)


def test_accumulators_do_not_grow_with_the_examples() -> None:
    [computation] = [
        each
        for each in batch_metrics.BatchAUC(name="wanted").computations(eval_config=CONFIG)
        if isinstance(each, metric_types.MetricComputation)
    ]
    accumulator = computation.combiner.create_accumulator()
    random = np.random.default_rng(3)
    for _ in range(20):
        accumulator = computation.combiner.add_input(accumulator, batch_of(LABELS, random.normal(0.5, 1, len(LABELS))))
    assert len(pickle.dumps(accumulator)) < 32 * (calibration_histogram.DEFAULT_NUM_BUCKETS + 2) + 1000
    assert accumulator[1][:, 2].sum() == 20 * len(LABELS)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_every_metric_of_the_quality_gate_takes_batches(task: Any) -> None:
    metric = next(name for name, each in METRICS.items() if each.task == task)
    config = eval_config(LabelConfig(name="label", task=task), [QualityBound(metric=metric, at_least=1, slice="month")])
    changed = with_batch_metrics(config)
    assert changed is not None
    assert changed.slicing_specs == config.slicing_specs
    [before], [after] = config.metrics_specs, changed.metrics_specs
    assert [each.class_name for each in after.metrics] == [f"Batch{each.class_name}" for each in before.metrics]
    assert [each.per_slice_thresholds for each in after.metrics] == [
        each.per_slice_thresholds for each in before.metrics
    ]


def _add_label(config: config_pb2.EvalConfig) -> None:
    config.model_specs[1].label_key = "other"


def _add_signature(config: config_pb2.EvalConfig) -> None:
    config.model_specs[1].signature_name = "serving_default"


def _add_setting(config: config_pb2.EvalConfig) -> None:
    config.metrics_specs[0].metrics.add(class_name="AUC", config='"name": "other", "num_thresholds": 10')


def _add_braced_setting(config: config_pb2.EvalConfig) -> None:
    config.metrics_specs[0].metrics.add(class_name="AUC", config='{"num_thresholds": 10}')


def _add_unknown(config: config_pb2.EvalConfig) -> None:
    config.metrics_specs[0].metrics.add(class_name="Recall")


def _add_weights(config: config_pb2.EvalConfig) -> None:
    config.model_specs[0].example_weight_key = "weight"


def _add_crossed_slices(config: config_pb2.EvalConfig) -> None:
    config.slicing_specs.add(feature_keys=["month", "carrier"])


def _add_one_slice(config: config_pb2.EvalConfig) -> None:
    config.slicing_specs.add(feature_values={"month": "1"})


def _add_least_size(config: config_pb2.EvalConfig) -> None:
    config.options.min_slice_size.value = 2


@pytest.mark.parametrize(
    "add",
    [
        _add_label,
        _add_signature,
        _add_setting,
        _add_braced_setting,
        _add_unknown,
        _add_weights,
        _add_crossed_slices,
        _add_one_slice,
        _add_least_size,
    ],
)
def test_what_needs_single_examples_has_no_batch_metrics(add: Any) -> None:
    config = eval_config(LabelConfig(name="label", task="binary"), [])
    assert with_batch_metrics(config) is not None
    add(config)
    assert with_batch_metrics(config) is None
