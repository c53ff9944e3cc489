"""Stock TFX's preprocessing, as its taxi template writes it: an analyzer for each feature.

It gives the model inputs of `models.preprocessing`, by the same names, so that both pipelines train the same model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from models.features import Feature, Role
from models.preprocessing import MISSING_SUFFIX

_DAY = 86_400

Tensors = dict[str, tf.Tensor]


def preprocessing_fn(inputs: dict[str, tf.SparseTensor], custom_config: dict[str, Any]) -> Tensors:
    """The function that TFX's Transform component calls.

    Args:
        inputs: Raw features by name, sparse [batch, 1].
        custom_config: `features`, as `Feature.to_json`; `label`, its name.

    Returns:
        Model inputs by name, and the label as float32 [batch].
    """
    outputs: Tensors = {}
    for feature in map(Feature.from_json, custom_config["features"]):
        name, values = feature.name, _fill_in_missing(inputs[feature.name])
        if feature.role is Role.NUMERIC:
            outputs[name] = tft.scale_to_z_score(values)
            outputs[name + MISSING_SUFFIX] = _missing(inputs[name])
        elif feature.role in (Role.CATEGORICAL, Role.VOCABULARY):
            outputs[name] = tft.compute_and_apply_vocabulary(
                values, top_k=feature.size or None, num_oov_buckets=1, vocab_filename=name
            )
        elif feature.role is Role.HASHED:
            outputs[name] = tft.hash_strings(tf.strings.as_string(values), feature.size)
        elif feature.role is Role.TIME:
            outputs[name] = _time(values)
            outputs[name + MISSING_SUFFIX] = _missing(inputs[name])
        else:
            raise ValueError(f"the flights have no {feature.role.value} feature, and {name} is one")
    label = custom_config["label"]
    outputs[label] = tf.cast(_fill_in_missing(inputs[label]), tf.float32)
    return outputs


def id_count(feature: Feature, transform: tft.TFTransformOutput) -> int | None:
    """How many ids a feature has; None for a feature that is not an id."""
    if feature.role in (Role.CATEGORICAL, Role.VOCABULARY):
        return int(transform.vocabulary_size_by_name(feature.name)) + 1
    return feature.size if feature.role is Role.HASHED else None


def _fill_in_missing(column: tf.SparseTensor) -> tf.Tensor:
    default = "" if column.dtype == tf.string else 0
    return tf.squeeze(tf.sparse.to_dense(_one_wide(column, column.values), default), axis=1)


def _missing(column: tf.SparseTensor) -> tf.Tensor:
    return 1.0 - tf.squeeze(tf.sparse.to_dense(_one_wide(column, tf.ones_like(column.values, tf.float32))), axis=1)


def _one_wide(column: tf.SparseTensor, values: tf.Tensor) -> tf.SparseTensor:
    return tf.SparseTensor(column.indices, values, [column.dense_shape[0], 1])


def _time(values: tf.Tensor) -> tf.Tensor:
    """As `models.preprocessing` has it: sine and cosine of the time of day, and the day of the week."""
    angle = tf.cast(values % _DAY, tf.float32) * (2.0 * np.pi / _DAY)
    cycles = tf.stack([tf.sin(angle), tf.cos(angle), tf.sin(2 * angle), tf.cos(2 * angle)], axis=1)
    return tf.concat([cycles, tf.one_hot((values // _DAY + 3) % 7, 7)], axis=1)
