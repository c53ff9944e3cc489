"""Warm start: a model begins with the weights of an earlier one instead of random ones.

Each model leaves, beside its SavedModel, what a later one needs: `weights.npz` and `meaning.json`. Most weights are
copied by name. The rows of an embedding are copied by value: windows differ in their values and in their order, so
row 17 of one model may be another aircraft in the next. A value that is new keeps its random row.

Weights behind numbers are copied as they are. They belong to standardised numbers: after a change of unit, or of the
level of all prices, they fit the numbers standardised anew, and would not fit what an exact adjustment to the old mean
and variance makes of them.

It is all or nothing: a model of another architecture, or with other features, is not half copied.
"""

from __future__ import annotations

import io
import json
import zipfile

import keras
import numpy as np
import tensorflow_transform as tft
from absl import logging
from tensorflow_metadata.proto.v0 import schema_pb2

from models.config import LabelConfig, TrainingConfig
from models.features import Feature, Role
from schema.strict import Strict
from storage.places import Place, at

FOLDER = "warm_start"
"""Beside the SavedModel, in the Model artifact: what a later model starts from."""

RECORD = "warm_start.json"
"""What was decided and copied, in the model-run folder: a `WarmStart`."""

_WEIGHTS = "weights.npz"
_MEANING = "meaning.json"
_BY_SIZE = (Role.HASHED, Role.TEXT)
_BY_VALUE = (Role.CATEGORICAL, Role.VOCABULARY)


class _NotComparableError(Exception):
    """Why the weights of the base model do not fit."""


class Meaning(Strict):
    """What the weights of a model are about; weights of one meaning can be copied."""

    architecture: str
    label: LabelConfig
    features: tuple[str, ...]
    """Each feature in words, in the order of the model's columns."""
    values: dict[str, tuple[str, ...]]
    """By feature the values of its embedding's rows, from the second row to the last but one: the first is of a
    missing value, the last of an unknown one. Bytes are written as Latin-1."""


class Rows(Strict):
    """What became of the values of one embedding."""

    kept: int
    new: int
    gone: int


class WarmStart(Strict):
    """How a model started."""

    warm: bool
    reason: str
    epochs: int
    base_model: str | None = None
    weights: tuple[str, ...] = ()
    """The names of the weights that were copied."""
    rows: dict[str, Rows] = {}
    """By feature, for embeddings that were copied value by value."""

    def save(self, model_run: Place) -> None:
        """Writes the record into the model-run folder."""
        (model_run / RECORD).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def meaning_of(
    model: keras.Model, features: list[Feature], label: LabelConfig, transform: tft.TFTransformOutput
) -> Meaning:
    """What the weights of a model are about."""
    return Meaning(
        architecture=model.name,
        label=label,
        features=tuple(_in_words(feature) for feature in features),
        values={each.name: _values(each, transform) for each in features if each.role in _BY_VALUE},
    )


def leave(model: keras.Model, meaning: Meaning, saved_model: str) -> None:
    """Writes, beside a SavedModel, what a later model starts from. The same model makes the same bytes."""
    folder = at(saved_model).parent / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    weights = io.BytesIO()
    np.savez(weights, **{weight.path: weight.numpy() for weight in model.weights})
    (folder / _WEIGHTS).write_bytes(weights.getvalue())
    (folder / _MEANING).write_text(meaning.model_dump_json(), encoding="utf-8")


def begin(model: keras.Model, meaning: Meaning, training: TrainingConfig, base_model: str | None) -> WarmStart:
    """Gives a new model the weights of an earlier one, if that is wanted and they fit.

    Args:
        model: With its initial weights; changed if the start is warm, else as it was.
        meaning: What its weights are about.
        training: Whether a warm start is wanted, and for how many epochs either start is trained.
        base_model: The SavedModel of the earlier model; None if there is none.

    Returns:
        What was done. Nothing that is wrong with the base model is an error: the start is fresh, with that reason.
    """
    start = _begin(model, meaning, training, base_model)
    logging.info("%s start: %s", "Warm" if start.warm else "Fresh", start.reason)
    return start


def _begin(model: keras.Model, meaning: Meaning, training: TrainingConfig, base_model: str | None) -> WarmStart:
    if not training.warm_start:
        return WarmStart(warm=False, reason="training.warm_start is off", epochs=training.epochs)
    if base_model is None:
        return WarmStart(warm=False, reason="there is no earlier blessed model", epochs=training.epochs)
    try:
        base, weights = _load(at(base_model).parent / FOLDER)
        _require_same_meaning(base, meaning)
        rows = _move_rows(model, weights, base, meaning)
        _require_same_shapes(model, weights)
    except _NotComparableError as difference:
        return WarmStart(warm=False, reason=str(difference), epochs=training.epochs, base_model=base_model)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    return WarmStart(
        warm=True,
        reason="the base model has the same architecture and features",
        epochs=training.warm_epochs or training.epochs,
        base_model=base_model,
        weights=tuple(weight.path for weight in model.weights),
        rows=rows,
    )


def _load(folder: Place) -> tuple[Meaning, dict[str, np.ndarray]]:
    try:
        meaning = Meaning.model_validate_json((folder / _MEANING).read_bytes())
        with np.load(io.BytesIO((folder / _WEIGHTS).read_bytes()), allow_pickle=False) as arrays:
            return meaning, dict(arrays)
    except FileNotFoundError:
        raise _NotComparableError("the base model was made before models left their weights") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:  # a ValidationError is a ValueError
        raise _NotComparableError(f"the base model's weights cannot be read: {' '.join(str(error).split())}") from None


def _require_same_meaning(base: Meaning, meaning: Meaning) -> None:
    if base.architecture != meaning.architecture:
        raise _NotComparableError(f"the architecture changed: {base.architecture} → {meaning.architecture}")
    if base.label != meaning.label:
        raise _NotComparableError(
            f"the label changed: {base.label.name} ({base.label.task}) → {meaning.label.name} ({meaning.label.task})"
        )
    if base.features != meaning.features:
        gone = [f"-{each}" for each in base.features if each not in meaning.features]
        new = [f"+{each}" for each in meaning.features if each not in base.features]
        raise _NotComparableError(f"the features changed: {'; '.join(gone + new) or 'another order'}")


def _move_rows(model: keras.Model, weights: dict[str, np.ndarray], base: Meaning, meaning: Meaning) -> dict[str, Rows]:
    """Replaces the embeddings of the base model by those that a new model of this meaning starts with."""
    initial = {weight.path: weight.numpy() for weight in model.weights}
    rows = {}
    for name, values in meaning.values.items():
        path = f"embed_{name}/embeddings"  # as `models.architectures.inputs.concatenate` names it
        if path not in initial or path not in weights:
            raise _NotComparableError(f"{name} has no embedding of its own")
        before, after = weights[path], initial[path]
        if before.shape[1] != after.shape[1]:
            raise _NotComparableError(f"the embedding of {name} is {after.shape[1]} wide, not {before.shape[1]}")
        position = {value: row for row, value in enumerate(base.values[name], start=1)}
        sources = np.array([0, *(position.get(value, -1) for value in values), len(position) + 1])
        weights[path] = np.where(sources[:, np.newaxis] >= 0, before[sources], after)
        kept = int(np.count_nonzero(sources >= 0)) - 2
        rows[name] = Rows(kept=kept, new=len(values) - kept, gone=len(position) - kept)
    return rows


def _require_same_shapes(model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    found = {path: array.shape for path, array in weights.items()}
    for path in sorted(shapes.keys() | found.keys()):
        if shapes.get(path) != found.get(path):
            raise _NotComparableError(f"the shape of {path} changed: {found.get(path)} → {shapes.get(path)}")


def _in_words(feature: Feature) -> str:
    """All that the columns of a feature depend on, but the values that have rows of their own."""
    words = f"{feature.name}: {feature.role.value} {schema_pb2.FeatureType.Name(feature.type)}"
    if feature.role in _BY_SIZE:
        return f"{words}, {feature.size} buckets"
    return f"{words}, true is {json.dumps(feature.values)}" if feature.role is Role.BOOLEAN else words


def _values(feature: Feature, transform: tft.TFTransformOutput) -> tuple[str, ...]:
    if feature.role is Role.CATEGORICAL:
        return feature.values
    return tuple(value.decode("latin-1") for value in transform.vocabulary_by_name(feature.name))
