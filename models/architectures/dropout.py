"""Dropout from random bytes: Keras's own draws a float for each number, which takes a third of a small model's step."""

from __future__ import annotations

import keras
import tensorflow as tf

_VALUES = 256
_BYTES = 4


@keras.saving.register_keras_serializable("headrace")
class Dropout(keras.layers.Dropout):
    """Sets numbers to zero in training and scales the others up, so that the sum is expected to stay the same.

    What is random is a byte for each number, so the rate is rounded to a 256th (and is less than 1). Source: Srivastava
    et al., 2014, https://jmlr.org/papers/v15/srivastava14a.html.

    Args:
        rate: The share of numbers, from 0 to 1.
        seed: See `keras.layers.Dropout`, whose `noise_shape` is not known here.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[batch, width] → the same."""
        dropped = min(round(self.rate * _VALUES), _VALUES - 1)
        if not training or not dropped:
            return inputs
        width = inputs.shape[1]
        words = tf.random.stateless_uniform(
            [tf.shape(inputs)[0], -(-width // _BYTES)],
            tf.cast(self.seed_generator.next(), tf.int32),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
        )
        random = tf.reshape(tf.bitcast(words, tf.uint8), [-1, words.shape[1] * _BYTES])[:, :width]
        return inputs * (tf.cast(random >= dropped, inputs.dtype) * (_VALUES / (_VALUES - dropped)))
