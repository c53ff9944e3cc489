"""Asks a model about the examples of its own window: how it answers, how good it is, and what its answers rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.utils.shared import Shared

from data.records import read_records
from models.features import Feature
from models.signatures import SERVE_EXAMPLES, output_name
from monitoring.bins import number_bins
from monitoring.examples import ExampleRows
from monitoring.neighbours import ExamplesFile
from monitoring.profile import Profile
from monitoring.reference import PREDICTIONS, Reference
from monitoring.slicing import QualityBySlice, add_quality, loss_of, quality_by_slice
from serving.session_model import SessionModel
from storage.places import at

_SCORED_OF_BLOCK = 64
_PERMUTED_ROWS = 4000
_RAW = "serving_default"

Task = Literal["binary", "regression"]


@dataclass(frozen=True)
class ScoringPlan:
    """How a file is scored."""

    model_path: str
    """Of the SavedModel, at a place that workers see."""
    task: Task
    label: str
    features: tuple[Feature, ...]
    """The watched ones, with the label."""
    slices: tuple[str, ...]
    block_rows: int
    sampled_share: float
    """Of the evaluation examples, to measure importances on."""
    shared: Shared = field(default_factory=Shared, compare=False)

    def model(self) -> SessionModel:
        """The model, which all steps in a process share; Beam frees it."""
        model: SessionModel = self.shared.acquire(lambda: SessionModel.load(at(self.model_path)))
        return model


@dataclass(frozen=True)
class Scored:
    """What one file's examples were answered, or those of neighbours added up."""

    file: ExamplesFile
    """The first of them."""
    scores: np.ndarray
    """Of some rows of each block, float64 [blocks, _SCORED_OF_BLOCK]; NaN where a block has fewer."""
    ranks: np.ndarray
    """Of the scores, random and of the same shape; if blocks that are added have too many, the lowest stay."""
    quality: QualityBySlice
    """Of evaluation examples only."""
    examples: list[tuple[int, bytes]]
    """Some of the evaluation examples, each with the index of its file."""

    def __add__(self, other: Scored) -> Scored:
        quality: QualityBySlice = {}
        add_quality(quality, self.quality)
        add_quality(quality, other.quality)
        longer, shorter = (self, other) if len(self.scores) >= len(other.scores) else (other, self)
        missing = ((0, len(longer.scores) - len(shorter.scores)), (0, 0))
        scores = np.hstack([longer.scores, np.pad(shorter.scores, missing, constant_values=np.nan)])
        ranks = np.hstack([longer.ranks, np.pad(shorter.ranks, missing, constant_values=np.inf)])
        lowest = np.argsort(ranks, axis=1)[:, :_SCORED_OF_BLOCK]
        return Scored(
            min(self.file, other.file, key=lambda file: file.index),
            np.take_along_axis(scores, lowest, axis=1),
            np.take_along_axis(ranks, lowest, axis=1),
            quality,
            self.examples + other.examples,
        )


class ScoreExamples(beam.DoFn):
    """ExamplesFile → Scored, with the model in a Session, as it is served."""

    def __init__(self, plan: ScoringPlan) -> None:
        self._plan = plan

    def setup(self) -> None:
        """Loads the model, unless its process has it already."""
        self._model = self._plan.model()
        self._rows = ExampleRows(self._plan.features)

    def process(self, file: ExamplesFile) -> Iterator[Scored]:
        """Scores one file."""
        scores = _BlockSample(self._plan.block_rows)
        quality: QualityBySlice = {}
        kept = self._evaluate(file, scores, quality) if file.is_eval else self._sample(file, scores)
        found = scores.blocks()
        ranks = np.where(np.isnan(found), np.inf, np.random.default_rng((file.index, 1)).random(found.shape))
        yield Scored(file, found, ranks, quality, kept)

    def _evaluate(self, file: ExamplesFile, scores: _BlockSample, quality: QualityBySlice) -> list[tuple[int, bytes]]:
        """Scores all examples; gives some of them."""
        plan, kept = self._plan, []
        generator = np.random.default_rng(file.index)
        for examples in read_records(file.path):
            found = self._score(examples)
            scores.add(found, np.arange(len(examples)), len(examples))
            rows = self._rows.of(examples)
            labels = np.asarray(rows.column(plan.label).fill_null(np.nan), np.float64)
            add_quality(quality, quality_by_slice(rows, found, labels, plan.slices, plan.task))
            kept += [(file.index, each) for each in examples if generator.random() < plan.sampled_share]
        return kept

    def _sample(self, file: ExamplesFile, scores: _BlockSample) -> list[tuple[int, bytes]]:
        """Scores a few rows of each block; all are read as rows, which a shard with columns has."""
        for rows in self._rows.read(file.path):
            chosen = scores.wanted(len(rows))
            scores.add(self._score_rows(rows.take(pa.array(chosen))), chosen, len(rows))
        return []

    def _score(self, examples: list[bytes]) -> np.ndarray:
        answer = self._model.run(SERVE_EXAMPLES, {"examples": np.array(examples, object)})
        return np.asarray(answer[output_name(self._plan.task)], np.float64)

    def _score_rows(self, rows: pa.RecordBatch) -> np.ndarray:
        if not len(rows):
            return np.empty(0)
        features = [each for each in self._plan.features if each.name != self._plan.label]
        answer = self._model.run(_RAW, raw_inputs(self._model, rows, features))
        return np.asarray(answer[output_name(self._plan.task)], np.float64)


class _BlockSample:
    """The scores of some rows of each block."""

    def __init__(self, block_rows: int) -> None:
        self._block_rows = block_rows
        self._rows = 0
        self._blocks: dict[int, list[float]] = {}

    def wanted(self, rows: int) -> np.ndarray:
        """Which of the rows that follow are to be scored: evenly spread over each block."""
        places = (self._rows + np.arange(rows)) % self._block_rows
        step = -(-self._block_rows // _SCORED_OF_BLOCK)
        return np.flatnonzero(places % step == 0)

    def add(self, scores: np.ndarray, chosen: np.ndarray, rows: int) -> None:
        """The scores of the chosen ones of the rows that follow."""
        is_wanted = np.isin(chosen, self.wanted(rows))
        blocks = (self._rows + chosen[is_wanted]) // self._block_rows
        for block, score in zip(blocks.tolist(), scores[is_wanted].tolist(), strict=True):
            self._blocks.setdefault(block, []).append(score)
        self._rows += rows

    def blocks(self) -> np.ndarray:
        found = np.full((len(self._blocks), _SCORED_OF_BLOCK), np.nan)
        for block, scores in self._blocks.items():
            found[block, : len(scores)] = scores
        return found


def save_reference(scored: list[Scored], plan: ScoringPlan, profile: str, folder: str) -> None:
    """The last step: puts the reference together and writes it.

    Args:
        scored: Of every file, neighbours added up as in the profile.
        plan: How they were scored.
        profile: Where the profile of the same files is.
        folder: Where the reference goes, a place that the worker sees.
    """
    make_reference(scored, Profile.load(at(profile)), plan).save(at(folder))


def make_reference(scored: list[Scored], profile: Profile, plan: ScoringPlan) -> Reference:
    """Puts the files' answers together.

    Args:
        scored: Of every file, neighbours added up as in the profile.
        profile: Of the same files.
        plan: How they were scored.
    """
    ordered = sorted(scored, key=lambda each: each.file.index)
    quality: QualityBySlice = {}
    for each in ordered:
        add_quality(quality, each.quality)
    scores = np.concatenate([each.scores for each in ordered])
    present = scores[~np.isnan(scores)]
    bins = number_bins(PREDICTIONS, present)
    size = len(bins.labels)
    indices = bins.indices(pa.array(scores.ravel())).reshape(scores.shape)
    indices = np.where(np.isnan(scores), size, indices)
    counts = np.stack([np.bincount(each, minlength=size + 1)[:size] for each in indices])
    key = (PREDICTIONS, bins.kind)
    with_scores = replace(
        profile,
        bins={**profile.bins, key: bins},
        counts={**profile.counts, key: counts},
        sample={},  # rows do not travel with a version
    )
    examples = sorted((found for each in ordered for found in each.examples), key=lambda found: found[0])
    importance = importances(plan, [example for _, example in examples[:_PERMUTED_ROWS]])
    return Reference(plan.task, plan.label, with_scores, quality, importance)


def importances(plan: ScoringPlan, examples: list[bytes]) -> dict[str, float]:
    """By how much the model's loss grows when a feature's values are exchanged among the rows, as shares of 1.

    Permutation importance (Breiman 2001, https://doi.org/10.1023/A:1010933404324; Fisher, Rudin and Dominici 2019).
    """
    features = [each for each in plan.features if each.name != plan.label]
    if not examples:
        return {}
    model = plan.model()
    rows = ExampleRows(plan.features).of(examples)
    labels = np.asarray(rows.column(plan.label).fill_null(np.nan), np.float64)
    inputs = raw_inputs(model, rows, features)
    output = output_name(plan.task)

    def loss(inputs: dict[str, np.ndarray]) -> float:
        return loss_of(model.run(_RAW, inputs)[output], labels, plan.task).mean

    before = loss(inputs)
    order = np.random.default_rng(0).permutation(len(examples))
    growth = {each.name: max(loss({**inputs, each.name: inputs[each.name][order]}) - before, 0.0) for each in features}
    total = sum(growth.values())
    return {name: each / total if total > 0 else 0.0 for name, each in growth.items()}


def raw_inputs(model: SessionModel, rows: pa.RecordBatch, features: Sequence[Feature]) -> dict[str, np.ndarray]:
    """Rows as the tensors of `serving_default`: a missing value is NaN, an empty text, or 0 where neither can be."""
    inputs = {}
    for feature in features:
        values = rows.column(feature.name).to_pylist()
        dtype = tf.as_dtype(model.signatures[_RAW].inputs[feature.name].dtype)
        missing: Any = b"" if dtype == tf.string else 0 if dtype.is_integer else np.nan
        plain = [missing if value is None else value for value in values]
        inputs[feature.name] = np.array(plain, dtype.as_numpy_dtype)
    return inputs
