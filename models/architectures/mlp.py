"""MLP: embedded categories and numbers through dense layers."""

from __future__ import annotations

import math

import keras

from models.architectures.dropout import Dropout
from models.architectures.inputs import ModelInput, concatenate, layers_of, scalar
from models.config import MlpConfig


def build(config: MlpConfig, inputs: list[ModelInput]) -> keras.Model:
    """See `models.architectures.build`."""
    layers = layers_of(inputs)
    hidden = concatenate(
        inputs, layers, dimension=lambda count: min(config.embedding_dimension, math.ceil(math.sqrt(count)))
    )
    for index, units in enumerate(config.units):
        hidden = keras.layers.Dense(units, activation="relu", name=f"hidden_{index}")(hidden)
        hidden = Dropout(config.dropout, name=f"dropout_{index}")(hidden)
    return keras.Model(layers, scalar(keras.layers.Dense(1, name="logit")(hidden)), name="mlp")
