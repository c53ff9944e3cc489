"""How TFMA is given batches of examples, slice by slice, in place of one example after the other.

TFMA predicts in batches, then makes a dictionary of each example to find its slices. Here an extract remains a batch:
of one shard of examples, then of those of them that are in one slice. Its metrics must be able to take batches, see
`pipeline.components.batch_metrics`: `with_batch_metrics` knows whether those of a configuration are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.api import model_eval_lib, types
from tensorflow_model_analysis.extractors import extractor, slice_key_extractor, unbatch_extractor
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.slicer import slicer_lib

from data.decoding import ExamplesDecoder
from data.records import read_records
from pipeline.components import batch_metrics

_KNOWN_FIELDS = {
    config_pb2.EvalConfig: {"model_specs", "slicing_specs", "metrics_specs"},
    config_pb2.ModelSpec: {"name", "signature_name", "label_key", "is_baseline"},
    config_pb2.SlicingSpec: {"feature_keys"},
    config_pb2.MetricsSpec: {"metrics", "model_names"},
    config_pb2.MetricConfig: {"class_name", "config", "threshold", "per_slice_thresholds"},
}
_PER_EXAMPLE = (unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME, slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME)


def with_batch_metrics(config: config_pb2.EvalConfig) -> config_pb2.EvalConfig | None:
    """A configuration whose metrics take batches; None if it asks for anything that needs single examples."""
    metrics = [metric for spec in config.metrics_specs for metric in spec.metrics]
    parts = [config, *config.model_specs, *config.slicing_specs, *config.metrics_specs, *metrics]
    if not all({field.name for field, _ in each.ListFields()} <= _KNOWN_FIELDS[type(each)] for each in parts):
        return None
    if not all(len(spec.feature_keys) <= 1 for spec in config.slicing_specs) or not all(map(_is_known, metrics)):
        return None
    changed = config_pb2.EvalConfig()
    changed.CopyFrom(config)
    for spec in changed.metrics_specs:
        for metric in spec.metrics:
            metric.class_name, metric.module = f"Batch{metric.class_name}", batch_metrics.__name__
    return changed


def batch_extractors(models: list[types.EvalSharedModel], config: config_pb2.EvalConfig) -> list[extractor.Extractor]:
    """TFMA's extractors up to the predictions, then slices as batches."""
    stock = model_eval_lib.default_extractors(eval_shared_model=models, eval_config=config)
    features = tuple(sorted({key for spec in config.slicing_specs for key in spec.feature_keys}))
    has_overall = any(not spec.feature_keys for spec in config.slicing_specs) or not features
    by_slice = extractor.Extractor(_PER_EXAMPLE[-1], beam.ParDo(_SplitBySlice(features, has_overall)))
    return [*(each for each in stock if each.stage_name not in _PER_EXAMPLE), by_slice]


class ReadExamples(beam.DoFn):
    """A gzipped TFRecord file of tf.Examples → batches with TFMA's column of serialized examples."""

    def setup(self) -> None:
        """A worker learns the features once."""
        self._decoder = ExamplesDecoder()

    def process(self, path: str) -> Iterator[pa.RecordBatch]:
        """Reads one file.

        Raises:
            tf.errors.OpError: The file is damaged.
            RuntimeError: A record is no tf.Example.
        """
        for records in read_records(path):
            batch = self._decoder.decode(records)
            serialized = pa.array([[each] for each in records], pa.large_list(pa.large_binary()))
            yield pa.RecordBatch.from_arrays(
                [*batch.columns, serialized], [*batch.schema.names, constants.ARROW_INPUT_COLUMN]
            )


class _SplitBySlice(beam.DoFn):
    """A batch of extracts → those of each slice: a slice's key, labels, predictions.

    Args:
        features: To slice by, each by itself.
        has_overall: Whether all examples are a slice as well.
    """

    def __init__(self, features: tuple[str, ...], has_overall: bool) -> None:
        self._features = features
        self._has_overall = has_overall

    def process(self, extracts: types.Extracts) -> Iterator[types.Extracts]:
        measured = {key: extracts.get(key) for key in (constants.LABELS_KEY, constants.PREDICTIONS_KEY)}
        if self._has_overall:
            yield _in_slice((), _take(measured, slice(None)))
        for feature in self._features:
            for value, rows in _rows_by_value(extracts[constants.FEATURES_KEY].get(feature)):
                yield _in_slice(((feature, value),), _take(measured, rows))


def _in_slice(key: tuple[Any, ...], measured: types.Extracts) -> types.Extracts:
    return {**measured, constants.SLICE_KEY_TYPES_KEY: slicer_lib.slice_keys_to_numpy_array([key])}


def _take(values: Any, rows: np.ndarray | slice) -> Any:
    """Some rows of what is measured of a model, or of each of several models."""
    if isinstance(values, Mapping):
        return {key: _take(value, rows) for key, value in values.items()}
    if not isinstance(values, np.ndarray):
        raise ValueError(
            "expected one label and one prediction of each example, received examples without or with more"
        )
    return values[rows]


def _rows_by_value(feature: Any) -> Iterator[tuple[str | int | float, np.ndarray]]:
    """A feature's values, with the rows that have each; a row may have none or several."""
    rows, values = _flat(feature)
    found, codes = np.unique(values, return_inverse=True)
    count = rows.max(initial=0) + 1
    codes, rows = np.divmod(np.unique(codes * count + rows), count)  # by value, then by row, each once
    ends = np.searchsorted(codes, np.arange(len(found)), side="right").tolist()
    for value, start, end in zip(found.tolist(), [0, *ends], ends, strict=False):
        yield value.decode() if isinstance(value, bytes) else value, rows[start:end]


def _flat(feature: Any) -> tuple[np.ndarray, np.ndarray]:
    """The row of each value, and the values."""
    if isinstance(feature, types.VarLenTensorValue):
        return feature.indices[:, 0], feature.values
    if feature is None or (feature.dtype == object and any(each is None for each in feature.flat)):
        return np.empty(0, np.int64), np.empty(0)  # no example of this batch has it
    return np.repeat(np.arange(len(feature)), feature[0].size), feature.ravel()


def _is_known(metric: config_pb2.MetricConfig) -> bool:
    settings = json.loads(metric.config if metric.config.startswith("{") else "{" + metric.config + "}")
    return hasattr(batch_metrics, f"Batch{metric.class_name}") and settings.keys() <= {"name"}
