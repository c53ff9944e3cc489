"""Reading a log and the tables beside it: what is counted, and that nothing of bad input is fatal or silent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.pvalue import TaggedOutput
from small_reference import (
    DAY,
    FEATURES,
    IDENTIFIER,
    LABEL,
    MONDAY,
    changed,
    flights_of,
    logged,
    reference_of,
    small_schema,
    write_log,
)

from data.columns import ARROW_TYPES
from data.readers import Block
from monitoring.collect import CollectPlan, TableBlock, _ReadLogs, _ReadTables, collect, partitions_of
from monitoring.config import MonitorConfig
from monitoring.evidence import Evidence
from monitoring.join import JoinPlan
from monitoring.judge import JudgePlan
from monitoring.logs import LogFile
from monitoring.parts import add_parts
from monitoring.report import State
from monitoring.slicing import ALL_EXAMPLES
from pipeline.beam import IN_MEMORY_RUNNER

REFERENCE = reference_of({span: flights_of(span) for span in (1, 2, 3, 4)})
LIVE = flights_of(5, 900)
TYPES = {each.name: ARROW_TYPES[each.type] for each in (*FEATURES, LABEL)}


def plan_of(version: int = 3, event_time: str | None = "departure", partitions: int = 3) -> CollectPlan:
    join = JoinPlan(IDENTIFIER, FEATURES, "late", ("carrier",), "binary", version, 1.0)
    bins = REFERENCE.profile.bins
    return CollectPlan(FEATURES, LABEL, bins, version, {3: 3, 2: 2, 9: 3}, DAY, event_time, 1.0, join, partitions)


def read(step: Any, element: Any) -> tuple[dict, list, dict[str, int], int]:
    """What a step gives: parts by key, batches to join, problems, rows for TFDV."""
    parts: dict = {}
    batches, problems, rows = [], {}, 0
    for each in step.process(element):
        assert isinstance(each, TaggedOutput)
        if each.tag == "parts":
            parts[each.value[0]] = each.value[1]
        elif each.tag == "join":
            batches.append(each.value[1])
        elif each.tag == "problems":
            problems = {problem.what: problem.count for problem in each.value.found()}
        else:
            rows += len(each.value)
    return parts, batches, problems, rows


def read_log(path: Path, plan: CollectPlan | None = None):
    return read(_ReadLogs(plan or plan_of()), LogFile(path, "small"))


def table_block(path: Path, table: pa.Table, **changes: Any) -> TableBlock:
    pq.write_table(table, path)
    columns = tuple(name for name in table.column_names if name in TYPES)
    return TableBlock(Block(str(path), "parquet"), columns, TYPES, **{"span": 5, "is_joined": True, **changes})


def test_a_log_by_version_and_window(tmp_path: Path) -> None:
    parts, batches, problems, rows = read_log(write_log(tmp_path / "small-1.tfrecord", LIVE, 3))
    assert {(kind, version) for kind, version, _ in parts} == {("requests", 3)}
    of_days = np.unique(LIVE["departure"].to_numpy() // DAY * DAY, return_counts=True)
    assert {window: part.rows for (_, _, window), part in parts.items()} == dict(
        zip(*map(np.ndarray.tolist, of_days), strict=True)
    )
    assert sum(map(len, batches)) == rows == 900
    assert problems == {}


def test_without_an_event_time_the_answer_tells(tmp_path: Path) -> None:
    path = write_log(tmp_path / "small-1.tfrecord", LIVE, 3)
    parts, *_ = read_log(path, plan_of(event_time=None))
    whole, *_ = read_log(path)
    assert add_parts(list(parts.values())).rows == add_parts(list(whole.values())).rows == 900


def test_versions_are_told_apart_and_unknown_ones_counted(tmp_path: Path) -> None:
    path = tmp_path / "small-1.tfrecord"
    write_records(path, *(logged(LIVE.slice(0, 10), version) for version in (3, 2, 9, 8, 8)))
    parts, batches, problems, rows = read_log(path)
    by_version: dict[int, int] = {}
    for (_, version, _), part in parts.items():
        by_version[version] = by_version.get(version, 0) + part.rows
    assert by_version == {3: 20, 2: 10, 8: 20}  # 9 is the number under which 3 was tried
    assert problems == {"rows answered by version 8, which is not in the push path": 20}
    assert (sum(map(len, batches)), rows) == (50, 20)


@pytest.mark.parametrize(
    ("departures", "told"),
    [
        ([np.nan, None], "rows without departure: the time of the answer stands for it"),
        ([4e9, 1e15], "rows whose departure cannot be: the time of the answer stands for it"),
        ([1e300, np.inf], "rows whose departure cannot be: the time of the answer stands for it"),
        ([-1.0, -np.inf], "rows whose departure cannot be: the time of the answer stands for it"),
    ],
)
def test_times_that_cannot_be(tmp_path: Path, departures: list, told: str) -> None:
    table = changed(LIVE.slice(0, 2), departure=pa.array(departures, pa.float64(), from_pandas=False))
    path = tmp_path / "small-1.tfrecord"
    write_records(path, logged(table, 3, seconds=MONDAY + 100))
    parts, _, problems, _ = read_log(path)
    assert [(key, part.rows) for key, part in parts.items()] == [(("requests", 3, MONDAY // DAY * DAY), 2)]
    assert problems == {told: 2}


@pytest.mark.parametrize("seconds", [0, -5, 2**62])
def test_a_server_clock_that_cannot_be(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "small-1.tfrecord"
    write_records(path, logged(LIVE.slice(0, 5), 3, seconds=seconds))
    parts, _, problems, _ = read_log(path, plan_of(event_time=None))
    [(key, part)] = parts.items()
    assert part.rows == 5
    assert time.gmtime(key[2])  # a calendar has it
    assert len(problems) == 1


def test_damage_costs_only_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "small-1.tfrecord"
    stale = logged(LIVE.slice(200, 100), 3, seconds=MONDAY)
    write_records(path, logged(LIVE.slice(0, 100), 3), stale, b"no log", logged(LIVE.slice(100, 100), 3))
    with path.open("ab") as file:
        file.write(path.read_bytes()[:50])
    parts, _, problems, _ = read_log(path)
    assert add_parts(list(parts.values())).rows == 300
    assert problems == {
        "a record that is no PredictionLog": 1,
        "a log file that is cut off": 1,
        "a clock that went backwards": 1,
    }


def test_a_log_that_vanished(tmp_path: Path) -> None:
    parts, batches, problems, _ = read_log(tmp_path / "small-1.tfrecord")
    assert (parts, batches, problems) == ({}, [], {"a log file that vanished": 1})


def test_a_span_is_counted_and_joined(tmp_path: Path) -> None:
    parts, batches, problems, _ = read(_ReadTables(plan_of()), table_block(tmp_path / "a.parquet", LIVE))
    assert {key: part.rows for key, part in parts.items()} == {("span", 5, 0): 900}
    assert sum(map(len, batches)) == 900
    assert problems == {}
    parts, batches, *_ = read(_ReadTables(plan_of()), table_block(tmp_path / "b.parquet", LIVE, span=None))
    assert (parts, sum(map(len, batches))) == ({}, 900)
    parts, batches, *_ = read(_ReadTables(plan_of()), table_block(tmp_path / "c.parquet", LIVE, is_joined=False))
    assert (len(parts), batches) == (1, [])


def test_rows_that_training_leaves_out_are_left_out(tmp_path: Path) -> None:
    late = np.where(np.arange(900) % 3, LIVE["late"].to_numpy().astype(float), np.nan)
    block = table_block(tmp_path / "a.parquet", changed(LIVE, late=late), required=("late",))
    parts, batches, *_ = read(_ReadTables(plan_of()), block)
    assert (parts["span", 5, 0].rows, sum(map(len, batches))) == (600, 600)


def test_a_feature_that_a_span_lacks_is_missing_in_it_but_not_its_label(tmp_path: Path) -> None:
    step = _ReadTables(plan_of())
    [without] = read(step, table_block(tmp_path / "a.parquet", LIVE.drop(["miles", "late"])))[0].values()
    [whole] = read(step, table_block(tmp_path / "b.parquet", LIVE))[0].values()
    of_miles = next(key for key in without.counts if key[0] == "miles")
    assert without.counts[of_miles][-1] == 900
    assert not [key for key in without.counts if key[0] == "late"]
    both = without + whole  # files of one span
    assert both.rows == 1800
    assert next(counts.sum() for key, counts in both.counts.items() if key[0] == "late") == 900


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    block = table_block(tmp_path / "a.parquet", LIVE)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:2000] = b"\xff" * 1996
    (tmp_path / "a.parquet").write_bytes(content)
    _, _, problems, _ = read(_ReadTables(plan_of()), block)
    assert problems == {"a table that cannot be read: A source file cannot be read as parquet": 1}
    (tmp_path / "a.parquet").unlink()
    _, _, problems, _ = read(_ReadTables(plan_of()), block)
    assert problems == {"a table that cannot be read: A source file has vanished": 1}


def test_evidence_of_all_files_together(tmp_path: Path) -> None:
    logs = [
        LogFile(write_log(tmp_path / f"small-{n}.tfrecord", LIVE.slice(300 * n, 300), 3), "small") for n in range(3)
    ]
    labels = table_block(tmp_path / "labels.parquet", LIVE.select([*IDENTIFIER, "late"]), span=None)
    span = table_block(tmp_path / "span.parquet", LIVE.drop(["late"]))
    judging = JudgePlan(REFERENCE, 3, MonitorConfig(), small_schema().SerializeToString())
    collect(logs, [labels, span], plan_of(), judging, tmp_path / "evidence.json", (IN_MEMORY_RUNNER,))
    evidence = Evidence.model_validate_json((tmp_path / "evidence.json").read_text())
    assert (evidence.rows, evidence.new_spans, evidence.new_rows, evidence.problems) == (900, (5,), 900, ())
    assert [check for check in evidence.checks if check.state is State.ALARM] == []
    assert {check.rows for check in evidence.checks if check.aspect == "mismatch"} == {900}
    whole = max(evidence.quality, key=lambda point: (point.slice == ALL_EXAMPLES, point.end - point.start))
    assert whole.rows == 900
    assert evidence.versions[0].loss.rows == 900


def test_nothing_to_read(tmp_path: Path) -> None:
    judging = JudgePlan(REFERENCE, 3, MonitorConfig(), small_schema().SerializeToString())
    collect([], [], plan_of(), judging, tmp_path / "evidence.json", (IN_MEMORY_RUNNER,))
    assert Evidence.model_validate_json((tmp_path / "evidence.json").read_text()) == Evidence()


def test_partitions_grow_with_the_log_and_the_tables() -> None:
    table = TableBlock(Block("x", "parquet"), ("x",), {}, is_joined=True)
    alone = TableBlock(Block("x", "parquet"), ("x",), {})
    assert (partitions_of(0, []), partitions_of(10**9, [])) == (1, 5)
    assert (partitions_of(0, [table] * 100), partitions_of(0, [alone] * 100)) == (32, 1)


def write_records(path: Path, *records: bytes) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
