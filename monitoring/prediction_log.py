"""What a PredictionLog holds, as rows: of every kind of call that TensorFlow Serving logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import input_pb2, prediction_log_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from models.features import Feature
from monitoring.problems import Problems
from monitoring.rows import Requests, as_rows
from monitoring.tensor_columns import TensorColumn, UnreadableLog, numbers, size, values

_EXAMPLES = "examples"
"""The one input of a predict signature that takes serialized tf.Examples."""
_OUTPUTS = ("probability", "prediction")
_POSITIVE = "1"
_MOST_ROWS = 2**26
"""Of a request: a server takes no larger tensors, and a few damaged bytes may claim any number."""


class LoggedRows:
    """Collects the rows of many logged requests.

    Args:
        features: The columns to make.
        problems: Is told of what is passed over.
        path: The log file, for problems.
    """

    def __init__(self, features: Sequence[Feature], problems: Problems, path: str) -> None:
        self._features = features
        self._problems = problems
        self._path = path
        self._decoder = ExamplesToRecordBatchDecoder()
        self._forget()

    def _forget(self) -> None:
        self._columns = {feature.name: TensorColumn() for feature in self._features}
        self._of_tensors = _Answers()
        self._examples: list[bytes] = []
        self._of_examples = _Answers()

    @property
    def count(self) -> int:
        """The rows collected since the last `take`."""
        return len(self._of_tensors.scores) + len(self._of_examples.scores)

    def add(self, logged: prediction_log_pb2.PredictionLog, where: str) -> None:
        """Collects a request's rows.

        Raises:
            UnreadableLog: It has none, or they cannot be told; nothing of it was kept.
        """
        kind = logged.WhichOneof("log_type")
        if kind not in _READ_EXAMPLES:
            raise UnreadableLog(f"a log of a kind that cannot be read ({kind or 'none'})")
        call = getattr(logged, kind)
        if kind == "predict_log" and not self._is_of_examples(call.request.inputs):
            rows = self._add_tensors(call.request.inputs)
            answers, scores = self._of_tensors, _predicted(call.response.outputs, rows)
        else:
            examples, scores = _READ_EXAMPLES[kind](call)
            rows, answers = _require_rows(len(examples)), self._of_examples
            self._examples += examples
        if len(scores) != rows:
            if scores:
                self._problems.add("an answer that does not fit its request", where)
            scores = [np.nan] * rows
        answers.add(scores, logged.log_metadata.timestamp_secs, _version(logged, call))

    def take(self) -> Iterator[Requests]:
        """What was collected, as at most two batches: the rows that came as tensors, and those as tf.Examples."""
        columns, of_tensors, examples, of_examples = self._columns, self._of_tensors, self._examples, self._of_examples
        self._forget()
        if of_tensors.rows:
            arrays = [columns[feature.name].array(of_tensors.rows, feature) for feature in self._features]
            batch = pa.RecordBatch.from_arrays(arrays, [feature.name for feature in self._features])
            yield Requests(batch, *of_tensors.arrays())
        if examples:
            batches, is_read = self._decoded(examples)
            if batches:
                batch = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
                yield Requests(batch, *(each[is_read] for each in of_examples.arrays()))

    def _is_of_examples(self, inputs: Mapping[str, tensor_pb2.TensorProto]) -> bool:
        return _EXAMPLES in inputs and len(inputs) == 1 and _EXAMPLES not in self._columns

    def _add_tensors(self, inputs: Mapping[str, tensor_pb2.TensorProto]) -> int:
        tensors = [inputs[name] for name in self._columns]  # of a name that is not there: one of DT_INVALID
        first = next((tensor for tensor in tensors if tensor.dtype != types_pb2.DT_INVALID), None)
        if first is None:
            raise UnreadableLog("a request without any of the model's features")
        rows = _require_rows(size(first))
        read = [values(tensor, rows) for tensor in tensors]
        for column, each in zip(self._columns.values(), read, strict=True):
            column.add(each)
        return rows

    def _decoded(self, examples: list[bytes]) -> tuple[list[pa.RecordBatch], np.ndarray]:
        """The examples that can be decoded, and which these are, bool [examples].

        A batch is decoded at once; if that fails (one is damaged, or two give a feature different types), by halves.
        """
        try:
            return [self._flat(self._decoder.DecodeBatch(examples))], np.ones(len(examples), bool)
        except (RuntimeError, ValueError):
            if len(examples) == 1:
                self._problems.add("a tf.Example that cannot be decoded", self._path)
                return [], np.zeros(1, bool)
        middle = len(examples) // 2
        left, is_left_read = self._decoded(examples[:middle])
        right, is_right_read = self._decoded(examples[middle:])
        return left + right, np.concatenate([is_left_read, is_right_read])

    def _flat(self, decoded: pa.RecordBatch) -> pa.RecordBatch:
        lists = dict(zip(decoded.schema.names, decoded.columns, strict=True))
        columns = {name: self._one_a_row(lists[name]) for name in self._columns if name in lists}
        return as_rows(columns, self._features, decoded.num_rows)

    def _one_a_row(self, lists: pa.Array) -> pa.Array:
        if pa.types.is_null(lists.type):
            return lists
        lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
        if several := int((lengths > 1).sum()):
            self._problems.add("a feature with several values in one tf.Example", self._path, several)
        return lists.values.take(pa.array(np.asarray(lists.offsets)[:-1], mask=lengths != 1))


@dataclass
class _Answers:
    """What goes with the rows of some requests."""

    scores: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def add(self, scores: list[float], seconds: int, version: int) -> None:
        self.scores += scores
        self.rows.append(len(scores))
        self.seconds.append(seconds)
        self.versions.append(version)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, seconds, versions, each [rows]."""
        seconds, versions = (np.repeat(np.array(each, np.int64), self.rows) for each in (self.seconds, self.versions))
        return np.array(self.scores, np.float64), seconds, versions


def _require_rows(rows: int) -> int:
    if not 0 < rows <= _MOST_ROWS:
        raise UnreadableLog("a request without rows" if rows == 0 else "a request of an impossible number of rows")
    return rows


def _version(logged: prediction_log_pb2.PredictionLog, call: Any) -> int:
    """That answered; 0 if the log does not say."""
    if version := logged.log_metadata.model_spec.version.value:
        return int(version)
    answers = getattr(call.response, "results", None) or [call.response]
    return int(getattr(answers[0], "model_spec", logged.log_metadata.model_spec).version.value)


def _predicted(outputs: Mapping[str, tensor_pb2.TensorProto], rows: int) -> list[float]:
    """The scores; none if there is no answer, another number than rows if it does not fit."""
    tensor = next((outputs[name] for name in _OUTPUTS if name in outputs), None)
    if tensor is None:
        candidates = [each for each in outputs.values() if each.dtype in _FLOATS and size(each) == rows]
        if len(candidates) != 1:
            return []
        tensor = candidates[0]
    try:
        return numbers(values(tensor, rows))
    except UnreadableLog:
        return [np.nan] * (rows + 1)


_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)


def _predicted_of_examples(call: Any) -> tuple[list[bytes], list[float]]:
    tensor = call.request.inputs[_EXAMPLES]
    rows = _require_rows(size(tensor))
    data_type, examples = values(tensor, rows)
    if data_type != types_pb2.DT_STRING:
        raise UnreadableLog("a request whose examples are not serialized")
    return examples, _predicted(call.response.outputs, rows)


def _classified(call: Any) -> tuple[list[bytes], list[float]]:
    return _examples(call.request.input), _class_scores(call.response.result)


def _regressed(call: Any) -> tuple[list[bytes], list[float]]:
    return _examples(call.request.input), _regression_scores(call.response.result)


def _inferred(call: Any) -> tuple[list[bytes], list[float]]:
    examples, results = _examples(call.request.input), call.response.results
    for result in results:
        if result.HasField("classification_result"):
            return examples, _class_scores(result.classification_result)
    return examples, next((_regression_scores(each.regression_result) for each in results), [])


_READ_EXAMPLES = {
    "predict_log": _predicted_of_examples,
    "classify_log": _classified,
    "regress_log": _regressed,
    "multi_inference_log": _inferred,
}
"""A call's serialized tf.Examples and its scores, by kind."""


def _examples(asked: input_pb2.Input) -> list[bytes]:
    if asked.WhichOneof("kind") == "example_list_with_context":
        # As the server does: a feature that both have is the example's.
        context = asked.example_list_with_context.context.SerializeToString()
        return [context + each.SerializeToString() for each in asked.example_list_with_context.examples]
    return [each.SerializeToString() for each in asked.example_list.examples]


def _class_scores(result: Any) -> list[float]:
    """Of the positive class; of the last one, if none is named so."""
    return [
        next((each.score for each in row.classes if each.label == _POSITIVE), row.classes[-1].score)
        if row.classes
        else np.nan
        for row in result.classifications
    ]


def _regression_scores(result: Any) -> list[float]:
    return [each.value for each in result.regressions]
