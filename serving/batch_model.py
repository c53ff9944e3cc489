"""A SavedModel as Beam's RunInference runs it: rows in, a table and the rows that were refused out."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import tensorflow as tf
from apache_beam.ml.inference.base import ModelHandler
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from schema.errors import DataError
from serving.client.errors import ClientError
from serving.client.rows import from_arrow
from serving.client.signature import STRING, Signature, TensorSpec
from serving.client.values import array_of, mistake
from serving.session_model import SERVE_TAG, SessionModel
from storage.places import at

EXAMPLES = "examples"
"""The one column of a block of tf.Examples, and the one input of the signature that takes them."""

VERSION_COLUMN = "model_version"
_NULLS = pa.array(pa_csv.ConvertOptions().null_values)
_TYPES_OF_TEXT = {"DT_FLOAT": (pa.float64(), pa.bool_()), "DT_BOOL": (pa.bool_(),)}
_NUMBER_OR_TIME = (pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.timestamp("us", "UTC"))


@dataclass(frozen=True)
class Plan:
    """What scores, and what is written of it."""

    model_path: str
    """Of the SavedModel, wherever it lies."""
    version: int
    signature_name: str
    keep: tuple[str, ...] = ()
    """Columns of the input that the output has too."""


@dataclass(frozen=True)
class Rows:
    """Some consecutive rows of a block."""

    block: int
    path: str
    first_row: int
    batch: pa.RecordBatch
    is_text: bool


@dataclass(frozen=True)
class Scored:
    """What became of them."""

    block: int
    first_row: int
    table: pa.Table | None
    """None if no row could be scored."""
    refused: tuple[dict[str, Any], ...]
    """Where each refused row is, why it was refused, and the row."""


def read_signature(model_path: str, name: str) -> Signature:
    """A signature of a SavedModel, without loading the model.

    Raises:
        DataError: There is no such model or no such signature.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString((at(model_path) / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError differs between its versions
        raise DataError("The model cannot be read", where=model_path, received=str(error)) from None
    for meta_graph in saved.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {SERVE_TAG} and name in meta_graph.signature_def:
            return _signature(meta_graph.signature_def[name])
    raise DataError(f"The model has no signature {name!r}", where=model_path)


class SessionModelHandler(ModelHandler[Rows, Scored, SessionModel]):
    """Beam's handler of a SavedModel that runs as TensorFlow Serving runs it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def load_model(self) -> SessionModel:
        """Once in each process; closed before TensorFlow is gone, or it would complain."""
        model = SessionModel.load(at(self._plan.model_path))
        atexit.register(_close, weakref.ref(model))
        return model

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One element is a batch of rows already."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[Rows]) -> int:
        """Without pickling the rows to find out."""
        return sum(each.batch.nbytes for each in batch)

    def run_inference(
        self, batch: Sequence[Rows], model: SessionModel, inference_args: dict[str, Any] | None = None
    ) -> Iterator[Scored]:
        """Scores batches of rows."""
        signature = _signature(model.signatures[self._plan.signature_name])
        for rows in batch:
            refused: list[dict[str, Any]] = []
            tables = list(self._score(model, signature, rows, refused))
            yield Scored(rows.block, rows.first_row, pa.concat_tables(tables) if tables else None, tuple(refused))

    def _score(
        self, model: SessionModel, signature: Signature, rows: Rows, refused: list[dict[str, Any]]
    ) -> Iterator[pa.Table]:
        """All rows at once; where that fails, each half, down to the rows that are at fault."""
        size = len(rows.batch)
        try:
            yield self._table(model.run(self._plan.signature_name, _inputs(signature, rows)), rows)
        except (ClientError, tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
            if size == 1:
                told = _reason(error)
                refused.append({"file": rows.path, "row": rows.first_row, "reason": told, "values": _values(rows)})
                return
            half = size // 2
            for start, count in ((0, half), (half, size - half)):
                part = rows.batch.slice(start, count)
                less = Rows(rows.block, rows.path, rows.first_row + start, part, rows.is_text)
                yield from self._score(model, signature, less, refused)

    def _table(self, outputs: Mapping[str, np.ndarray], rows: Rows) -> pa.Table:
        size = len(rows.batch)
        columns = {name: rows.batch.column(rows.batch.schema.get_field_index(name)) for name in self._plan.keep}
        for name, array in outputs.items():
            if not array.ndim or len(array) != size:
                raise ValueError(f"the output {name!r} has the shape {array.shape} for {size} rows")
            columns[name] = pa.array(array if array.ndim == 1 else array.tolist())
        columns[VERSION_COLUMN] = pa.array(np.full(size, self._plan.version))
        return pa.table(columns)


def _inputs(signature: Signature, rows: Rows) -> dict[str, np.ndarray]:
    arrays, size = {}, len(rows.batch)
    for name, spec in signature.inputs.items():
        column = rows.batch.column(rows.batch.schema.get_field_index(name))
        typed = _parsed(column, name, spec, rows.first_row) if rows.is_text else column
        arrays[name] = array_of(from_arrow(typed), name, spec, rows.first_row, size)
    return arrays


def _parsed(column: pa.Array, name: str, spec: TensorSpec, row: int) -> pa.Array:
    """Text as numbers or times, read as Arrow reads them in a CSV file."""
    if spec.dtype == STRING:
        return column
    whole = column.take(pa.array(np.arange(len(column))))  # pyarrow 18 corrupts a slice of text in `if_else`
    column = pc.if_else(pc.is_in(whole, value_set=_NULLS), None, whole)
    for wanted in _TYPES_OF_TEXT.get(spec.dtype, _NUMBER_OR_TIME):
        try:
            return pc.cast(column, wanted)
        except pa.ArrowInvalid:
            continue
    expected = "a number" if spec.dtype == "DT_FLOAT" else "a number, a truth value or a time"
    raise mistake(f"row {row}, feature {name!r} ({spec.dtype}): expected {expected}, received {column[0].as_py()!r}")


def _signature(definition: meta_graph_pb2.SignatureDef) -> Signature:
    def spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
        shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
        return TensorSpec(types_pb2.DataType.Name(info.dtype), shape)

    return Signature(
        {name: spec(info) for name, info in definition.inputs.items()},
        {name: spec(info) for name, info in definition.outputs.items()},
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):  # TensorFlow quotes the example, and fails to make text of the quote
        return "the model cannot parse the example"
    return str(getattr(error, "message", error)).split("\n\t [[")[0]


def _values(rows: Rows) -> dict[str, Any] | None:
    """The row itself, but for a tf.Example, which no one could read."""
    return None if rows.batch.schema.names == [EXAMPLES] else dict(rows.batch.to_pylist()[0])


def _close(model: weakref.ref[SessionModel]) -> None:
    alive = model()
    if alive is not None:
        alive.close()
