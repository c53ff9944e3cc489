"""How TFMA is given the examples of a shard and what models answer, slice by slice, not one example after the other.

TFMA's extractors parse every example, load the models for eager calls and make a dictionary of each example to find its
slices. Here the models are asked in a Session, as they are served, and an extract is what is measured of those examples
of a shard that are in one slice. TFMA's metrics must be able to take that, see `pipeline.components.batch_metrics`:
`with_batch_metrics` knows whether those of a configuration are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.utils.shared import Shared
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.extractors.extractor import Extractor
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.slicer import slicer_lib

from data.columns import read_columns
from data.decoding import ExamplesDecoder
from data.records import read_records
from models.signatures import SERVE_EXAMPLES
from pipeline.components import batch_metrics
from serving.session_model import SessionModel
from storage.places import at

_KNOWN_FIELDS = {
    config_pb2.EvalConfig: {"model_specs", "slicing_specs", "metrics_specs"},
    config_pb2.ModelSpec: {"name", "signature_name", "label_key", "is_baseline"},
    config_pb2.SlicingSpec: {"feature_keys"},
    config_pb2.MetricsSpec: {"metrics", "model_names"},
    config_pb2.MetricConfig: {"class_name", "config", "threshold", "per_slice_thresholds"},
}


def with_batch_metrics(config: config_pb2.EvalConfig) -> config_pb2.EvalConfig | None:
    """A configuration whose metrics take batches; None if it asks for anything that needs TFMA's extractors."""
    metrics = [metric for spec in config.metrics_specs for metric in spec.metrics]
    parts = [config, *config.model_specs, *config.slicing_specs, *config.metrics_specs, *metrics]
    if not all({field.name for field, _ in each.ListFields()} <= _KNOWN_FIELDS[type(each)] for each in parts):
        return None
    if {spec.signature_name for spec in config.model_specs} != {SERVE_EXAMPLES}:
        return None
    if len({spec.label_key for spec in config.model_specs}) != 1:
        return None
    if not all(len(spec.feature_keys) <= 1 for spec in config.slicing_specs) or not all(map(_is_known, metrics)):
        return None
    changed = config_pb2.EvalConfig()
    changed.CopyFrom(config)
    for spec in changed.metrics_specs:
        for metric in spec.metrics:
            metric.class_name, metric.module = f"Batch{metric.class_name}", batch_metrics.__name__
    return changed


def files_as_inputs(paths: list[str]) -> list[types.Extracts]:
    """What TFMA is given: gzipped TFRecord files of tf.Examples."""
    return [{constants.INPUT_KEY: path.encode()} for path in paths]


def batch_extractor(models: Mapping[str, str], config: config_pb2.EvalConfig) -> Extractor:
    """The one extractor: files → what is measured of each slice.

    Args:
        models: The folder of each SavedModel, at a place that workers see, by its name in the configuration.
        config: Of which `with_batch_metrics` knows that it can.
    """
    features = tuple(sorted({key for spec in config.slicing_specs for key in spec.feature_keys}))
    has_overall = any(not spec.feature_keys for spec in config.slicing_specs) or not features
    ask = _AskBySlice(models, config.model_specs[0].label_key, features, has_overall)
    return Extractor(slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME, beam.ParDo(ask))


class _AskBySlice(beam.DoFn):
    """A file of examples → each slice's key, labels and predictions.

    Args:
        models: See `batch_extractor`.
        label: The name of the label.
        features: To slice by, each by itself.
        has_overall: Whether all examples are a slice as well.
    """

    def __init__(self, models: Mapping[str, str], label: str, features: tuple[str, ...], has_overall: bool) -> None:
        self._paths = dict(models)
        self._label = label
        self._features = features
        self._has_overall = has_overall
        self._shared = {name: Shared() for name in models}

    def setup(self) -> None:
        """Loads the models, unless the worker's process has them already."""
        self._models: dict[str, SessionModel] = {
            name: self._shared[name].acquire(partial(SessionModel.load, at(path))) for name, path in self._paths.items()
        }
        self._decoder = ExamplesDecoder()

    def process(self, extracts: types.Extracts) -> Iterator[types.Extracts]:
        """Reads one file.

        Raises:
            tf.errors.OpError: The file is damaged, or a model cannot answer.
            pa.ArrowInvalid, OSError: The file of its columns is damaged.
            RuntimeError: A record is no tf.Example.
            ValueError: An example has no label, or several, or a model has not one answer to it.
        """
        path = extracts[constants.INPUT_KEY].decode()
        columns = read_columns(path, [self._label, *self._features])
        if columns is None:
            for records in read_records(path):
                yield from self._slices(path, self._decoder.decode(records), self._answers(records))
            return
        parts = [self._answers(records) for records in read_records(path)]
        answers = {
            name: np.concatenate([np.empty(0, np.float32), *(part[name] for part in parts)]) for name in self._models
        }
        end = 0
        for batch in columns:
            start, end = end, end + len(batch)
            yield from self._slices(path, batch, {name: each[start:end] for name, each in answers.items()})
        if any(len(each) != end for each in answers.values()):
            raise ValueError(f"{path} has other examples than the file of its columns, which has {end}")

    def _answers(self, records: list[bytes]) -> dict[str, np.ndarray]:
        examples = np.array(records, object)
        return {name: _answer(model, examples) for name, model in self._models.items()}

    def _slices(self, path: str, batch: pa.RecordBatch, predictions: dict[str, np.ndarray]) -> Iterator[types.Extracts]:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        rows, values = _flat(columns.get(self._label))
        if not all(np.array_equal(rows, np.arange(len(each))) for each in predictions.values()):
            raise ValueError(
                f"expected one {self._label} and one prediction of each example of {path}, received examples without "
                "or with more"
            )
        labels = values.to_numpy(zero_copy_only=False)
        if self._has_overall:
            yield _in_slice((), labels, predictions)
        for feature in self._features:
            for value, rows in _rows_by_value(columns.get(feature)):
                yield _in_slice(
                    ((feature, value),), labels[rows], {name: each[rows] for name, each in predictions.items()}
                )


def _answer(model: SessionModel, examples: np.ndarray) -> np.ndarray:
    """A prediction for each serialized example, float32 [batch]."""
    [input_name] = model.signatures[SERVE_EXAMPLES].inputs
    [answer] = model.run(SERVE_EXAMPLES, {input_name: examples}).values()
    return answer


def _in_slice(key: tuple[Any, ...], labels: np.ndarray, predictions: dict[str, np.ndarray]) -> types.Extracts:
    """As TFMA has it: of several models the predictions by name, of one model its predictions."""
    only = next(iter(predictions.values())) if len(predictions) == 1 else None
    return {
        constants.SLICE_KEY_TYPES_KEY: slicer_lib.slice_keys_to_numpy_array([key]),
        constants.LABELS_KEY: labels,
        constants.PREDICTIONS_KEY: predictions if only is None else only,
    }


def _rows_by_value(column: pa.Array | None) -> Iterator[tuple[str | int | float, np.ndarray]]:
    """A feature's values, with the rows that have each; a row may have none or several."""
    rows, values = _flat(column)
    encoded = values.dictionary_encode()
    codes = np.asarray(encoded.indices)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(encoded.dictionary)))
    for value, of_value in zip(encoded.dictionary.to_pylist(), np.split(rows[order], ends)[:-1], strict=True):
        yield value.decode() if isinstance(value, bytes) else value, np.unique(of_value)


def _flat(column: pa.Array | None) -> tuple[np.ndarray, pa.Array]:
    """The row of each value, and the values: of a column of values, or one of lists of them."""
    if column is None or pa.types.is_null(column.type):  # no example of this batch has it
        return np.empty(0, np.int64), pa.array([], pa.int64())
    if pa.types.is_large_list(column.type):
        return np.asarray(pc.list_parent_indices(column)), pc.list_flatten(column)
    return np.flatnonzero(column.is_valid()), column.drop_null()


def _is_known(metric: config_pb2.MetricConfig) -> bool:
    settings = json.loads(metric.config if metric.config.startswith("{") else "{" + metric.config + "}")
    return hasattr(batch_metrics, f"Batch{metric.class_name}") and settings.keys() <= {"name"}
