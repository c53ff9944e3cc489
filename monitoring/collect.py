"""Reads a model's request log and the tables beside it, once, in Beam: an element is a file, a batch, or a sum.

What comes out is small: sums by version and window of time, by span, and of the join; they are judged in the last step
(`monitoring.judge`), and what that found is written to a file.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsDict, AsIter
from tensorflow_metadata.proto.v0 import statistics_pb2

from data.encoding import is_missing
from data.readers import Block, read
from models.features import Feature
from monitoring.bins import Bins
from monitoring.config import MonitorConfig
from monitoring.join import SCORE, SECONDS, VERSION, WINDOW, Joined, JoinPlan, join, partition, select
from monitoring.judge import JudgePlan, first_window, judge
from monitoring.logs import LogFile, read_requests
from monitoring.parts import Part, add_parts
from monitoring.problems import Problems
from monitoring.profile import Key
from monitoring.rows import Requests, as_rows
from monitoring.tfdv_rows import as_lists
from schema.errors import HeadraceError
from storage.places import at

_PARTITION_ROWS = 200_000
_BLOCK_ROWS = 1 << 16
_PARTS, _JOIN, _PROBLEMS, _TABLES = "parts", "join", "problems", "tables"

PartKey = tuple[str, int, int]
"""`requests`, version, window; or `span`, its number, 0."""


@dataclass(frozen=True)
class TableBlock:
    """A part of a table: rows that arrived, with labels or without."""

    block: Block
    columns: tuple[str, ...]
    """Those of it that are read."""
    types: dict[str, pa.DataType]
    """For CSV: the type of each column."""
    span: int | None = None
    """Its span, if it is one that the model has not seen: then it is compared with the training window."""
    is_joined: bool = False
    """Whether it may hold what requests are joined with."""
    required: tuple[str, ...] = ()
    """Rows without a value in one of these are left out, as they were in training."""
    labels_requests: bool = True
    """Whether its label is that of the requests that it is joined with."""


@dataclass(frozen=True)
class CollectPlan:
    """How rows are read and counted."""

    features: tuple[Feature, ...]
    """What requests carry."""
    label: Feature
    bins: dict[Key, Bins]
    version: int
    versions: dict[int, int]
    """The version behind each number by which the log may know one."""
    window_seconds: int
    event_time: str | None
    share: float
    """Of the rows to keep numbers of."""
    join: JoinPlan
    partitions: int


def collect(
    logs: list[LogFile],
    tables: list[TableBlock],
    plan: CollectPlan,
    judging: JudgePlan,
    output: str,
    beam_args: Iterable[str],
) -> None:
    """Reads everything, judges it, and writes the evidence to a file.

    Args:
        logs: Of one model.
        tables: Spans and labels.
        plan: How it is counted.
        judging: How it is judged.
        output: The file that the evidence goes to, as JSON, at a place that Beam's workers see.
        beam_args: Where Beam runs; the runner is always named.
    """
    with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
        requests = (
            pipeline
            | "Logs" >> beam.Create(logs, reshuffle=bool(logs))
            | "ReadLogs" >> beam.ParDo(_ReadLogs(plan)).with_outputs(_PARTS, _JOIN, _PROBLEMS, _TABLES)
        )
        rows = (
            pipeline
            | "Tables" >> beam.Create(tables, reshuffle=bool(tables))
            | "ReadTables" >> beam.ParDo(_ReadTables(plan)).with_outputs(_PARTS, _JOIN, _PROBLEMS)
        )
        parts = (
            (requests[_PARTS], rows[_PARTS]) | "Parts" >> beam.Flatten() | "AddParts" >> beam.CombinePerKey(add_parts)
        )
        windows = (
            parts
            | "OfVersion" >> beam.Filter(_is_of_version, plan.version)
            | "RowsOfWindows" >> beam.Map(_rows_of_window)
        )
        joined = (
            {"asked": requests[_JOIN], "tabled": rows[_JOIN]}
            | "ByPartition" >> beam.CoGroupByKey()
            | "Join" >> beam.Map(_join, plan.join, judging.config, AsDict(windows))
        )
        problems = (requests[_PROBLEMS], rows[_PROBLEMS]) | "Problems" >> beam.Flatten()
        statistics = requests[_TABLES] | "Statistics" >> tfdv.GenerateStatistics(
            tfdv.StatsOptions(schema=judging.schema(), num_top_values=5)
        )
        _ = (
            pipeline
            | "End" >> beam.Create([output])
            | "Judge" >> beam.Map(_judge, judging, AsDict(parts), AsIter(joined), AsIter(statistics), AsIter(problems))
        )


def partitions_of(log_bytes: int, tables: Sequence[TableBlock]) -> int:
    """How many partitions the join has, so that each fits into memory: a request is a kilobyte or so."""
    tabled = sum(each.is_joined for each in tables) * _BLOCK_ROWS
    return max(1, (log_bytes // 1000 + tabled) // _PARTITION_ROWS)


def _judge(
    output: str,
    judging: JudgePlan,
    parts: dict[PartKey, Part],
    joined: Iterable[Joined],
    statistics: Iterable[statistics_pb2.DatasetFeatureStatisticsList],
    problems: Iterable[Problems],
) -> None:
    total = Problems()
    for each in problems:
        total.merge(each)
    both = Joined()
    for part in joined:
        both = both + part
    evidence = judge(judging, parts, both, next(iter(statistics), None), total)
    at(output).write_text(evidence.model_dump_json(), encoding="utf-8")


class _ReadLogs(beam.DoFn):
    """A log file → its sums, its rows to join, its rows as TFDV reads them, its problems."""

    def __init__(self, plan: CollectPlan) -> None:
        self._plan = plan

    def process(self, file: LogFile) -> Iterator[Any]:
        """Reads one file."""
        plan, problems = self._plan, Problems()
        generator = _generator(file.path.name)
        parts: dict[PartKey, Part] = {}
        for logged in read_requests(file, plan.features, problems):
            requests = _with_known_versions(logged, plan, problems, str(file.path))
            windows = _windows(requests, plan, problems, str(file.path))
            for version, window in np.unique(np.stack([requests.versions, windows], axis=1), axis=0).tolist():
                chosen = (requests.versions == version) & (windows == window)
                rows = requests.features.filter(pa.array(chosen))
                part = Part.of(rows, requests.scores[chosen], plan.features, plan.bins, plan.share, generator)
                key = ("requests", version, window)
                parts[key] = parts.get(key, Part()) + part
                if version == plan.version:
                    yield beam.pvalue.TaggedOutput(_TABLES, as_lists(rows, plan.features))
            yield from self._to_join(requests, windows)
        for key, part in parts.items():
            yield beam.pvalue.TaggedOutput(_PARTS, (key, part))
        yield beam.pvalue.TaggedOutput(_PROBLEMS, problems)

    def _to_join(self, requests: Requests, windows: np.ndarray) -> Iterator[Any]:
        plan = self._plan
        columns = [
            *requests.features.columns,
            pa.array(requests.scores),
            pa.array(windows),
            pa.array(requests.versions),
            pa.array(requests.seconds),
        ]
        rows = pa.RecordBatch.from_arrays(columns, [*requests.features.schema.names, SCORE, WINDOW, VERSION, SECONDS])
        for number, each in partition(rows, plan.join.identifier, plan.partitions):
            yield beam.pvalue.TaggedOutput(_JOIN, (number, each))


def _windows(requests: Requests, plan: CollectPlan, problems: Problems, where: str) -> np.ndarray:
    """The start of each row's window, seconds since 1970: int64 [rows].

    A row without a time of its own, or with one that cannot be, counts as of when it was answered.
    """
    seconds = np.clip(requests.seconds, 0, _LATEST)
    if plan.event_time is not None:
        index = requests.features.schema.get_field_index(plan.event_time)
        times = np.asarray(requests.features.column(index).fill_null(np.nan), np.float64)
        is_usable = (times >= 0) & (times <= np.maximum(seconds, time.time()) + _FAR)
        if missing := int(np.isnan(times).sum()):
            problems.add(f"rows without {plan.event_time}: the time of the answer stands for it", where, missing)
        if wrong := int((~is_usable & ~np.isnan(times)).sum()):
            problems.add(f"rows whose {plan.event_time} cannot be: the time of the answer stands for it", where, wrong)
        seconds = np.where(is_usable, np.where(is_usable, times, 0).astype(np.int64), seconds)
    return np.asarray(seconds // plan.window_seconds * plan.window_seconds)


_LATEST = int(datetime(9000, 1, 1, tzinfo=timezone.utc).timestamp())
"""Beyond it a calendar ends."""
_FAR = 10 * 366 * 86_400
"""Nobody asks about what is further ahead, in seconds."""


def _with_known_versions(requests: Requests, plan: CollectPlan, problems: Problems, where: str) -> Requests:
    """A candidate is logged under a number of its own; an unknown number is told and kept apart."""
    versions = requests.versions.copy()
    for number, rows in zip(*np.unique(requests.versions, return_counts=True), strict=True):
        if int(number) in plan.versions:
            versions[requests.versions == number] = plan.versions[int(number)]
        else:
            problems.add(f"rows answered by version {number}, which is not in the push path", where, int(rows))
    return replace(requests, versions=versions)


class _ReadTables(beam.DoFn):
    """A block of a table → its sums, if it is a new span, and its rows to join."""

    def __init__(self, plan: CollectPlan) -> None:
        self._plan = plan

    def process(self, table: TableBlock) -> Iterator[Any]:
        """Reads one block."""
        plan, problems = self._plan, Problems()
        watched = [*plan.features, plan.label]
        present = [each.name for each in watched if each.name in table.columns]
        joined = [name for name in present if table.labels_requests or name != plan.label.name]
        # a feature that the table lacks is missing in all its rows; a label that it lacks is still to come
        bins = {key: each for key, each in plan.bins.items() if key[0] != plan.label.name or key[0] in present}
        generator = _generator(f"{table.block.path}:{table.block.row_group}")
        part = Part()
        try:
            for batch in read(table.block, list(table.columns), table.types):
                arrays = {name: batch.column(index) for index, name in enumerate(batch.schema.names)}
                for name in table.required:
                    kept = pa.array(~np.asarray(is_missing(arrays[name])))
                    arrays = {column: array.filter(kept) for column, array in arrays.items()}
                rows = as_rows(arrays, watched, len(next(iter(arrays.values()))))
                if table.span is not None:
                    part = part + Part.of(rows, None, watched, bins, plan.share, generator)
                if table.is_joined:
                    for number, each in partition(select(rows, joined), plan.join.identifier, plan.partitions):
                        yield beam.pvalue.TaggedOutput(_JOIN, (number, each))
        except HeadraceError as error:
            problems.add(f"a table that cannot be read: {error.what}", table.block.path)
        if part.rows:
            yield beam.pvalue.TaggedOutput(_PARTS, (("span", int(table.span or 0), 0), part))
        yield beam.pvalue.TaggedOutput(_PROBLEMS, problems)


def _is_of_version(part: tuple[PartKey, Part], version: int) -> bool:
    (kind, of, _), _ = part
    return (kind, of) == ("requests", version)


def _rows_of_window(part: tuple[PartKey, Part]) -> tuple[int, int]:
    (_, _, window), sums = part
    return window, sums.rows


def _join(
    partitioned: tuple[int, dict[str, Iterable[pa.RecordBatch]]],
    plan: JoinPlan,
    config: MonitorConfig,
    rows_of_windows: dict[int, int],
) -> Joined:
    _, both = partitioned
    first = first_window(rows_of_windows, config)
    asked = (
        each.filter(pc.greater_equal(each.column(each.schema.get_field_index(WINDOW)), first)) for each in both["asked"]
    )
    return join(asked, both["tabled"], plan)


def _generator(name: str) -> np.random.Generator:
    """The same rows are chosen of the same file, every time."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
