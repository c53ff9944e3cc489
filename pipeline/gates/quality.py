"""The quality gate: TFMA's configuration from our bounds, and findings from TFMA's results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2, validation_result_pb2

from models.config import LabelConfig
from models.signatures import SERVE_EXAMPLES
from pipeline.gates.config import QualityBound
from pipeline.gates.metrics import METRICS, Metric
from pipeline.gates.verdict import Finding, Outcome

CANDIDATE = "candidate"
BASELINE = "baseline"
OVERALL = "all examples"
_MEND = "Look at the training and at the data of this slice, or change the bound in gates.quality."


def eval_config(label: LabelConfig, bounds: Sequence[QualityBound]) -> config_pb2.EvalConfig:
    """What the Evaluator computes and validates: all metrics of the task, overall and by each slice in a bound."""
    model = {"signature_name": SERVE_EXAMPLES, "label_key": label.name}
    slices = sorted({bound.slice for bound in bounds if bound.slice})
    metrics = [config_pb2.MetricConfig(class_name="ExampleCount")]
    metrics += [
        _metric_config(name, metric, [bound for bound in bounds if bound.metric == name])
        for name, metric in METRICS.items()
        if metric.task == label.task
    ]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name=CANDIDATE, **model),
            config_pb2.ModelSpec(name=BASELINE, is_baseline=True, **model),
        ],
        slicing_specs=[config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=[key]) for key in slices)],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
    )


def _metric_config(name: str, metric: Metric, bounds: list[QualityBound]) -> config_pb2.MetricConfig:
    config = config_pb2.MetricConfig(class_name=metric.class_name, config=f'"name": "{name}"')
    for key in {bound.slice for bound in bounds}:
        threshold = config_pb2.MetricThreshold()
        for bound in bounds:
            if bound.slice == key:
                _add_bound(threshold, bound, metric)
        # `config.threshold` would hold every slice to the bound of all examples
        spec = config_pb2.SlicingSpec(feature_keys=[key] if key else [])
        config.per_slice_thresholds.append(
            config_pb2.PerSliceMetricThreshold(slicing_specs=[spec], threshold=threshold)
        )
    return config


def _add_bound(threshold: config_pb2.MetricThreshold, bound: QualityBound, metric: Metric) -> None:
    if bound.at_least is not None:
        threshold.value_threshold.lower_bound.CopyFrom(wrappers_pb2.DoubleValue(value=bound.at_least))
    elif bound.at_most is not None:
        threshold.value_threshold.upper_bound.CopyFrom(wrappers_pb2.DoubleValue(value=bound.at_most))
    elif bound.not_worse_by is not None:
        worse = -bound.not_worse_by if metric.higher_is_better else bound.not_worse_by
        threshold.change_threshold.direction = (
            config_pb2.MetricDirection.HIGHER_IS_BETTER
            if metric.higher_is_better
            else config_pb2.MetricDirection.LOWER_IS_BETTER
        )
        threshold.change_threshold.absolute.CopyFrom(wrappers_pb2.DoubleValue(value=worse))


def quality_findings(evaluation: str, bounds: Sequence[QualityBound]) -> tuple[list[Finding], str]:
    """A finding for each bound and slice, and a note on the baseline.

    The values and the decision are TFMA's: should it refuse the model for a reason that no bound explains, that
    reason becomes a finding too.

    Args:
        evaluation: The folder of the ModelEvaluation artifact.
        bounds: What the model must hold.
    """
    values = dict(_values(model_eval_lib.load_metrics(evaluation)))
    has_baseline = any(model == BASELINE for _, model, _ in values)
    findings = [
        finding
        for bound in bounds
        if bound.not_worse_by is None or has_baseline
        for finding in _bound_findings(bound, values)
    ]
    result = model_eval_lib.load_validation_result(evaluation)
    if not result.validation_ok and not any(finding.outcome is Outcome.FAILED for finding in findings):
        findings += _unexplained(result)
    waiting = sum(bound.not_worse_by is not None for bound in bounds)
    if has_baseline:
        return findings, "Compared with the last blessed model"
    return findings, (
        "There is no blessed model yet, so nothing was compared"
        + (f" ({waiting} bound(s) wait for a baseline)" if waiting else "")
        + "; if pushed, this model is the first baseline"
    )


_Values = dict[tuple[str, str, str], float]


def _values(metrics: Iterator[metrics_for_slice_pb2.MetricsForSlice]) -> Iterator[tuple[tuple[str, str, str], float]]:
    """((slice, model, metric), value) for every number that TFMA computed, without differences."""
    for per_slice in metrics:
        where = ", ".join(f"{key.column}={_slice_value(key)}" for key in per_slice.slice_key.single_slice_keys)
        for each in per_slice.metric_keys_and_values:
            if not each.key.is_diff:
                yield (where or OVERALL, each.key.model_name or CANDIDATE, each.key.name), each.value.double_value.value


def _slice_value(key: metrics_for_slice_pb2.SingleSliceKey) -> str:
    value = getattr(key, key.WhichOneof("kind"))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bound_findings(bound: QualityBound, values: _Values) -> list[Finding]:
    wanted = OVERALL if bound.slice is None else f"{bound.slice}="
    slices = sorted({where for where, _, _ in values if where.startswith(wanted)})
    if not slices:
        return [
            Finding(
                check=bound.metric,
                where=bound.slice or OVERALL,
                bound="computed",
                value="no example has this slice",
                outcome=Outcome.FAILED,
                mend=_MEND,
            )
        ]
    return [_finding(bound, where, values) for where in slices]


def _finding(bound: QualityBound, where: str, values: _Values) -> Finding:
    value = values.get((where, CANDIDATE, bound.metric), math.nan)
    baseline = values.get((where, BASELINE, bound.metric))
    if bound.at_least is not None:
        text, holds = f"≥ {bound.at_least:g}", value >= bound.at_least
    elif bound.at_most is not None:
        text, holds = f"≤ {bound.at_most:g}", value <= bound.at_most
    else:
        worst = bound.not_worse_by or 0.0
        gain = value - (math.nan if baseline is None else baseline)
        gain = gain if METRICS[bound.metric].higher_is_better else -gain
        text, holds = f"worse by ≤ {worst:g}", gain >= -worst
    return Finding(
        check=bound.metric,
        where=where,
        bound=text,
        value=f"{value:.4f}",
        baseline="-" if baseline is None else f"{baseline:.4f}",
        outcome=Outcome.PASSED if holds else Outcome.FAILED,
        mend=_MEND,
    )


def _unexplained(result: validation_result_pb2.ValidationResult) -> list[Finding]:
    messages = [
        f"{failure.metric_key.name}: {failure.message}"
        for per_slice in result.metric_validations_per_slice
        for failure in per_slice.failures
    ] or ["the Evaluator did not bless the model"]
    return [
        Finding(
            check="evaluation",
            where=OVERALL,
            bound="blessed",
            value=message,
            outcome=Outcome.FAILED,
            mend="See the Evaluator's log.",
        )
        for message in messages
    ]
