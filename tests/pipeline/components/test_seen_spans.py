"""Spans that an earlier execution of ExampleGen has read are taken over."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from divided_nodes import execute_divided
from memory_places import new_place
from small_artifacts import artifact_at, contents, execute
from small_reference import changed, flights_of, small_schema
from tfx.types.standard_artifacts import Examples

from data.columns import columns_path
from data.config import DataConfig
from pipeline.components.example_gen import COUNTS, SHARD_SPANS, TAKEN_OVER, ExampleGen, ExampleGenExecutor
from pipeline.components.examples_files import examples_files
from pipeline.components.seen_spans import TakeOver
from storage.places import at

ROWS = {1: 30, 2: 40, 3: 50, 4: 60}
GROUP = 25

READ = ("--shares=1",)
"""Options without `--take_over`: every span is read."""


class Ingest:
    """Reads windows of three spans; the folder of each artifact is a number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._executions = iter(range(9, 99))  # by their names 10 and 9 are in the wrong order

    def prepare(
        self, newest: int, code: str = "", exclude: Sequence[str] = ("gate",), **data: Any
    ) -> tuple[Examples, dict[str, Any]]:
        """The artifact, and the properties of an execution on the window that a span ends."""
        source = {"path": str(self._folder / "span-{SPAN}.parquet")}
        config = DataConfig.model_validate({"source": source, "window": {"train": 2, "newest": newest}} | data)
        component = ExampleGen(config, small_schema(), exclude=list(exclude), label="late", code=code)
        examples = artifact_at(Examples, self._folder / "examples" / str(next(self._executions)))
        return examples, dict(component.exec_properties)

    def __call__(self, newest: int, *options: str, **changes: Any) -> Examples:
        examples, properties = self.prepare(newest, **changes)
        options = options or ("--take_over",)
        execute(ExampleGenExecutor, self._folder, {}, {"examples": examples}, properties, options=options)
        return examples


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    for span, rows in ROWS.items():
        deliver(tmp_path, span, rows)
    return Ingest(tmp_path)


def deliver(folder: Path, span: int, rows: int) -> None:
    pq.write_table(flights_of(span, rows), folder / f"span-{span}.parquet", row_group_size=GROUP)


def taken(examples: Examples) -> list[int]:
    return json.loads(examples.get_string_custom_property(TAKEN_OVER))


def inodes(examples: Examples) -> set[int]:
    return {path.stat().st_ino for path in Path(examples.uri).rglob("*") if path.suffix in (".gz", ".arrow")}


def assert_same(some: Examples, others: Examples) -> None:
    """As if all had been read."""
    assert contents(some) == contents(others)
    for name in (COUNTS, SHARD_SPANS, "span_fingerprints"):
        assert some.get_string_custom_property(name) == others.get_string_custom_property(name)
    ours, theirs = ([(Path(file.path).name, file.index, file.span, file.is_eval) for file in examples_files(each)]
                    for each in (some, others))  # fmt: skip
    assert ours == theirs


def test_a_new_span_is_all_that_is_read(ingest: Ingest) -> None:
    first, second, read = ingest(3), ingest(4), ingest(4, *READ)
    assert (taken(first), taken(second), taken(read)) == ([], [2, 3], [])
    assert_same(second, read)
    assert len(inodes(first) & inodes(second)) == 2 * (2 + 2)  # shards of spans 2 and 3, examples and columns
    assert not inodes(second) & inodes(read)


def test_what_was_taken_over_is_taken_over_again(ingest: Ingest) -> None:
    ingest(3)
    assert_same(ingest(4), again := ingest(4))
    assert taken(again) == [2, 3, 4]


def test_spans_come_from_several_executions(ingest: Ingest) -> None:
    ingest(2)
    ingest(4)
    last = ingest(3)
    assert taken(last) == [1, 2, 3]
    assert_same(last, ingest(3, *READ))


def test_of_a_hash_split_a_span_is_in_both_splits(ingest: Ingest) -> None:
    division = {"window": None, "split": {"train": 2, "eval": 1}}
    ingest(3, **division)
    again = ingest(3, **division)
    assert taken(again) == [1, 2, 3, 4]
    assert_same(again, ingest(3, *READ, **division))


@pytest.mark.parametrize(
    "change", [{"code": "other"}, {"exclude": ["gate", "miles"]}, {"drop": [{"missing": "miles", "reason": "-"}]}]
)
def test_what_is_made_otherwise_is_read(ingest: Ingest, change: dict[str, Any]) -> None:
    ingest(3)
    assert taken(ingest(3, **change)) == []


def test_a_span_that_was_delivered_again_is_read(ingest: Ingest, tmp_path: Path) -> None:
    ingest(3)
    deliver(tmp_path, 2, 35)
    again = ingest(3)
    assert taken(again) == [1, 3]
    assert_same(again, ingest(3, *READ))


def test_a_span_with_rows_that_do_not_fit_is_read(ingest: Ingest, tmp_path: Path) -> None:
    """So they are always told with the place where they are."""
    halves = changed(flights_of(2, 40), flight=pa.array([0.5] + [1.0] * 39))
    pq.write_table(halves, tmp_path / "span-2.parquet")
    ingest(3)
    again = ingest(3)
    assert taken(again) == [1, 3]
    assert json.loads(again.get_string_custom_property(COUNTS))["quarantined"][0]["rows"] == 1


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("lost", ["spans.json", "examples", "columns"])
def test_a_span_of_which_something_is_gone_is_read(ingest: Ingest, lost: str, is_cut: bool) -> None:
    """Cut off, as after a power cut, or removed."""
    first = Path(ingest(3).uri)
    shard = first / "Split-train" / "data_tfrecord-00002-of-00006.gz"
    path = {"spans.json": first / lost, "examples": shard, "columns": Path(columns_path(str(shard)))}[lost]
    os.truncate(path, path.stat().st_size // 2) if is_cut else path.unlink()
    again = ingest(3)
    assert taken(again) == ([] if lost == "spans.json" else [1, 3])
    assert_same(again, ingest(3, *READ))


def test_a_span_without_a_row_is_as_good_as_any(ingest: Ingest, tmp_path: Path) -> None:
    pq.ParquetWriter(tmp_path / "span-2.parquet", flights_of(2, 1).schema).close()
    ingest(3)
    again = ingest(4)
    assert taken(again) == [2, 3]
    assert_same(again, ingest(4, *READ))


def test_executions_that_did_not_end_are_not_looked_at(ingest: Ingest, tmp_path: Path) -> None:
    """However many there are."""
    ingest(3)
    for _ in range(9):
        ingest.prepare(3)
    last, _ = ingest.prepare(3)
    (Path(last.uri) / "spans.json").write_text('{"1": {"half of')
    (tmp_path / "examples" / "of another program").mkdir()
    assert taken(ingest(3)) == [1, 2, 3]


def test_without_second_names_for_files_they_are_copied(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(link: Path, target: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    first = ingest(3)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    second = ingest(4)
    assert taken(second) == [2, 3]
    assert not inodes(first) & inodes(second)
    monkeypatch.undo()
    assert_same(second, ingest(4, *READ))


def test_what_another_attempt_has_left_is_replaced(ingest: Ingest, tmp_path: Path) -> None:
    """Whatever it is: the same file, or one of another window."""
    source = next(Path(ingest(3).uri).glob("Split-train/*"))
    target = tmp_path / "other" / "Split-train" / source.name
    target.parent.mkdir(parents=True)
    target.write_bytes(b"of another window")
    for _ in range(2):
        assert list(TakeOver(str(tmp_path)).process((str(source), str(target)))) == [str(target)]
        assert target.read_bytes() == source.read_bytes()
    assert Path(columns_path(str(target))).read_bytes() == Path(columns_path(str(source))).read_bytes()
    assert [path.name for path in target.parent.iterdir()] == [source.name]


def test_an_object_store_copies() -> None:
    source, target = (new_place() / "Split-train" / "data-00000-of-00001.gz" for _ in range(2))
    for place, content in ((source, b"examples"), (at(columns_path(str(source))), b"columns")):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    list(TakeOver("-").process((str(source), str(target))))
    assert (target.read_bytes(), at(columns_path(str(target))).read_bytes()) == (b"examples", b"columns")


def test_an_attempt_finds_nothing_of_one_before_it(ingest: Ingest, tmp_path: Path) -> None:
    """Airflow tries an execution again in the same folder, perhaps after a span has arrived."""
    folder = tmp_path / "examples" / "9"
    for left in ("Split-train/data_tfrecord-00000-of-00011.gz", "Split-train/data_tfrecord-00000-of-00006.gz"):
        (folder / left).parent.mkdir(parents=True, exist_ok=True)
        (folder / left).write_bytes(b"of another window")
    assert_same(ingest(3), ingest(3, *READ))


def test_processes_divide_what_is_taken_over_and_what_is_read(ingest: Ingest, tmp_path: Path) -> None:
    ingest(3)
    examples, properties = ingest.prepare(4)
    options = ["--take_over", "--shares=2"]
    divided = execute_divided(ExampleGenExecutor, tmp_path, {}, {"examples": examples}, properties, options)["examples"]
    assert taken(divided) == [2, 3]
    assert_same(divided, ingest(4, *READ))
