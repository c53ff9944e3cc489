import numpy as np
import pytest
import tensorflow as tf

from data.dense_examples import encode_dense

INT64 = np.iinfo(np.int64)
TENSORS = {
    "ids": np.array([0, 1, 127, 128, 300, 2**21], np.int64),
    "any integer": np.array([INT64.min, -1, 0, 1, 2**62, INT64.max], np.int64),
    "zeros": np.zeros(6, np.int64),
    "números": np.array([0.0, -1.5, np.inf, np.nan, 3e38, 1e-40], np.float32),
    "wide": np.arange(6 * 200, dtype=np.float32).reshape(6, 200),
    "pairs": np.arange(12).reshape(6, 2),
}


def test_examples_parse_to_the_tensors():
    examples = encode_dense(TENSORS)
    spec = {name: tf.io.FixedLenFeature(each.shape[1:], each.dtype) for name, each in TENSORS.items()}
    parsed = tf.io.parse_example(examples, spec)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(parsed[name].numpy(), tensor)


def test_examples_are_what_protobuf_reads():
    for row, serialized in enumerate(encode_dense(TENSORS)):
        features = tf.train.Example.FromString(serialized).features.feature
        assert set(features) == set(TENSORS)
        for name, tensor in TENSORS.items():
            kind = "float_list" if tensor.dtype == np.float32 else "int64_list"
            np.testing.assert_array_equal(getattr(features[name], kind).value, np.ravel(tensor[row]))


def test_columns_may_lie_in_memory_as_they_like():
    matrix = np.arange(20, dtype=np.float32).reshape(2, 10).T
    parsed = tf.io.parse_example(encode_dense({"x": matrix[::2]}), {"x": tf.io.FixedLenFeature([2], tf.float32)})
    np.testing.assert_array_equal(parsed["x"], matrix[::2])


def test_a_batch_may_be_large():
    tensors = {"x": np.arange(2500, dtype=np.float32), "ids": np.arange(5000).reshape(2500, 2)}
    spec = {"x": tf.io.FixedLenFeature([], tf.float32), "ids": tf.io.FixedLenFeature([2], tf.int64)}
    parsed = tf.io.parse_example(encode_dense(tensors), spec)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(parsed[name], tensor)


def test_a_batch_may_be_empty():
    assert encode_dense({"x": np.zeros(0, np.float32), "y": np.zeros((0, 3), np.int64)}) == []


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError, match="name is of dtype object, expected float32 or int64"):
        encode_dense({"name": np.array([b"a"], object)})
