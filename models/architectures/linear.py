"""Linear: a weight for each number and for each value of each category."""

from __future__ import annotations

import keras

from models.architectures.inputs import ModelInput, concatenate, layers_of, scalar
from models.config import LinearConfig


def build(config: LinearConfig, inputs: list[ModelInput]) -> keras.Model:
    """See `models.architectures.build`."""
    del config  # has no sizes
    layers = layers_of(inputs)
    columns = concatenate(inputs, layers, dimension=lambda count: 1)
    return keras.Model(layers, scalar(keras.layers.Dense(1, name="weights")(columns)), name="linear")
