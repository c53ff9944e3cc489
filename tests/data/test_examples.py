"""Blocks of files become shards of tf.Examples: which rows, which columns, which split."""

import collections
import json
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from data.columns import read_columns
from data.config import DropConfig
from data.examples import (
    METRICS,
    ExamplesPlan,
    Shard,
    WriteExamples,
    count_of,
    dropped_of,
    error_of,
    quarantined_of,
    split_name,
)
from data.quarantine import MOST_WRITTEN, tell_first
from data.readers import Block, inspect
from schema.errors import DataError, HeadraceError

INT, FLOAT, BYTES = pa.int64(), pa.float32(), pa.binary()
SPLITS = ("train", "eval")


@pytest.fixture
def plan(tmp_path):
    """A plan into a folder of its own; what is not named is left at nothing."""

    def make(folder="out", *, types=None, exclude=(), drop=(), hash_buckets=None):
        for name in ("unfinished", "quarantine"):
            (tmp_path / folder / name).mkdir(parents=True)
        return ExamplesPlan(
            types=types or {},
            exclude=frozenset(exclude),
            drop=tuple(DropConfig(missing=name, reason="no label") for name in drop),
            split_uris={split: str(tmp_path / folder / f"Split-{split}") for split in SPLITS},
            hash_buckets=hash_buckets or {},
            label="late",
            quarantine=str(tmp_path / folder / "quarantine"),
            temporary=str(tmp_path / folder / "unfinished"),
        )

    return make


def dropped(name):
    return dropped_of(DropConfig(missing=name, reason="any"))


def shards_of(paths, splits=(None,), format_="parquet", types=None):
    """A shard for each block of the files; each file is of the split at its place."""
    blocks = []
    for path, split in zip(paths, splits, strict=True):
        info = inspect(path, format_, types)
        blocks += [(block, tuple(info.columns), split) for block in info.blocks]
    return [Shard(index, len(blocks), block, columns, split) for index, (block, columns, split) in enumerate(blocks)]


def write(plan, shards):
    """Runs the transform; returns its counters, of span 0."""
    return {name: number for (span, name), number in counted(plan, shards).items() if span == 0}


def counted(plan, shards):
    """Runs the transform; returns its counters by span and name."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create(shards, reshuffle=False) | beam.ParDo(WriteExamples(plan))
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(METRICS))["counters"]
    return {split_name(counter.key.metric.name): counter.committed for counter in counters}


def records(plan, split):
    """The serialized examples of each shard, by its name; its columns hold the same."""
    found = {}
    for path in sorted(Path(plan.split_uris[split]).glob("*")):
        found[path.name] = list(tf.data.TFRecordDataset(str(path), compression_type="GZIP").as_numpy_iterator())
        rows = [row for batch in read_columns(str(path)) for row in batch.to_pylist()]
        examples = ExamplesToRecordBatchDecoder().DecodeBatch(found[path.name]).to_pylist() if found[path.name] else []
        assert [{name: None if value is None else [value] for name, value in row.items()} for row in rows] == examples
    return found


def aside(plan):
    """The rows in each file of the quarantine."""
    return {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(Path(plan.quarantine).iterdir())
    }


def test_each_span_is_counted_by_itself(plan, write_parquet):
    paths = [write_parquet(f"{span}.parquet", {"n": [1.0] * span, "late": [0] * span}) for span in (1, 2)]
    shards = [replace(shard, span=span) for span, shard in enumerate(shards_of(paths, ["train", "train"]), start=7)]
    counters = counted(plan(types={"n": FLOAT}, drop=["late"]), shards)
    assert counters[7, count_of("train")] == 1
    assert counters[8, count_of("train")] == 2
    assert {span for span, _ in counters} == {7, 8}


@pytest.fixture
def examples(parse):
    """The parsed examples of a split, in the order of the shards."""
    return lambda plan, split: [parse(example) for shard in records(plan, split).values() for example in shard]


def test_blocks_become_shards_of_their_split_without_dropped_rows_and_excluded_columns(
    plan, write_parquet, parse, examples
):
    first = write_parquet(
        "span-1/part.parquet",
        {
            "n": [1, 2, 3, 4, 5, 6],
            "speed": [1.0, 2.0, float("nan"), None, 5.0, 6.0],
            "delay": [10, None, 30, 40, None, 60],
            "secret": ["x"] * 6,
            "late": [0, 1, 0, None, 1, None],
        },
    )
    second = write_parquet(
        "span-2/part.parquet",
        {"n": [7, 8], "speed": [7.5, 8.0], "delay": [70, 80], "secret": ["x"] * 2, "late": [1, None]},
    )
    written = plan(types={"n": FLOAT}, exclude=["secret", "delay"], drop=["late", "delay"])
    counters = write(written, shards_of([first, second], SPLITS))

    assert examples(written, "train") == [{"n": 1.0, "speed": 1.0, "late": 0}, {"n": 3.0, "late": 0}]
    assert examples(written, "eval") == [{"n": 7.0, "speed": 7.5, "late": 1}]
    # Row groups hold four rows: the first file is two shards, one of them without a row that is kept.
    assert {name: len(shard) for name, shard in records(written, "train").items()} == {
        "data_tfrecord-00000-of-00003.gz": 2,
        "data_tfrecord-00001-of-00003.gz": 0,
    }
    assert {name: len(shard) for name, shard in records(written, "eval").items()} == {
        "data_tfrecord-00002-of-00003.gz": 1
    }
    assert counters == {count_of("train"): 2, count_of("eval"): 1, dropped("late"): 3, dropped("delay"): 2}
    assert list(Path(written.temporary).iterdir()) == []
    assert error_of(written) is None


def test_missing_means_the_same_to_a_drop_rule_as_to_an_example(plan, write_parquet, examples):
    # A null, a NaN and an empty string would all be absent from the example, so all of them are dropped.
    path = write_parquet(
        "part.parquet",
        {"n": [1, 2, 3, 4], "score": [0.0, float("nan"), None, 4.0], "plane": ["N1", "N2", "N3", ""]},
    )
    written = plan(drop=["score", "plane"])
    counters = write(written, shards_of([path], ["train"]))
    assert examples(written, "train") == [{"n": 1, "score": 0.0, "plane": b"N1"}]
    assert counters[dropped("score")] == 2
    assert counters[dropped("plane")] == 1


def test_an_excluded_column_is_not_even_read(plan, write_parquet, examples):
    path = write_parquet("part.parquet", {"n": [1, 2], "secret": ["x" * 99, "y" * 99]}, compression="gzip")
    content = bytearray(Path(path).read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = chunk.dictionary_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    Path(path).write_bytes(content)
    written = plan(exclude=["secret"])
    write(written, shards_of([path], ["train"]))
    assert examples(written, "train") == [{"n": 1}, {"n": 2}]


def test_csv_is_written_like_parquet(plan, write_text, write_parquet, examples):
    csv = write_text("part.csv", "n,zip,speed,late\n1,01234,2,1\n2,,,0\n3,00007,1.5,\n")
    parquet = write_parquet(
        "part.parquet",
        {"n": [1, 2, 3], "zip": ["01234", "", "00007"], "speed": [2.0, None, 1.5], "late": [1.0, 0.0, None]},
    )
    types = {"n": INT, "zip": BYTES, "speed": FLOAT, "late": INT}
    from_csv, from_parquet = plan("csv", types=types, drop=["late"]), plan("parquet", types=types, drop=["late"])
    csv_counters = write(from_csv, shards_of([csv], ["eval"], "csv"))
    assert csv_counters == write(from_parquet, shards_of([parquet], ["eval"]))
    assert examples(from_csv, "eval") == examples(from_parquet, "eval")
    assert examples(from_csv, "eval") == [{"n": 1, "zip": b"01234", "speed": 2.0, "late": 1}, {"n": 2, "late": 0}]


class TestHashSplit:
    ROWS = 3000

    @pytest.fixture
    def shards(self, write_parquet):
        """Every row twice, in two row groups."""
        numbers = list(range(self.ROWS)) * 2
        columns = {"n": numbers} | {
            f"column_{column}": [(number * 7919 + column) % 1013 for number in numbers] for column in range(6)
        }
        return shards_of([write_parquet("part.parquet", columns, row_group_size=self.ROWS)])

    @pytest.fixture
    def run(self, plan, shards, parse):
        """The numbers of the rows in each split."""

        def run_into(folder, **buckets):
            written = plan(folder, hash_buckets=buckets)
            counters = write(written, shards)
            numbers = {
                split: [parse(example)["n"] for shard in records(written, split).values() for example in shard]
                for split in SPLITS
            }
            assert {split: counters[count_of(split)] for split in SPLITS} == {
                split: len(each) for split, each in numbers.items()
            }
            return numbers

        return run_into

    def test_every_row_is_in_a_split_near_its_share(self, run):
        numbers = run("out", train=8, eval=2)
        assert sorted(numbers["train"] + numbers["eval"]) == sorted(list(range(self.ROWS)) * 2)
        assert len(numbers["eval"]) / (2 * self.ROWS) == pytest.approx(0.2, abs=0.03)

    def test_the_same_row_is_in_the_same_split_in_every_run(self, run):
        first, second = run("first", train=8, eval=2), run("second", train=8, eval=2)
        assert collections.Counter(first["eval"]) == collections.Counter(second["eval"])

    def test_copies_of_a_row_are_in_one_split(self, run):
        numbers = run("out", train=1, eval=1)
        assert set(numbers["train"]) & set(numbers["eval"]) == set()


def test_each_block_leaves_a_shard_in_both_splits_of_a_hash_split(plan, write_parquet):
    path = write_parquet("part.parquet", {"n": list(range(8))})
    written = plan(hash_buckets={"train": 1, "eval": 1})
    write(written, shards_of([path]))
    names = ["data_tfrecord-00000-of-00002.gz", "data_tfrecord-00001-of-00002.gz"]
    assert list(records(written, "train")) == names
    assert list(records(written, "eval")) == names


class TestErrors:
    def test_a_damaged_block_leaves_its_error(self, plan, write_parquet):
        path = write_parquet("part.parquet", {"s": [f"{i}" * 99 for i in range(8)]}, compression="gzip")
        shards = shards_of([path], ["train"])
        content = bytearray(Path(path).read_bytes())
        content[10:80] = b"\xff" * 70
        Path(path).write_bytes(content)
        self.assert_left(plan(), shards, "cannot be read as parquet", path)

    def test_a_column_of_the_wrong_type_leaves_its_error(self, plan, write_parquet, write_text):
        """It is told once, and no row of it is put aside."""
        path = write_parquet("part.parquet", {"n": ["a", "b"]})
        self.assert_left(plan(types={"n": INT}), shards_of([path], ["train"]), "wrong type", path)
        path, made = write_text("part.csv", "n\na\nb\n"), plan("csv", types={"n": INT})
        self.assert_left(made, shards_of([path], ["train"], "csv", {"n": INT}), "wrong type", path)
        assert aside(made) == {}

    def test_a_file_that_vanished_leaves_its_error(self, plan, write_parquet):
        path = write_parquet("part.parquet", {"n": [1]})
        shards = shards_of([path], ["train"])
        Path(path).unlink()
        self.assert_left(plan(), shards, "vanished", path)

    def test_a_drop_rule_for_a_column_that_is_not_there_leaves_an_error(self, plan, write_parquet):
        path = write_parquet("part.parquet", {"n": [1, None]})
        self.assert_left(plan(drop=["late"]), shards_of([path], ["train"]), "'late'", path)

    @staticmethod
    def assert_left(plan, shards, told, path):
        with pytest.raises(Exception):  # noqa: B017, PT011 - Beam wraps it in what it likes
            write(plan, shards)
        error = error_of(plan)
        assert type(error) is DataError
        assert error.where == path
        assert told in str(error)
        assert all(not shard for split in SPLITS for shard in records(plan, split).values())

    def test_without_a_mistake_there_is_no_error(self, plan):
        assert error_of(plan()) is None

    def test_the_error_is_read_back_whole(self, plan):
        made = plan()
        error = DataError("It broke", where="here", expected="this", received="that", mend="Mend it.")
        Path(made.temporary, "error.json").write_text(error.to_json())
        assert isinstance(error_of(made), HeadraceError)
        assert str(error_of(made)) == str(error)


def test_a_retried_block_writes_its_shard_again_and_not_twice(plan, write_parquet, examples):
    path = write_parquet("part.parquet", {"n": [1, 2, 3]})
    written = plan()
    (shard,) = shards_of([path], ["train"])
    paths = [list(WriteExamples(written).process(shard)) for _ in range(2)]
    assert paths[0] == paths[1]
    assert [example["n"] for example in examples(written, "train")] == [1, 2, 3]


def test_a_block_is_named_in_full_by_the_paths_that_are_yielded(plan, write_parquet, tmp_path):
    path = write_parquet("part.parquet", {"n": [1]})
    shard = Shard(3, 12, Block(path, "parquet"), ("n",), "eval")
    assert list(WriteExamples(plan()).process(shard)) == [
        str(tmp_path / "out" / "Split-eval" / "data_tfrecord-00003-of-00012.gz")
    ]


def test_rows_without_a_label_are_told_not_trained_on(plan, write_parquet):
    path = write_parquet("part.parquet", {"n": [1, 2, 3], "late": [0, None, 1]})
    written = plan()
    with pytest.raises(Exception):  # noqa: B017, PT011 - Beam wraps it in what it likes
        write(written, shards_of([path], ["train"]))
    error = error_of(written)
    assert error.what == "1 rows of a batch of 3 have no label"
    assert "data.drop" in error.mend


class TestQuarantine:
    def test_rows_of_parquet_are_put_aside_with_their_number_and_values(self, plan, write_parquet, examples):
        path = write_parquet(
            "part.parquet",
            {
                "n": [1.0, 2.5, 3.0, 4.0, None, 6.0, 7.0, float("inf"), 2.0**63, float("nan")],
                "f": [1.0, 1.0, None, 1e300, 1.0, 1.0, 1.0, float("nan"), 1.0, float("-inf")],
                "late": [0, 1, 0, 1, 0, 1, None, 1, 0, 1],
            },
        )
        made = plan(types={"n": INT, "f": FLOAT, "late": INT}, drop=["late"])
        counters = write(made, shards_of([path], ["train"]))
        assert [(row.get("n"), row.get("f")) for row in examples(made, "train")] == [
            *((1, 1.0), (3, None), (None, 1.0), (6, 1.0)),
            (None, float("-inf")),
        ]
        files = aside(made)
        assert {name: [row["row"] for row in rows] for name, rows in files.items()} == {
            "train-00000-of-00003.jsonl": [1, 3],
            "train-00001-of-00003.jsonl": [7],
            "train-00002-of-00003.jsonl": [8],
        }
        assert files["train-00000-of-00003.jsonl"][0] == {
            "file": path,
            "row": 1,
            "column": "n",
            "reason": "not a whole number of 64 bits",
            "value": "2.5",
            "values": {"n": 2.5, "f": 1.0, "late": 1},
        }
        assert files["train-00001-of-00003.jsonl"][0]["values"] == {"n": "inf", "f": "nan", "late": 1}
        assert (counters[quarantined_of("train", "n")], counters[quarantined_of("train", "f")]) == (3, 1)
        assert counters[count_of("train")] == 5
        assert counters[dropped("late")] == 1

    def test_a_row_that_a_rule_leaves_out_is_not_looked_at(self, plan, write_parquet):
        path = write_parquet("part.parquet", {"n": [1.0, 2.5], "late": [1, None]})
        made = plan(types={"n": INT}, drop=["late"])
        assert write(made, shards_of([path], ["train"])) == {count_of("train"): 1, dropped("late"): 1}
        assert aside(made) == {}

    def test_lines_of_csv_are_put_aside_as_they_are(self, plan, write_text, examples):
        text = 'n,f,late\n1,1,0\nx,"2",1\n3,1e300,1\n4\n5,5,\n6,6,1\n'
        types = {"n": INT, "f": FLOAT, "late": INT}
        path, made = write_text("part.csv", text), plan(types=types, drop=["late"])
        counters = write(made, shards_of([path], ["eval"], "csv", types))
        assert [row["n"] for row in examples(made, "eval")] == [1, 6]
        (rows,) = aside(made).values()
        assert [(row["line"], row["column"], row["text"]) for row in rows] == [
            (3, "n", 'x,"2",1'),
            (4, "f", "3,1e300,1"),
            (5, None, "4"),
        ]
        assert {name: count for name, count in counters.items() if name.startswith("quarantined")} == {
            quarantined_of("eval", each): 1 for each in ("n", "f", "")
        }
        assert tell_first(made.quarantine, "eval", 1) == [f"{path}, line 3, column 'n': not a whole number: 'x'"]
        assert tell_first(made.quarantine, "train", 1) == []

    def test_a_hash_split_has_one_quarantine(self, plan, write_parquet):
        made = plan(types={"n": INT}, hash_buckets={"train": 1, "eval": 1})
        path = write_parquet("part.parquet", {"n": [1.0, 2.5, 3.0]})
        counters = write(made, shards_of([path]))
        assert counters[quarantined_of("all", "n")] == 1
        assert list(aside(made)) == ["all-00000-of-00001.jsonl"]

    def test_all_are_counted_but_not_all_are_written(self, plan, write_parquet):
        rows = 3 * MOST_WRITTEN
        path = write_parquet("part.parquet", {"n": [0.5] * rows, "s": ["x" * 9000] * rows}, row_group_size=rows)
        made = plan(types={"n": INT})
        assert write(made, shards_of([path], ["train"]))[quarantined_of("train", "n")] == rows
        ((written),) = aside(made).values()
        assert len(written) == MOST_WRITTEN
        assert Path(made.quarantine, *aside(made)).stat().st_size < 5_000_000

    def test_a_retried_block_writes_the_same_quarantine_again(self, plan, write_parquet):
        made = plan(types={"n": INT})
        (shard,) = shards_of([write_parquet("part.parquet", {"n": [1.0, 2.5]})], ["train"])
        first, second = ((list(WriteExamples(made).process(shard)), aside(made))[1] for _ in range(2))
        assert first == second
        assert list(Path(made.temporary).iterdir()) == []


def test_the_split_of_a_row_is_that_of_its_values_alone(plan, write_text, write_parquet, examples):
    """Not of the file's format, the order of columns or rows, the size of batches, or a column without a value."""
    rows = range(400)
    numbers, names = [number / 8 for number in rows], [f"name {number % 7}" for number in rows]
    csv = "".join(f"{name},{number:.4f},{row}\n" for row, number, name in zip(rows, numbers, names, strict=True))
    types = {"id": INT, "f": FLOAT, "s": BYTES}
    paths = {
        "csv": [write_text("part.csv", "s,f,id\n" + csv)],
        "parquet": [
            write_parquet("1.parquet", {"id": rows[200:], "f": numbers[200:], "s": names[200:], "gap": [None] * 200}),
            write_parquet("2.parquet", {"f": numbers[:200], "id": rows[:200], "s": names[:200]}, row_group_size=90),
        ],
    }
    found = []
    for format_, files in paths.items():
        made = plan(format_, types=types, hash_buckets={"train": 3, "eval": 1})
        write(made, shards_of(files, [None] * len(files), format_, types))
        found.append(sorted(row["id"] for row in examples(made, "eval")))
    assert found[0] == found[1]
    assert found[0][:6] == [0, 1, 5, 20, 21, 34]  # in every release, or rows would change sides
