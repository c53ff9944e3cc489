"""Architectures: one file each, from described inputs to a Keras model that returns one logit (or one value).

To add one: a configuration type in `models.config`, a file here with `build`, a line in `_BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from models.architectures import linear, mlp
from models.architectures.inputs import ModelInput
from models.config import LinearConfig, MlpConfig, ModelConfig

_BUILDERS: dict[type, Callable[[Any, list[ModelInput]], keras.Model]] = {
    LinearConfig: linear.build,
    MlpConfig: mlp.build,
}


def build(config: ModelConfig, inputs: list[ModelInput]) -> keras.Model:
    """Builds the configured architecture.

    Args:
        config: The architecture and its sizes.
        inputs: What the model reads, see `ModelInput`.

    Returns:
        A functional model: a dict of inputs by name → float32 [batch], a logit for a binary task, else the value.
    """
    return _BUILDERS[type(config)](config, inputs)
