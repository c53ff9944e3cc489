"""A Beam transform from blocks of source files to sharded TFRecords of tf.Examples.

Each Beam element is a block of a file, not a row: Arrow parses it, tfx_bsl encodes it, and it is written as one
shard for each split, in one DoFn. There is no shuffle, the shards' names follow from the blocks, and a retried
bundle writes the same shard again.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from apache_beam.metrics import Metrics

from data.config import DropConfig
from data.encoding import encode, is_missing
from data.readers import Block, read
from schema.errors import DataError, HeadraceError

METRICS = "headrace"
_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


@dataclass(frozen=True)
class ExamplesPlan:
    """What is read from each file, how it is typed, what is left out, and where it goes."""

    types: dict[str, pa.DataType]
    """The tf.Example type of each column that the schema knows."""
    exclude: frozenset[str]
    """Columns that are never read into an example."""
    drop: tuple[DropConfig, ...]
    split_uris: dict[str, str]
    """The folder of each output split."""
    hash_buckets: dict[str, int]
    """For a random split: the share of each split. Empty if blocks come with their split."""
    label: str
    """The column without which a row is no example."""
    temporary: str
    """A folder beside the splits; shards are written there and moved when whole."""


@dataclass(frozen=True)
class Shard:
    """One element: a block, the columns of its file, and the split it belongs to (None: split by hash)."""

    index: int
    of: int
    block: Block
    columns: tuple[str, ...]
    split: str | None
    span: int = 0


def count_of(split: str) -> str:
    """The name of the Beam counter of a split's examples."""
    return f"examples/{split}"


def dropped_of(drop: DropConfig) -> str:
    """The name of the Beam counter of the rows that a rule left out."""
    return f"dropped/{drop.missing}"


class WriteExamples(beam.DoFn):
    """Reads each shard's block and writes its examples, gzipped, to `{split}/data_tfrecord-00000-of-00001.gz`."""

    def __init__(self, plan: ExamplesPlan) -> None:
        self.plan = plan

    def process(self, shard: Shard) -> Iterator[str]:
        """Writes one block; yields the paths written.

        Raises:
            HeadraceError: The block is damaged or does not fit. Beam turns exceptions into text, so the error is
                also left in the temporary folder, see `error_of`.
        """
        try:
            yield from self._write(shard)
        except HeadraceError as error:
            with tf.io.gfile.GFile(_error_file(self.plan), "w") as file:
                file.write(error.to_json())
            raise

    def _write(self, shard: Shard) -> Iterator[str]:
        plan = self.plan
        splits = [shard.split] if shard.split else list(plan.hash_buckets)
        temporary = {split: f"{plan.temporary}/{uuid.uuid4().hex}-{split}" for split in splits}
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(tf.io.TFRecordWriter(path, _GZIP)) for split, path in temporary.items()
            }
            for batch in self._batches(shard):
                examples = encode(batch, plan.types, shard.block.path)
                chosen = itertools.repeat(shard.split) if shard.split else _hashed_splits(batch, plan.hash_buckets)
                for example, split in zip(examples, chosen):  # noqa: B905 - `repeat` has no end
                    writers[split].write(example)
                    Metrics.counter(METRICS, count_of(split)).inc()
        for split, path in temporary.items():
            final = f"{plan.split_uris[split]}/data_tfrecord-{shard.index:05d}-of-{shard.of:05d}.gz"
            tf.io.gfile.makedirs(plan.split_uris[split])
            tf.io.gfile.rename(path, final, overwrite=True)
            yield final

    def _batches(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        """The block's rows that are kept, with the columns that are not excluded."""
        plan = self.plan
        needed = {drop.missing for drop in plan.drop}
        columns = [name for name in shard.columns if name not in plan.exclude or name in needed]
        for name in needed.difference(columns):
            raise DataError(f"The column {name!r}, which data.drop names, is absent", where=shard.block.path)
        for batch in read(shard.block, columns, plan.types):
            for drop in plan.drop:
                kept = batch.filter(pc.invert(is_missing(_column(batch, drop.missing))))
                Metrics.counter(METRICS, dropped_of(drop)).inc(len(batch) - len(kept))
                batch = kept
            self._require_labels(batch, shard)
            names = [name for name in batch.schema.names if name not in plan.exclude]
            if len(batch):
                yield pa.RecordBatch.from_arrays([_column(batch, name) for name in names], names)

    def _require_labels(self, batch: pa.RecordBatch, shard: Shard) -> None:
        label = self.plan.label
        if label not in batch.schema.names:
            return  # ExampleValidator tells that the column is missing
        unlabelled = pc.sum(is_missing(_column(batch, label))).as_py()
        if unlabelled:
            raise DataError(
                f"{unlabelled} rows of a batch of {len(batch)} have no label",
                where=f"{shard.block.path}, column {label!r}",
                expected="a label in each row, or a stated reason to leave the row out",
                mend=f"Mend the data, or add to data.drop: {{missing: {label}, reason: WHY}}.",
            )


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.get_field_index(name))


def error_of(plan: ExamplesPlan) -> HeadraceError | None:
    """The mistake in the data that made the transform fail, if it was one."""
    if not tf.io.gfile.exists(_error_file(plan)):
        return None
    with tf.io.gfile.GFile(_error_file(plan)) as file:
        return HeadraceError.from_json(file.read())


def _error_file(plan: ExamplesPlan) -> str:
    return f"{plan.temporary}/error.json"


def _hashed_splits(batch: pa.RecordBatch, buckets: dict[str, int]) -> Iterator[str]:
    """The split of each row, by a hash of its values.

    Not of the encoded example: tfx_bsl writes the features of an example in no fixed order.
    """
    splits, bounds = list(buckets), list(itertools.accumulate(buckets.values()))
    names = sorted(batch.schema.names)
    columns = [_column(batch, name) for name in names]
    plain = [each.view(pa.int64()) if pa.types.is_timestamp(each.type) else each for each in columns]
    for row in zip(*(column.to_pylist() for column in plain), strict=True):
        digest = hashlib.sha256(repr(row).encode()).digest()
        yield splits[bisect.bisect(bounds, int.from_bytes(digest[:8], "big") % bounds[-1])]
