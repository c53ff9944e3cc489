"""Scores files through Beam with the servable that a server answers with, and so with its answers.

An element is a few thousand rows as an Arrow batch, not a row: Beam's cost for each element would exceed the model's.
Blocks are read, scored and written in one fused stage, so that memory does not grow with the input. A row that does
not fit, or that the model refuses, goes to the quarantine with its reason and stops nothing.

The output is a folder of Parquet shards, in the order of the input, and `_quarantine.jsonl` (readers of such folders
pass over names that begin with an underscore). It is written beside its place and renamed when it is whole.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from schema.errors import DataError, HeadraceError
from serving.batch_model import Plan, Rows, Scored, SessionModelHandler

QUARANTINE = "_quarantine.jsonl"
_ERROR = "error.json"
_METRICS = "headrace-batch"
_SCORED, _REFUSED = "scored", "quarantined"
_ROWS = 4096
_ROWS_IN_GROUP = 1 << 16


@dataclass(frozen=True)
class Block:
    """A part of the input that is read in one go."""

    index: int
    path: str
    first_row: int
    """The number of its first row in its file."""
    read: Callable[[], Iterable[pa.RecordBatch]]
    """Reads it in batches; is pickled. A HeadraceError that it raises ends the job."""
    is_text: bool = False
    """Whether numbers and times are still text, as in CSV."""


@dataclass(frozen=True)
class Counts:
    """What became of the rows."""

    scored: int
    quarantined: int
    shards: int


def score(plan: Plan, blocks: Sequence[Block], output: Path, beam_args: Sequence[str]) -> Counts:
    """Scores all blocks and publishes the output, replacing what is there.

    Args:
        plan: What scores.
        blocks: The input.
        output: The folder that appears when all is done.
        beam_args: Where Beam runs; the runner is always named.

    Raises:
        DataError: The input cannot be read, or no row of it can be scored.
        OSError: The output cannot be written.
    """
    temporary = output.parent / f".{output.name}.incoming-{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        counts = _run(plan, blocks, temporary, beam_args)
        shards = sorted(temporary.glob("shard-*.parquet"))
        if not shards:
            raise _nothing_scored(temporary, counts, blocks)
        for number, shard in enumerate(shards):
            shard.rename(temporary / f"part-{number:05d}-of-{len(shards):05d}.parquet")
        _gather_quarantine(temporary)
        _publish(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Counts(counts.get(_SCORED, 0), counts.get(_REFUSED, 0), len(shards))


def _run(plan: Plan, blocks: Sequence[Block], temporary: Path, beam_args: Sequence[str]) -> dict[str, int]:
    try:
        with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
            _ = (
                pipeline
                | "Blocks" >> beam.Create(list(blocks), reshuffle=True)
                | "Read" >> beam.ParDo(_Read(str(temporary)))
                | "Score" >> RunInference(SessionModelHandler(plan))
                | "Write" >> beam.ParDo(_Write(str(temporary)))
            )
    except Exception as failure:
        error = temporary / _ERROR
        raise HeadraceError.from_json(error.read_text()) if error.exists() else failure from failure
    found = pipeline.result.metrics().query(MetricsFilter().with_namespace(_METRICS))["counters"]
    return {counter.key.metric.name: counter.committed for counter in found}


class _Read(beam.DoFn):
    """Blocks → rows. Beam turns exceptions into text, so a user's mistake is also left in a file."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def process(self, block: Block) -> Iterator[Rows]:
        """Reads one block."""
        row = block.first_row
        try:
            for whole in block.read():
                for start in range(0, len(whole), _ROWS):
                    batch = whole.slice(start, _ROWS)
                    yield Rows(block.index, block.path, row, batch, block.is_text)
                    row += len(batch)
        except HeadraceError as error:
            Path(self._folder, _ERROR).write_text(error.to_json(), encoding="utf-8")
            raise


class _Write(beam.DoFn):
    """Writes what comes in one bundle of one block as one shard, named by its place in the input."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def start_bundle(self) -> None:
        """Nothing is open."""
        self._writer: pq.ParquetWriter | None = None
        self._block = -1
        self._waiting: list[pa.Table] = []

    def process(self, scored: Scored) -> Iterable[None]:
        """Writes a batch of rows."""
        if scored.table is not None:
            if scored.block != self._block:
                self.finish_bundle()
                path = f"{self._folder}/shard-{scored.block:08d}-{scored.first_row:012d}.parquet"
                self._writer, self._block = pq.ParquetWriter(path, scored.table.schema), scored.block
            self._waiting.append(scored.table)
            if sum(map(len, self._waiting)) >= _ROWS_IN_GROUP:
                self._write()
            Metrics.counter(_METRICS, _SCORED).inc(len(scored.table))
        if scored.refused:
            name = f"refused-{scored.block:08d}-{scored.first_row:012d}.jsonl"
            lines = [json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in scored.refused]
            Path(self._folder, name).write_text("".join(lines), encoding="utf-8")
            Metrics.counter(_METRICS, _REFUSED).inc(len(scored.refused))
        return ()

    def finish_bundle(self) -> None:
        """Finishes the shard."""
        if self._writer is not None:
            self._write()
            self._writer.close()
            self._writer = None

    def _write(self) -> None:
        if self._waiting and self._writer is not None:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting = []


def _nothing_scored(temporary: Path, counts: Mapping[str, int], blocks: Sequence[Block]) -> DataError:
    reasons: list[str] = []
    for path in sorted(temporary.glob("refused-*.jsonl"))[:1]:
        reasons = [json.loads(line)["reason"] for line in path.read_text(encoding="utf-8").splitlines()[:1]]
    return DataError(
        "No row could be scored",
        where=blocks[0].path if blocks else None,
        expected="rows that fit the model's signature",
        received=f"{counts.get(_REFUSED, 0)} rows that do not: {reasons[0]}" if reasons else "no row",
    )


def _gather_quarantine(temporary: Path) -> None:
    parts = sorted(temporary.glob("refused-*.jsonl"))
    if parts:
        with (temporary / QUARANTINE).open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())
                part.unlink()


def _publish(temporary: Path, output: Path) -> None:
    old = output.parent / f"{temporary.name}.old"
    if output.exists():
        output.replace(old)
    temporary.replace(output)
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)
