"""Examples are written in shards of bounded size."""

import tensorflow as tf

from data import shards
from data.shards import ShardWriter


def read(path):
    return list(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator())


def written(folder, examples):
    with ShardWriter(str(folder), str(folder / "split" / "data-00000-of-00001")) as writer:
        for start in range(0, len(examples), 7):
            writer.write(examples[start : start + 7])
    return writer.publish()


def test_few_examples_are_one_shard(tmp_path):
    examples = [b"one", b"two"]
    [path] = written(tmp_path, examples)
    assert path.endswith("split/data-00000-of-00001.gz")
    assert read(path) == examples


def test_many_are_several_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    examples = [f"example {number:02d}".encode() for number in range(40)]
    paths = written(tmp_path, examples)
    assert len(paths) == 4
    assert sorted(paths) == paths
    assert [example for path in paths for example in read(path)] == examples


def test_no_example_is_an_empty_shard(tmp_path):
    [path] = written(tmp_path, [])
    assert read(path) == []


def test_nothing_has_its_name_before_all_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    with ShardWriter(str(tmp_path), str(tmp_path / "split" / "data")) as writer:
        writer.write([b"one", b"two"])
        assert not (tmp_path / "split").exists()
    writer.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["split"]
