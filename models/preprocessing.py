"""Raw features → model inputs, as one TFT graph for training and serving.

Each feature becomes a dense tensor of the same name. Where a value is missing (absent, NaN or an empty string: all
mean the same) a number is its mean and a flag says so; an id is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature, Role
from models.vocabularies import vocabulary_files

MISSING_SUFFIX = "_missing"
"""A numeric, boolean or time feature `x` has a companion `x_missing`: 1.0 where the value is missing."""

MISSING_ID = 0
"""The id of a missing value; the ids of values start at 1."""

TIME_WIDTH = 11
"""Sine and cosine of the time of day at one and two cycles a day, and a one-hot day of the week."""

_WIDEST_Z = 10.0
_DAY = 86_400
_MONDAY_OFFSET = 3  # 1970-01-01 was a Thursday

Tensors = dict[str, tf.Tensor]


def preprocessing_fn(inputs: dict[str, tf.Tensor | tf.SparseTensor], custom_config: dict[str, Any]) -> Tensors:
    """The function that TFX's Transform component calls.

    Args:
        inputs: Raw features by name; sparse [batch, 1] (or dense, for a feature with a shape in the schema).
        custom_config: `features`, as `Feature.to_json`; `label`, its name.

    Returns:
        Model inputs by name, see `input_shapes`; the label as float32 [batch].
    """
    features = [Feature.from_json(raw) for raw in custom_config["features"]]
    label = custom_config["label"]
    dense = _dense({feature.name: inputs[feature.name] for feature in features})
    outputs = _standardized([(each, *dense[each.name]) for each in features if each.role is Role.NUMERIC])
    outputs |= _looked_up([(each, *dense[each.name]) for each in features if each.role is Role.VOCABULARY])
    for feature in features:
        if feature.role in _TRANSFORMS:
            outputs |= _TRANSFORMS[feature.role](feature, *dense[feature.name])
    # By itself, since TFT drops what depends on an input that is not given, and a request carries no label.
    values, _ = _dense({label: inputs[label]})[label]
    outputs[label] = tf.cast(values, tf.float32)
    return outputs


def input_shapes(feature: Feature) -> dict[str, tuple[int, ...]]:
    """The names and shapes, without the batch, of a feature's model inputs. Ids are int64, all else float32."""
    if feature.role in (Role.CATEGORICAL, Role.VOCABULARY, Role.HASHED):
        return {feature.name: ()}
    if feature.role is Role.TEXT:
        return {feature.name: (feature.size,)}
    shape = (TIME_WIDTH,) if feature.role is Role.TIME else ()
    return {feature.name: shape, feature.name + MISSING_SUFFIX: ()}


def id_count(feature: Feature, transform: tft.TFTransformOutput) -> int | None:
    """How many ids a feature has, counting missing and unknown; None for a feature that is not an id."""
    if feature.role is Role.CATEGORICAL:
        return len(feature.values) + 2
    if feature.role is Role.VOCABULARY:
        return int(transform.vocabulary_size_by_name(feature.name)) + 2
    if feature.role is Role.HASHED:
        return feature.size + 1
    return None


def _dense(inputs: dict[str, tf.Tensor | tf.SparseTensor]) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    """By name the values, [batch], with zero or "" where missing; and which are there, bool [batch].

    Features of a kind are rows of one matrix: a small request costs what its ops cost to start, so their number must
    not grow with the number of features.
    """
    kinds = defaultdict(list)
    for name, raw in inputs.items():
        kinds[raw.dtype, isinstance(raw, tf.SparseTensor)].append(name)
    dense: dict[str, tuple[tf.Tensor, tf.Tensor]] = {}
    for (dtype, is_sparse), names in kinds.items():
        columns = [inputs[name] for name in names]
        values, there = _first_values(columns) if is_sparse else _fixed_values(columns)
        if dtype.is_floating:
            there &= ~tf.math.is_nan(values)
            values = tf.where(there, values, tf.zeros_like(values))
        elif dtype == tf.string:
            there &= values != ""
        dense.update(zip(names, zip(tf.unstack(values), tf.unstack(there), strict=True), strict=True))
    return dense


def _fixed_values(columns: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """The values of dense features of one dtype, as the rows of a matrix; and which are there: all."""
    values = tf.stack([tf.reshape(column, [-1]) for column in columns])
    return values, tf.ones_like(values, tf.bool)


def _first_values(columns: list[tf.SparseTensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Each example's first value of sparse features of one dtype, as the rows of a matrix; and which are there."""
    # As wide as the widest, and 0 wide if no example has any value.
    shape = tf.reduce_max(tf.stack([column.dense_shape for column in columns]), axis=0)
    below = tf.sparse.concat(0, [tf.SparseTensor(column.indices, column.values, shape) for column in columns])
    size = [len(columns) * shape[0], 1]
    first = tf.sparse.slice(below, [0, 0], size)

    def matrix(values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.sparse.to_dense(tf.SparseTensor(first.indices, values, size)), [len(columns), -1])

    return matrix(first.values), matrix(tf.ones_like(first.values, tf.bool))


def _flag(there: tf.Tensor) -> tf.Tensor:
    return 1.0 - tf.cast(there, tf.float32)


def _standardized(numbers: list[tuple[Feature, tf.Tensor, tf.Tensor]]) -> Tensors:
    """All numeric features: zero mean and unit variance over the values that are there.

    They are analyzed as the columns of one matrix: each analyzer is a set of Beam stages, so their number must not grow
    with the number of features. NaN stands for what is missing, which TFT's moments leave out; of a sparse matrix
    TensorFlow sums the columns ten times more slowly.
    """
    if not numbers:
        return {}
    values = tf.stack([tf.cast(values, tf.float32) for _, values, _ in numbers], axis=1)
    there = tf.stack([there for _, _, there in numbers], axis=1)
    seen = tf.where(there, values, np.nan)
    mean, variance = tft.mean(seen, reduce_instance_dims=False), tft.var(seen, reduce_instance_dims=False)
    scale = tf.where(variance > 0, tf.math.rsqrt(variance), tf.zeros_like(variance))
    standard = tf.clip_by_value((values - mean) * scale, -_WIDEST_Z, _WIDEST_Z)
    means_something = there & (variance > 0)
    standard = tf.where(means_something, standard, tf.zeros_like(standard))
    names = [feature.name for feature, _, _ in numbers]
    flags = [name + MISSING_SUFFIX for name in names]
    return dict(zip(names + flags, tf.unstack(standard, axis=1) + tf.unstack(_flag(there), axis=1), strict=True))


def _looked_up(columns: list[tuple[Feature, tf.Tensor, tf.Tensor]]) -> Tensors:
    """All features with a learned vocabulary: they too share an analyzer."""
    if not columns:
        return {}
    features, values, there = zip(*columns, strict=True)
    texts = [_text_of(each) for each in values]
    files = vocabulary_files(features, tf.stack(texts), tf.stack(there))
    ids = [tft.apply_vocabulary(text, file, num_oov_buckets=1) for text, file in zip(texts, files, strict=True)]
    return {feature.name: _id(each + 1, known) for feature, each, known in zip(features, ids, there, strict=True)}


def _boolean(feature: Feature, values: tf.Tensor, there: tf.Tensor) -> Tensors:
    is_true = values == feature.values[0] if feature.type == schema_pb2.BYTES else values != 0
    return {feature.name: tf.cast(is_true & there, tf.float32), feature.name + MISSING_SUFFIX: _flag(there)}


def _categorical(feature: Feature, values: tf.Tensor, there: tf.Tensor) -> Tensors:
    with tf.init_scope():
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                np.array(feature.values, object), np.arange(1, len(feature.values) + 1)
            ),
            default_value=len(feature.values) + 1,
        )
    return {feature.name: _id(table.lookup(values), there)}


def _hashed(feature: Feature, values: tf.Tensor, there: tf.Tensor) -> Tensors:
    buckets = tf.strings.to_hash_bucket_fast(_text_of(values), feature.size)
    return {feature.name: _id(buckets + 1, there)}


def _time(feature: Feature, values: tf.Tensor, there: tf.Tensor) -> Tensors:
    angle = tf.cast(values % _DAY, tf.float32) * (2.0 * np.pi / _DAY)
    weekday = tf.one_hot((values // _DAY + _MONDAY_OFFSET) % 7, 7)
    cycles = tf.stack([tf.sin(angle), tf.cos(angle), tf.sin(2 * angle), tf.cos(2 * angle)], axis=1)
    columns = tf.concat([cycles, weekday], axis=1) * tf.cast(there, tf.float32)[:, tf.newaxis]
    return {feature.name: columns, feature.name + MISSING_SUFFIX: _flag(there)}


def _text(feature: Feature, values: tf.Tensor, there: tf.Tensor) -> Tensors:
    words = tf.strings.split(tf.strings.regex_replace(tf.strings.lower(values, encoding="utf-8"), r"[^\pL\pN]+", " "))
    buckets = tf.strings.to_hash_bucket_fast(words.flat_values, feature.size)
    counts = tf.math.unsorted_segment_sum(
        tf.one_hot(buckets, feature.size), words.value_rowids(), tf.size(values, words.value_rowids().dtype)
    )
    bag = tf.math.l2_normalize(tf.ensure_shape(counts, [None, feature.size]), axis=1)
    return {feature.name: bag * tf.cast(there, tf.float32)[:, tf.newaxis]}


def _text_of(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _id(ids: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    return tf.where(there, ids, tf.constant(MISSING_ID, tf.int64))


_TRANSFORMS: dict[Role, Callable[[Feature, tf.Tensor, tf.Tensor], Tensors]] = {
    Role.BOOLEAN: _boolean,
    Role.CATEGORICAL: _categorical,
    Role.HASHED: _hashed,
    Role.TIME: _time,
    Role.TEXT: _text,
}
