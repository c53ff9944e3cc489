"""A Beam transform from blocks of source files to sharded TFRecords of tf.Examples.

Each Beam element is a block of a file, not a row: Arrow parses it, tfx_bsl encodes it, and it is written as one shard
for each split, with its columns (`data.columns`), in one DoFn. There is no shuffle, names of shards follow from the
blocks, and a retried bundle writes the same shard again. A row that does not fit is put aside, see `data.quarantine`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from apache_beam.metrics import Metrics

from data.ahead import map_ahead
from data.config import DropConfig
from data.encoding import encode, held, is_missing, misfits
from data.quarantine import Quarantine
from data.readers import Block, read_rows
from data.rows import BadRow, Rows
from data.shards import ShardWriter, shard_name
from data.splits import hashed_splits
from schema.errors import DataError, HeadraceError

METRICS = "headrace"
_OF = ":"
QUARANTINED = "quarantined/"
"""How the names of some counters begin."""
EVERY_SPLIT = "all"
"""What stands for the split of rows that a hash would have split."""


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
    quarantine: str
    """The folder of the rows that do not fit."""
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


def of_span(span: int, name: str) -> str:
    """The full name of a Beam counter: each span is counted by itself."""
    return f"{span}{_OF}{name}"


def split_name(counter: str) -> tuple[int, str]:
    """The inverse of `of_span`."""
    span, _, name = counter.partition(_OF)
    return int(span), name


def count_of(split: str) -> str:
    """The name of the Beam counter of a split's examples."""
    return f"examples/{split}"


def dropped_of(drop: DropConfig) -> str:
    """The name of the Beam counter of the rows that a rule left out."""
    return f"dropped/{drop.missing}"


def quarantined_of(split: str, column: str) -> str:
    """The name of the Beam counter of the rows that were put aside for a column; "" is the line as a whole."""
    return f"{QUARANTINED}{split}/{column}"


class WriteExamples(beam.DoFn):
    """Reads each shard's block and writes its examples to `{split}/data_tfrecord-00000-of-00001.gz`.

    Of a large block there are several files, see `data.shards`.

    Rows that do not fit go to `{quarantine}/{split}-00000-of-00001.jsonl`.
    """

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
            unfinished = f"{self.plan.temporary}/{uuid.uuid4().hex}"  # others may fail at the same moment
            with tf.io.gfile.GFile(unfinished, "w") as file:
                file.write(error.to_json())
            tf.io.gfile.rename(unfinished, _error_file(self.plan), overwrite=True)
            raise

    def _write(self, shard: Shard) -> Iterator[str]:
        plan = self.plan
        splits = [shard.split] if shard.split else list(plan.hash_buckets)
        name = shard_name(shard.index, shard.of)
        quarantine = Quarantine(shard.block)
        with ExitStack() as stack:
            writers = [
                stack.enter_context(ShardWriter(plan.temporary, f"{plan.split_uris[split]}/{name}")) for split in splits
            ]
            for divided in map_ahead(partial(self._divided, shard), self._batches(shard, quarantine)):
                for split, writer, (examples, rows) in zip(splits, writers, divided, strict=True):
                    writer.write(examples, rows)
                    Metrics.counter(METRICS, of_span(shard.span, count_of(split))).inc(len(rows))
        aside = shard.split or EVERY_SPLIT
        rows_aside = f"{plan.quarantine}/{shard_name(shard.index, shard.of, aside)}.jsonl"
        quarantine.write(f"{plan.temporary}/{uuid.uuid4().hex}-quarantine", rows_aside)
        for column, count in quarantine.counts.items():
            Metrics.counter(METRICS, of_span(shard.span, quarantined_of(aside, column))).inc(count)
        for writer in writers:
            yield from writer.publish()

    def _divided(self, shard: Shard, batch: pa.RecordBatch) -> list[tuple[list[bytes], pa.RecordBatch]]:
        """The examples of each split, and the rows that they are of."""
        rows = held(batch, self.plan.types, shard.block.path)
        if shard.split:
            return [(encode(rows), rows)]
        buckets = self.plan.hash_buckets
        split_of = hashed_splits(rows, self.plan.types, buckets)
        of_splits = [rows.filter(pa.array(split_of == split)) for split in range(len(buckets))]
        return [(encode(each), each) for each in of_splits]

    def _batches(self, shard: Shard, quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
        """The block's rows that are kept, with the columns that are not excluded."""
        plan = self.plan
        needed = {drop.missing for drop in plan.drop}
        columns = [name for name in shard.columns if name not in plan.exclude or name in needed]
        for name in needed.difference(columns):
            raise DataError(f"The column {name!r}, which data.drop names, is absent", where=shard.block.path)
        names = [name for name in columns if name not in plan.exclude]
        for rows in read_rows(shard.block, columns, plan.types, quarantine.add):
            batch, places = self._kept(rows.batch, shard.span)
            batch = pa.RecordBatch.from_arrays([_column(batch, name) for name in names], names)
            batch = self._fitting(batch, places, rows, quarantine)
            self._require_labels(batch, shard)
            quarantine.kept += len(batch)
            if len(batch):
                yield batch

    def _kept(self, batch: pa.RecordBatch, span: int) -> tuple[pa.RecordBatch, np.ndarray]:
        """The rows that no rule leaves out, and where each was in the batch."""
        places = np.arange(len(batch))
        for drop in self.plan.drop:
            is_kept = pc.invert(is_missing(_column(batch, drop.missing)))
            kept, places = batch.filter(is_kept), places[np.asarray(is_kept)]
            Metrics.counter(METRICS, of_span(span, dropped_of(drop))).inc(len(batch) - len(kept))
            batch = kept
        return batch, places

    def _fitting(self, batch: pa.RecordBatch, places: np.ndarray, rows: Rows, quarantine: Quarantine) -> pa.RecordBatch:
        """The rows whose values all fit; the others are put aside."""
        wrong = misfits(batch, self.plan.types)
        if not wrong:
            return batch
        fits = np.ones(len(batch), bool)
        for each in wrong:
            fits[each.index] = False
            place = int(places[each.index])
            received = rows.received(place)
            quarantine.add(BadRow(rows.numbers[place], each.column, each.reason, each.value, received))
        return batch.filter(pa.array(fits))

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
