"""Batch scoring: the same servable, the same answers as online; bad rows stop nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from client_tools import save_person
from memory_places import remote
from served_models import save_half_plus_two, save_zoo

from schema.errors import DataError
from serving import batch
from serving.batch import Block, Counts
from serving.batch_model import Plan, read_signature
from serving.session_model import SessionModel

score = partial(batch.score, beam_args=["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_half_plus_two(folder / "half")
    save_zoo(folder / "zoo")
    save_person(folder / "person")
    return folder


def half(models: Path, **options: object) -> Plan:
    return Plan(str(models / "half" / "1"), 7, "serving_default", **options)


def batches(columns: dict[str, object], sizes: int) -> Iterator[pa.RecordBatch]:
    yield from pa.table(columns).to_batches(max_chunksize=sizes)


def block(index: int, columns: dict[str, object], **options: object) -> Block:
    return Block(index, f"file-{index}", options.pop("first_row", 0), partial(batches, columns, 1000), **options)


def quarantine(output: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (output / "_quarantine.jsonl").read_text().splitlines()]


def test_rows_come_back_in_order_with_what_is_kept(models: Path, tmp_path: Path) -> None:
    blocks = [
        block(number, {"x": np.arange(5000.0) + number, "id": [f"{number}-{row}" for row in range(5000)]})
        for number in range(3)
    ]
    counts = score(half(models, keep=("id",)), blocks, tmp_path / "out")
    assert counts == Counts(scored=15_000, quarantined=0, shards=3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"part-0000{number}-of-00003.parquet" for number in range(3)
    ]
    table = pq.read_table(tmp_path / "out")
    assert table.schema.names == ["id", "y", "model_version"]
    assert table["id"].to_pylist() == [f"{number}-{row}" for number in range(3) for row in range(5000)]
    wanted = np.concatenate([(np.arange(5000.0) + number) / 2 + 2 for number in range(3)]).astype(np.float32)
    np.testing.assert_array_equal(table["y"].to_numpy(), wanted)
    assert set(table["model_version"].to_pylist()) == {7}
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing is left beside the output"


def test_missing_values_are_what_they_are_online(models: Path, tmp_path: Path) -> None:
    columns = {
        "name": pa.array(["Ada", None]),
        "age": pa.array([36, 7], pa.int16()),
        "height": pa.array([1.65, None]),
        "seen": pa.array([1_357_017_300_900, None], pa.timestamp("ms")),
    }
    score(Plan(str(models / "person" / "1"), 1, "serving_default"), [block(0, columns)], tmp_path / "out")
    answer = pq.read_table(tmp_path / "out")
    assert answer["name_is"].to_pylist() == [b"Ada", b""]
    assert answer["age_is"].to_pylist() == [36, 7]
    np.testing.assert_array_equal(answer["height_is"].to_numpy(), np.array([1.65, np.nan], np.float32))
    np.testing.assert_array_equal(answer["seen_is"].to_numpy(), [1_357_017_300, np.nan])


def test_bad_rows_go_to_the_quarantine(models: Path, tmp_path: Path) -> None:
    """Missing integers, found before the model; negative numbers, found by it."""
    ages = [1] * 4000
    ages[5] = ages[3999] = None
    columns = {"name": ["A"] * 4000, "age": ages, "height": [1.0] * 4000, "seen": [None] * 4000}
    plan = Plan(str(models / "person" / "1"), 1, "serving_default", keep=("age",))
    assert score(plan, [block(0, columns, first_row=100)], tmp_path / "people") == Counts(3998, 2, 1)
    assert pq.read_table(tmp_path / "people")["age"].null_count == 0
    [first, second] = quarantine(tmp_path / "people")
    assert (first["file"], first["row"], second["row"]) == ("file-0", 105, 4099)
    assert "feature 'age'" in first["reason"]
    assert "missing" in first["reason"]
    assert first["values"] == {"name": "A", "age": None, "height": 1.0, "seen": None}

    numbers = np.arange(1000.0)
    numbers[[0, 500]] = -1
    plan = Plan(str(models / "zoo" / "1"), 1, "fail")
    assert score(plan, [block(0, {"x": numbers})], tmp_path / "numbers") == Counts(998, 2, 1)
    assert [(row["row"], "x is negative" in row["reason"]) for row in quarantine(tmp_path / "numbers")] == [
        (0, True),
        (500, True),
    ]


def test_text_of_a_csv_file_is_read_as_numbers_and_times(models: Path, tmp_path: Path) -> None:
    columns = {
        "name": ["Ada", "", "NA", "x", "x"],
        "age": ["36", "7.0", "true", "many", "1"],
        "height": ["1.65", "NaN", "", "2", "1e99"],
        "seen": ["2013-01-01 05:15:00", "", "1357017300", "5", "5"],
    }
    plan = Plan(str(models / "person" / "1"), 1, "serving_default")
    assert score(plan, [block(0, columns, is_text=True)], tmp_path / "out").quarantined == 2
    answer = pq.read_table(tmp_path / "out")
    assert answer["name_is"].to_pylist() == [b"Ada", b"", b"NA"]
    assert answer["age_is"].to_pylist() == [36, 7, 1]
    np.testing.assert_array_equal(answer["height_is"].to_numpy(), np.array([1.65, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(answer["seen_is"].to_numpy(), [1_357_017_300, np.nan, 1_357_017_300])
    [many, large] = quarantine(tmp_path / "out")
    assert "'many'" in many["reason"]
    assert "beyond the range of float32" in large["reason"]


def test_examples_that_cannot_be_parsed(models: Path, tmp_path: Path) -> None:
    good = tf.train.Example()
    good.features.feature["x"].float_list.value.append(4.0)
    records = [good.SerializeToString(), b"\xff\xff\xff", good.SerializeToString()]
    plan = Plan(str(models / "half" / "1"), 1, "regress")
    counts = score(plan, [block(0, {"inputs": pa.array(records, pa.binary())})], tmp_path / "out")
    assert counts == Counts(2, 1, 1)
    assert pq.read_table(tmp_path / "out")["outputs"].to_pylist() == [4.0, 4.0]


def test_lists_as_outputs(models: Path, tmp_path: Path) -> None:
    plan = Plan(str(models / "zoo" / "1"), 1, "vectors")
    score(plan, [block(0, {"v": [[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]})], tmp_path / "out")
    answer = pq.read_table(tmp_path / "out")
    assert answer["doubled"].to_pylist() == [[2, 4, 6], [0, 0, 2]]


def fail(after: int) -> Iterator[pa.RecordBatch]:
    yield from batches({"x": np.arange(float(after))}, 1000)
    raise DataError("The file is damaged", where="file-1")


def test_a_failure_leaves_nothing_and_keeps_what_was_there(models: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    score(half(models), [block(0, {"x": [1.0]})], output)
    with pytest.raises(DataError, match="The file is damaged") as caught:
        score(half(models), [block(0, {"x": [2.0]}), Block(1, "file-1", 0, partial(fail, 2000))], output)
    assert caught.value.where == "file-1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert pq.read_table(output)["y"].to_pylist() == [2.5]
    score(half(models), [block(0, {"x": [2.0]})], output)
    assert pq.read_table(output)["y"].to_pylist() == [3.0]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("values", "told"), [([], "no row"), ([None, None], "2 rows that do not: row 0, feature 'x'")])
def test_nothing_to_score(models: Path, tmp_path: Path, values: list[object], told: str) -> None:
    plan = Plan(str(models / "zoo" / "1"), 1, "echo_int64")
    with pytest.raises(DataError, match=told):
        score(plan, [block(0, {"x": pa.array(values, pa.int64())})], tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_signature_is_read_without_the_model(models: Path) -> None:
    path = str(models / "person" / "1")
    signature = read_signature(path, "serving_default")
    loaded = SessionModel(path)
    assert {name: spec.dtype for name, spec in signature.inputs.items()} == {
        "name": "DT_STRING",
        "age": "DT_INT64",
        "height": "DT_FLOAT",
        "seen": "DT_DOUBLE",
    }
    assert set(signature.outputs) == set(loaded.signatures["serving_default"].outputs)
    loaded.close()
    with pytest.raises(DataError, match="no signature 'nix'"):
        read_signature(path, "nix")
    with pytest.raises(DataError, match="cannot be read"):
        read_signature(str(models / "nix"), "serving_default")


def test_a_model_in_an_object_store(models: Path, tmp_path: Path) -> None:
    path = str(remote(models / "half" / "1"))
    assert list(read_signature(path, "serving_default").inputs) == ["x"]
    score(Plan(path, 7, "serving_default"), [block(0, {"x": [1.0]})], tmp_path / "out")
    assert pq.read_table(tmp_path / "out")["y"].to_pylist() == [2.5]
