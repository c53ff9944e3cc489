"""The benchmark against stock TFX: both pipelines read the same rows, and the tables say what was measured."""

import csv
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.csv_decoder import ColumnType, ColumnTypeInferrer

from benchmarks.pipeline import measure, report
from benchmarks.pipeline.flights import Dataset, as_written, copies, write_csv
from benchmarks.pipeline.measure import CACHED, FIRST, HEADRACE, LOCAL_DAG, NEW_SPAN, STOCK, Node, Run, configure
from benchmarks.pipeline.memory import Sample, Sampler, look_at
from data.readers import inspect
from pipeline.config import load_config

NOISY = {"seats", "miles"}


@pytest.fixture
def table() -> pa.Table:
    count = 200
    return pa.table(
        {
            "carrier": pa.array(["AA", "UA"] * (count // 2)),
            "flight": pa.array(range(count), pa.int64()),
            "seats": pa.array([None if each % 7 == 0 else 100 + each for each in range(count)], pa.int64()),
            "miles": pa.array([None if each % 5 == 0 else 10.0 * each for each in range(count)], pa.float64()),
        }
    )


def test_the_first_copy_is_the_data_itself(table: pa.Table) -> None:
    assert list(copies(table, 1, NOISY, seed=1)) == [table]


def test_a_copy_differs_in_its_noisy_numbers_only(table: pa.Table) -> None:
    _, copy, other = copies(table, 3, NOISY, seed=1)
    assert copy.schema == other.schema == table.schema
    for name in ("carrier", "flight"):
        assert copy[name] == table[name]
    for name in NOISY:
        assert copy[name] != table[name]
        assert copy[name] != other[name]
        assert copy[name].is_null().to_pylist() == table[name].is_null().to_pylist()


def test_noise_is_small_and_leaves_no_column_s_range(table: pa.Table) -> None:
    *_, copy = copies(table, 30, NOISY, seed=1)
    for name in NOISY:
        pairs = [(a, b) for a, b in zip(table[name].to_pylist(), copy[name].to_pylist(), strict=True) if a is not None]
        before, after = zip(*pairs, strict=True)
        assert min(before) <= min(after)
        assert max(after) <= max(before)
        assert max(abs(a - b) for a, b in pairs) < 0.1 * (max(before) - min(before))


def test_the_same_seed_gives_the_same_noise(table: pa.Table) -> None:
    assert list(copies(table, 2, NOISY, seed=1)) == list(copies(table, 2, NOISY, seed=1))
    assert list(copies(table, 2, NOISY, seed=1)) != list(copies(table, 2, NOISY, seed=2))


def test_a_column_without_a_value_stays_so() -> None:
    empty = pa.table({"seats": pa.nulls(3, pa.int64()), "miles": pa.nulls(3, pa.float64())})
    assert list(copies(empty, 2, NOISY, seed=1)) == [empty, empty]


@pytest.fixture
def schema() -> schema_pb2.Schema:
    types = {
        "carrier": schema_pb2.BYTES,
        "miles": schema_pb2.FLOAT,
        "seats": schema_pb2.INT,
        "departure": schema_pb2.INT,
        "late": schema_pb2.INT,
    }
    return schema_pb2.Schema(feature=[schema_pb2.Feature(name=name, type=each) for name, each in types.items()])


def raw_rows() -> pa.Table:
    return pa.table(
        {
            "arrival": pa.array([1, 2, 3, 4]),
            "carrier": pa.array(["AA", None, "DL", "b,6"]),
            "miles": pa.array([1400, 200, 7, None], pa.int64()),
            "seats": pa.array([149, None, 9, 8], pa.int64()),
            "departure": pa.array([1357017300000, 0, 5000, 1000], pa.timestamp("ms")),
            "late": pa.array([0, 1, None, 1], pa.int64()),
        }
    )


def test_only_the_schema_s_columns_and_labelled_rows_are_written(schema: schema_pb2.Schema) -> None:
    written = as_written(raw_rows(), schema, "late")
    assert written.to_pydict() == {
        "carrier": ["AA", None, "b,6"],
        "miles": [1400.0, 200.0, None],
        "seats": [149, None, 8],
        "departure": [1357017300, 0, 1],
        "late": [0, 1, 1],
    }


def stock_types(head: list[str], rows: list[list[str]]) -> dict[str, int]:
    """As CsvExampleGen infers them."""
    inferrer = ColumnTypeInferrer(head, skip_blank_lines=True)
    accumulator = inferrer.create_accumulator()
    for row in rows:
        accumulator = inferrer.add_input(accumulator, [cell.encode() for cell in row])
    return {column.name: column.type for column in inferrer.extract_output(accumulator)}


def test_both_readers_find_the_schema_s_types(schema: schema_pb2.Schema, tmp_path: Path) -> None:
    path = tmp_path / "flights.csv"
    written = as_written(raw_rows(), schema, "late")
    for number in range(2):
        write_csv(written, path, is_first=not number)
    [head, *rows] = csv.reader(path.open(encoding="utf-8"))
    assert head == written.column_names
    assert rows == 2 * [
        ["AA", "1400.0", "149", "1357017300", "0"],
        ["", "200.0", "", "0", "1"],
        ["b,6", "", "8", "1", "1"],
    ]
    assert stock_types(head, rows) == {
        "carrier": ColumnType.STRING,
        "miles": ColumnType.FLOAT,
        "seats": ColumnType.INT,
        "departure": ColumnType.INT,
        "late": ColumnType.INT,
    }
    found = inspect(str(path), "csv", {"carrier": pa.string(), "miles": pa.float64()}).columns
    assert found == dict(zip(written.schema.names, written.schema.types, strict=True))


def test_a_written_bound_of_a_gate_stops_no_run(tmp_path: Path) -> None:
    dataset = Dataset(1, tmp_path / "spans", tmp_path / "splits", 10, 2)
    config = load_config(configure(dataset, tmp_path / "run"))
    assert config.data.source.path == f"{tmp_path}/spans/span-{{SPAN}}.csv"
    assert Path(config.root).is_relative_to(tmp_path)
    assert Path(config.push.path).is_relative_to(tmp_path)
    for bound in config.gates.quality:
        assert (bound.at_least or 0) <= 0
        assert bound.at_most is None or bound.at_most > 100
        assert bound.not_worse_by is None or bound.not_worse_by >= 1
    assert {bound.slice for bound in config.gates.quality} == {None, "origin"}


def test_a_run_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(3, tmp_path / "spans", tmp_path / "splits", 10, 2)
    path = configure(dataset, tmp_path / "run")
    monkeypatch.setattr(sys, "executable", "/bin/ls")
    with pytest.raises(measure.RunFailed, match=r"(?s)Headrace, first, 3×: exit code 2.*ls: "):
        measure.run_headrace(path, dataset, FIRST)


def test_a_node_of_one_process_has_the_memory_of_its_time(tmp_path: Path) -> None:
    dataset = Dataset(1, tmp_path / "spans", tmp_path / "splits", 10, 2)
    config = load_config(configure(dataset, tmp_path / "run"))
    executions = {
        name: pb.Execution(create_time_since_epoch=start, last_update_time_since_epoch=end)
        for name, start, end in (("Trainer", 1000, 3500), ("Evaluator", 4000, 6000), ("Pusher", 6100, 6101))
    }
    samples = [Sample(when, mib, {"output": mib}) for when, mib in ((0.5, 9.0), (1.5, 2.0), (3.0, 1.0), (5.0, 4.0))]
    assert measure.stock_nodes(config, executions, samples) == {
        "Trainer": Node(2.5, 2.0),
        "Evaluator": Node(2.0, 4.0),
        "Pusher": Node(pytest.approx(0.001), None),
    }


def test_memory_is_that_of_all_descendants_by_output(tmp_path: Path) -> None:
    child = "import sys; block = bytearray(50 << 20); print(1, flush=True); sys.stdin.read()"
    parent = (
        "import subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {child!r}], stdout=open({str(tmp_path / 'Trainer.log')!r}, 'w'))"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "Trainer.log").exists() or not (tmp_path / "Trainer.log").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            sample = look_at(process.pid)
        finally:
            process.communicate()
    assert sample.resident_mib["Trainer"] > 50
    assert 50 < sample.mib < sum(sample.resident_mib.values())
    assert look_at(process.pid).mib == 0


def test_the_sampler_keeps_the_peak() -> None:
    seen = iter([3.0, 7.0, 5.0])
    looked = threading.Event()

    def look(process_id: int) -> Sample:
        assert process_id == os.getpid()
        value = next(seen, None)
        if value is None:
            looked.set()
        return Sample(0.0, value or 0.0, {})

    with Sampler(os.getpid(), look) as sampler:
        assert looked.wait(30)
    assert sampler.peak_mib == 7.0


def run(system: str, kind: str = FIRST, times: int = 1, **changes: Any) -> Run:
    """A run; Headrace's is four times as fast, ten times the rows take five times as long."""
    scale = (0.25 if system == HEADRACE else 1.0) * (5.0 if times == 10 else 1.0)
    example_gen = "ExampleGen" if system == HEADRACE else "CsvExampleGen"
    nodes = {example_gen: Node(40.0 * scale, 500.0), "Pusher": Node(0.0, None)}
    if system == HEADRACE:
        nodes["QualityGate"] = Node(1.0 * scale, 600.0)
    return replace(Run(system, kind, times, 100.0 * scale, 80.0 * scale, 90.0 * scale, 1000.0, nodes), **changes)


def test_a_node_stands_beside_its_like() -> None:
    [head, *rows] = report.nodes([run(STOCK), run(HEADRACE)], 1)
    assert rows == [
        ["ExampleGen", "40.0 s", "10.0 s", "4.0×", "500 MiB", "500 MiB"],
        ["Pusher", "0.0 s", "0.0 s", "–", "–", "–"],
        ["QualityGate", "–", "0.2 s", "–", "–", "600 MiB"],
    ]
    assert head == ["node", STOCK, HEADRACE, "ratio", f"{STOCK}, memory", f"{HEADRACE}, memory"]


def test_totals_are_medians_of_their_kind() -> None:
    runs = [run(STOCK), run(HEADRACE), run(HEADRACE, seconds=9.0), run(HEADRACE, seconds=30.0)]
    runs += [
        run(STOCK, CACHED, seconds=50.0),
        run(HEADRACE, CACHED, seconds=5.0),
        run(HEADRACE, NEW_SPAN, seconds=6.0),
    ]
    runs += [run(STOCK, times=10)]
    assert report.totals(runs, 1)[1:] == [
        ["data → verdict", "80.0 s", "20.0 s", "4.0×"],
        ["data → pushed", "100.0 s", "25.0 s", "4.0×"],
        ["processor time", "90.0 s", "22.5 s", "4.0×"],
        ["peak memory", "1,000 MiB", "1,000 MiB", "1.0×"],
        ["again, from the cache", "50.0 s", "5.0 s", "10.0×"],
        ["one new span", "–", "6.0 s", "–"],
        ["one new span / data → pushed", "–", "0.24", "–"],
    ]


def test_the_runners_are_compared_if_both_were_measured() -> None:
    runs = [run(HEADRACE), run(LOCAL_DAG, seconds=30.0)]
    assert report.runners(runs, 1)[1:] == [["data → pushed", "30.0 s", "25.0 s", "1.2×"]]
    assert LOCAL_DAG not in report.show([run(STOCK), run(HEADRACE)])


def test_growth_is_by_node_and_in_all() -> None:
    runs = [run(system, times=times) for times in (1, 10) for system in (STOCK, HEADRACE)]
    runs[-1] = replace(runs[-1], peak_mib=1200.0)
    assert report.growth(runs, 1, 10)[1:] == [
        ["ExampleGen", "5.0×", "1.0×", "5.0×", "1.0×"],
        ["Pusher", "–", "–", "–", "–"],
        ["QualityGate", "–", "–", "5.0×", "1.0×"],
        ["in all", "5.0×", "1.0×", "5.0×", "1.2×"],
    ]
    shown = report.show(runs)
    assert shown.count("| node |") == 3
    assert "linear growth is 10×" in shown


def test_runs_are_kept_as_they_were_saved(tmp_path: Path) -> None:
    runs = [run(STOCK), run(HEADRACE, times=10)]
    report.save(runs, tmp_path / "runs.json")
    assert report.load(tmp_path / "runs.json") == runs
