"""Blocks hold what the transformed examples hold, for training in the same order."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from models.batches import examples_dataset
from models.blocks import BLOCK_ROWS, Columns, as_blocks, blocks_path
from models.config import TrainingConfig


def test_a_record_has_no_more_rows_than_a_block():
    tensors = {
        "b": np.arange(2 * BLOCK_ROWS + 1, dtype=np.int64),
        "a": np.arange(2 * BLOCK_ROWS + 1, dtype=np.int64) * 2**40,
        "x": np.random.default_rng(0).normal(size=(2 * BLOCK_ROWS + 1, 3)).astype(np.float32),
    }
    spec = {
        "x": tf.io.FixedLenFeature([3], tf.float32),
        "b": tf.io.FixedLenFeature([], tf.int64),
        "a": tf.io.FixedLenFeature([], tf.int64),
    }
    columns = Columns(spec)
    read = [columns.read(tf.constant(record)) for record in as_blocks(tensors)]
    assert [len(floats) for floats, _ in read] == [BLOCK_ROWS, BLOCK_ROWS, 1]
    found, label = columns.inputs_and_label(*(tf.concat(parts, axis=0) for parts in zip(*read, strict=True)), label="b")
    np.testing.assert_array_equal(label, tensors["b"])
    assert found.keys() == {"a", "x"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, tensors[name])


@pytest.fixture(scope="module")
def with_blocks(analysis, transformed, tmp_path_factory):
    """The shards of transformed examples with their blocks; nobody can read the examples."""
    spec = analysis.transform.transformed_feature_spec()
    folder = tmp_path_factory.mktemp("with_blocks") / "Split-train"
    folder.mkdir()
    for shard in sorted(transformed[0].iterdir()):
        records = list(tf.data.TFRecordDataset(str(shard), "GZIP").as_numpy_iterator())
        tensors = {name: value.numpy() for name, value in tf.io.parse_example(records, spec).items()}
        path = folder / shard.name
        path.write_bytes(b"nobody reads this")
        tf.io.gfile.makedirs(blocks_path(str(path)).rpartition("/")[0])
        with tf.io.TFRecordWriter(blocks_path(str(path)), "GZIP") as writer:
            for record in as_blocks(tensors):
                writer.write(record)
    return folder


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "training", [{"newest_last": True}, {"newest_last": False}, {"epochs": 2}, {"epochs": 2, "cache_mib": 0}]
)
def test_batches_are_those_of_the_examples_in_the_same_order(analysis, transformed, with_blocks, training, shuffle):
    config = TrainingConfig(batch_size=7, seed=3, **training)

    def read(folder):
        dataset = examples_dataset([str(folder / "*")], analysis.transform, "late", config, shuffle=shuffle)
        return [batch for _ in range(config.epochs) for batch in dataset.as_numpy_iterator()]

    of_blocks, of_examples = read(with_blocks), read(transformed[0])
    assert len(of_blocks) == len(of_examples)
    for (inputs, label), (expected, expected_label) in zip(of_blocks, of_examples, strict=True):
        np.testing.assert_array_equal(label, expected_label)
        assert inputs.keys() == expected.keys()
        for name, values in inputs.items():
            np.testing.assert_array_equal(values, expected[name])


def test_if_one_shard_has_none_the_examples_are_read(analysis, with_blocks, tmp_path):
    shutil.copytree(with_blocks.parent, tmp_path / "some")
    first, *_ = sorted((tmp_path / "some" / "blocks" / "Split-train").iterdir())
    first.unlink()
    patterns = [str(tmp_path / "some" / "Split-train" / "*")]
    dataset = examples_dataset(patterns, analysis.transform, "late", TrainingConfig(), shuffle=False)
    with pytest.raises(tf.errors.DataLossError):
        next(iter(dataset))
