"""What an architecture reads: the inputs by name, dense ones as one matrix, ids embedded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class ModelInput:
    """One model input: float32 of `shape` ([batch] if empty), or int64 ids [batch] below `id_count`."""

    name: str
    shape: tuple[int, ...] = ()
    id_count: int | None = None


def layers_of(inputs: list[ModelInput]) -> dict[str, keras.KerasTensor]:
    """The Keras inputs by name."""
    return {
        each.name: keras.Input(each.shape, name=each.name, dtype="float32" if each.id_count is None else "int64")
        for each in inputs
    }


def concatenate(
    inputs: list[ModelInput], layers: dict[str, keras.KerasTensor], dimension: Callable[[int], int]
) -> keras.KerasTensor:
    """All inputs side by side, float32 [batch, width]: numbers as they are, ids embedded.

    Args:
        inputs: The inputs, in the order of the columns.
        layers: Their Keras inputs.
        dimension: The width of an embedding, given the number of ids.
    """
    columns = []
    for each in inputs:
        layer = layers[each.name]
        if each.id_count is not None:
            embedding = keras.layers.Embedding(each.id_count, dimension(each.id_count), name=f"embed_{each.name}")
            columns.append(embedding(layer))
        else:
            columns.append(layer if each.shape else keras.ops.expand_dims(layer, 1))
    return keras.layers.Concatenate(name="columns")(columns) if len(columns) > 1 else columns[0]


def scalar(output: keras.KerasTensor) -> keras.KerasTensor:
    """[batch, 1] → [batch]."""
    return keras.layers.Flatten(name="output")(output)[:, 0]
