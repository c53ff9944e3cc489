"""What an architecture reads: the inputs by name, dense ones as one matrix, ids embedded."""

from __future__ import annotations

import itertools
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
    for is_number, group in itertools.groupby(inputs, lambda each: each.id_count is None and not each.shape):
        if is_number:  # one operation for all that lie beside each other
            columns.append(keras.ops.stack([layers[each.name] for each in group], axis=1))
        else:
            columns += [_vector(each, layers[each.name], dimension) for each in group]
    return keras.layers.Concatenate(name="columns")(columns) if len(columns) > 1 else columns[0]


def _vector(each: ModelInput, layer: keras.KerasTensor, dimension: Callable[[int], int]) -> keras.KerasTensor:
    if each.id_count is None:
        return layer
    return keras.layers.Embedding(each.id_count, dimension(each.id_count), name=f"embed_{each.name}")(layer)


def scalar(output: keras.KerasTensor) -> keras.KerasTensor:
    """[batch, 1] → [batch]."""
    return keras.layers.Flatten(name="output")(output)[:, 0]
