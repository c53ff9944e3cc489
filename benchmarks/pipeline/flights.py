"""The year of flights as CSV files, once or several times over: the one format that both pipelines read.

What a pipeline would have to leave out is not written: the columns that `features.exclude` names, and flights without
a label. So both see the same rows and columns, and no pipeline is measured at reading what nobody needs. Times are
whole seconds, since CsvExampleGen knows numbers and text only; numbers that the schema calls FLOAT are written with a
point, since it infers types from what is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Role, model_features
from pipeline.config import PipelineConfig
from schema.contract import load_schema
from storage.places import at

TRAIN, EVAL = "train", "eval"
"""Splits, by the names that are TFX's own."""

SPANS = range(1, 13)
EVAL_SPAN = 12
TRAIN_SPANS = range(1, EVAL_SPAN)
"""Of the first run: those of the window that the eval span ends."""

_SOURCE = Path(__file__).parents[2] / "data" / "flights"
_NOISE = 0.01
"""Standard deviations of a column: what is added to its values."""

_DECIMALS = 2
_TYPES = {
    schema_pb2.BYTES: (pa.string(), "object"),
    schema_pb2.INT: (pa.int64(), "Int64"),
    schema_pb2.FLOAT: (pa.float64(), "float64"),
}


@dataclass(frozen=True)
class Dataset:
    """The files of one size.

    `spans` holds a file for each span; `splits` holds the files of the first run's window once more (the same files,
    hard-linked), in a folder for each split.
    """

    times: int
    spans: Path
    splits: Path
    train_rows: int
    eval_rows: int

    @property
    def pattern(self) -> str:
        """The files, as `data.source.path` has them."""
        return str(self.spans / "span-{SPAN}.csv")


def write(folder: Path, times: int, config: PipelineConfig) -> Dataset:
    """Writes the year.

    Args:
        folder: Where.
        times: How often each span's rows are in its file.
        config: Of the shipped flights pipeline.
    """
    schema = load_schema(at(config.schema_path))
    features = model_features(schema, config.features, config.label.name)
    noisy = {feature.name for feature in features if feature.role is Role.NUMERIC}
    dataset = Dataset(times, folder / "spans", folder / "splits", 0, 0)
    rows = dict.fromkeys((TRAIN, EVAL), 0)
    dataset.spans.mkdir(parents=True)
    for split in rows:
        (dataset.splits / split).mkdir(parents=True)
    for span in SPANS:
        table = as_written(pq.read_table(_SOURCE / f"span-{span:02d}"), schema, config.label.name)
        path = dataset.spans / f"span-{span:02d}.csv"
        for number, copy in enumerate(copies(table, times, noisy, seed=span)):
            write_csv(copy, path, is_first=not number)
        if (its_split := _split(span)) is not None:
            os.link(path, dataset.splits / its_split / path.name)
            rows[its_split] += len(table) * times
    return Dataset(times, dataset.spans, dataset.splits, rows[TRAIN], rows[EVAL])


def _split(span: int) -> str | None:
    """Which the first run's window has it in, if any."""
    return EVAL if span == EVAL_SPAN else TRAIN if span in TRAIN_SPANS else None


def as_written(table: pa.Table, schema: schema_pb2.Schema, label: str) -> pa.Table:
    """The columns of the schema, with its types; the rows with a label. Times become seconds."""
    table = table.filter(pc.is_valid(table[label]))
    columns = {}
    for feature in schema.feature:
        column = table[feature.name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("s")).cast(pa.int64())
        columns[feature.name] = column.cast(_TYPES[feature.type][0])
    return pa.table(columns)


def copies(table: pa.Table, times: int, noisy: Set[str], seed: int) -> Iterator[pa.Table]:
    """The rows, and then again with noise, until they are there so many times.

    A noisy value stays within its column's range and keeps its type; a missing value stays missing. All else stays as
    it is.

    Args:
        table: The rows.
        times: How often.
        noisy: Columns of numbers.
        seed: Of the noise: the same seed, the same noise.
    """
    yield table
    generator = np.random.default_rng(seed)
    for _ in range(times - 1):
        copy = table
        for name in sorted(noisy):
            copy = copy.set_column(copy.schema.get_field_index(name), name, _with_noise(table[name], generator))
        yield copy


def _with_noise(column: pa.ChunkedArray, generator: np.random.Generator) -> pa.Array:
    missing = column.is_null().to_numpy()
    values = column.cast(pa.float64()).to_numpy()
    there = values[~missing]
    if there.size:
        values = values + generator.normal(scale=_NOISE * there.std(), size=values.size)
        values = np.clip(values, there.min(), there.max())
    if pa.types.is_integer(column.type):
        whole = np.where(missing, 0, np.rint(np.nan_to_num(values))).astype(np.int64)
        return pa.array(whole, column.type, mask=missing)
    return pa.array(np.round(values, _DECIMALS), column.type, mask=missing)


def write_csv(table: pa.Table, path: Path, *, is_first: bool) -> None:
    """Writes or appends the rows. A missing value is an empty cell."""
    dtypes = {
        name: next(dtype for arrow, dtype in _TYPES.values() if arrow == table.schema.field(name).type)
        for name in table.column_names
    }
    frame = pd.DataFrame({name: table[name].to_pandas(integer_object_nulls=True) for name in dtypes})
    frame.astype(dtypes).to_csv(path, mode="w" if is_first else "a", header=is_first, index=False)
