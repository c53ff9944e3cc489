from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from columns_of_shards import write_columns
from watched import FLIGHTS, category, flights, number
from watched_examples import write_examples

from models.features import Feature
from monitoring.examples import ExampleRows


def example(**values: list[bytes] | list[int] | list[float]) -> bytes:
    found = tf.train.Example()
    for name, each in values.items():
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(each[0])] if each else "float_list"
        getattr(found.features.feature[name], kind).value.extend(each)
    return found.SerializeToString()


def rows_of(examples: list[bytes], features: Sequence[Feature]) -> pa.RecordBatch:
    return ExampleRows(features).of(examples)


def test_rows_come_back_from_a_file(tmp_path: Path) -> None:
    rows = flights(np.random.default_rng(0), 9000)
    batches = list(ExampleRows(FLIGHTS).read(str(write_examples(tmp_path / "a.gz", rows, FLIGHTS))))
    assert len(batches) > 1
    assert pa.Table.from_batches(batches).combine_chunks().equals(pa.Table.from_batches([rows]))


def test_rows_come_back_from_the_columns_of_a_file(tmp_path: Path) -> None:
    rows = flights(np.random.default_rng(0), 900)
    (tmp_path / "Split-train").mkdir()
    shard = write_examples(tmp_path / "Split-train" / "a.gz", rows, FLIGHTS)
    write_columns(shard)
    shard.write_bytes(b"nobody reads this")
    batches = list(ExampleRows(FLIGHTS).read(str(shard)))
    assert pa.Table.from_batches(batches).combine_chunks().equals(pa.Table.from_batches([rows]))
    [other] = ExampleRows([number("nowhere")]).read(str(shard))
    assert other.column("nowhere").null_count == 900


def test_an_empty_file(tmp_path: Path) -> None:
    path = write_examples(tmp_path / "a.gz", flights(np.random.default_rng(0), 0), FLIGHTS)
    assert list(ExampleRows(FLIGHTS).read(str(path))) == []


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = write_examples(tmp_path / "a.gz", flights(np.random.default_rng(0), 500), FLIGHTS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(tf.errors.OpError):
        list(ExampleRows(FLIGHTS).read(str(path)))


@pytest.mark.parametrize("record", [b"x", example(temp=[7])])
def test_a_record_that_is_no_example_or_of_another_type(record: bytes) -> None:
    with pytest.raises(tf.errors.OpError):
        rows_of([record], FLIGHTS)


def test_the_first_of_several_values_counts() -> None:
    rows = rows_of(
        [example(n=[1.5, 2.5], c=[b"a", b"b"]), example(n=[3.5], c=[b"", b"d"])], [number("n"), category("c")]
    )
    assert rows.column("n").to_pylist() == [1.5, 3.5]
    assert rows.column("c").to_pylist() == [b"a", None]


def test_what_is_absent_is_missing_however_it_is_absent() -> None:
    features = [number("n"), category("c"), category("i", is_whole=True)]
    rows = rows_of([example(n=[]), example(), example(n=[float("nan")], c=[b""]), example(other=[b"x"])], features)
    for name in ("n", "c", "i"):
        assert rows.column(name).to_pylist() == [None] * 4
    mixed = rows_of([example(n=[]), example(n=[2.0], i=[7]), example(c=[b"\xff"])], features)
    assert mixed.to_pylist() == [
        {"n": None, "c": None, "i": None},
        {"n": 2.0, "c": None, "i": b"7"},
        {"n": None, "c": b"\xff", "i": None},
    ]


def test_whole_numbers_of_any_size() -> None:
    rows = rows_of([example(i=[2**63 - 1], n=[2**63 - 1]), example(i=[-(2**63)], n=[-(2**63)])],
                   [category("i", is_whole=True), number("n", is_whole=True)])  # fmt: skip
    assert rows.column("i").to_pylist() == [b"9223372036854775807", b"-9223372036854775808"]
    assert rows.column("n").to_pylist() == [2.0**63, -(2.0**63)]
