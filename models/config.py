"""The `label:`, `features:`, `model:` and `training:` sections of a pipeline's YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from schema.strict import Strict

Name = Annotated[str, Field(min_length=1)]
Reason = Annotated[str, Field(min_length=1)]


class LabelConfig(Strict):
    """What is learned."""

    name: Name
    task: Literal["binary", "regression"] = "binary"


class FeaturesConfig(Strict):
    """Which columns are features, and what the schema's types alone do not say about them."""

    exclude: dict[Name, Reason] = {}
    """Columns that must not reach the model, each with its reason."""
    hashed: dict[Name, PositiveInt] = {}
    """Features with too many values to list: hashed to this many buckets."""
    vocabulary_size: PositiveInt = 10_000
    """The most frequent values kept of a feature whose vocabulary is learned."""
    text_buckets: PositiveInt = 256
    """Buckets of the hashed bag of words of a text feature."""


class LinearConfig(Strict):
    """Logistic or linear regression over all features: the baseline that every other architecture must beat."""

    architecture: Literal["linear"]


class MlpConfig(Strict):
    """A multi-layer perceptron over standardised numbers and embedded categories."""

    architecture: Literal["mlp"]
    units: tuple[PositiveInt, ...] = (256, 128)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    embedding_dimension: PositiveInt = 16
    """The widest embedding; a feature with few values gets a narrower one."""


ModelConfig = Annotated[LinearConfig | MlpConfig, Field(discriminator="architecture")]


class TrainingConfig(Strict):
    """How the model is fitted."""

    epochs: PositiveInt = 3
    warm_start: bool = False
    """Start with the weights of the last blessed model of an earlier window, if architecture and features are the
    same (`models.warm_start`), else afresh. It can help only where training stops before it has converged. Where a
    fresh model converges in an epoch, as on the flights (`benchmarks/warm_start.py`), it is more of the same
    training, and overfits earlier: measure before turning it on."""
    warm_epochs: PositiveInt | None = None
    """The epochs after a warm start; None for as many as after a fresh one."""
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    seed: NonNegativeInt = 1
    """Seeds the initial weights and the order of the examples."""
    newest_last: bool = True
    """Reads the files oldest first, so that training ends with the newest examples, among `shuffle_rows` others. What
    is asked of a model is the time to come: on the flights this is worth 0.01 of AUC. False reads all files in turn, as
    is done with data without time (`data.split`), whose files may lie in any order."""
    shuffle_rows: PositiveInt = 60_000
    """The rows among which the next one is drawn. Up to four times as many are in memory for it."""
    cache_mib: NonNegativeInt = 256
    """Memory for examples that more than one epoch reads: those that fit are parsed once."""
