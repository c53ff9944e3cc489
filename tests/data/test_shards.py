"""Examples are written in shards of bounded size, each with its columns."""

import pyarrow as pa
import tensorflow as tf

from data import shards
from data.columns import read_columns
from data.shards import ShardWriter


def read(path):
    return list(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator())


def columns(examples):
    return pa.RecordBatch.from_arrays([pa.array(examples, pa.binary())], ["text"])


def columns_of(path):
    return [text for batch in read_columns(path) for text in batch.column(0).to_pylist()]


def written(folder, examples):
    with ShardWriter(str(folder), str(folder / "split" / "data-00000-of-00001")) as writer:
        for start in range(0, len(examples), 7):
            chosen = examples[start : start + 7]
            writer.write(chosen, columns(chosen))
    return writer.publish()


def test_few_examples_are_one_shard(tmp_path):
    examples = [b"one", b"two"]
    [path] = written(tmp_path, examples)
    assert path.endswith("split/data-00000-of-00001.gz")
    assert read(path) == columns_of(path) == examples


def test_many_are_several_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    examples = [f"example {number:02d}".encode() for number in range(40)]
    paths = written(tmp_path, examples)
    assert len(paths) == 4
    assert sorted(paths) == paths
    assert [example for path in paths for example in read(path)] == examples
    assert [columns_of(path) for path in paths] == [read(path) for path in paths]


def test_no_example_is_an_empty_shard(tmp_path):
    [path] = written(tmp_path, [])
    assert read(path) == columns_of(path) == []


def test_nothing_has_its_name_before_all_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    with ShardWriter(str(tmp_path), str(tmp_path / "split" / "data")) as writer:
        writer.write([b"one", b"two"], columns([b"one", b"two"]))
        assert not (tmp_path / "split").exists()
    writer.publish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["columns", "split"]
