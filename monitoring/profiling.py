"""Profiles the examples that a model is trained and evaluated on: a Beam element is a file of examples, not a row.

Bins are known only when all examples were read, so they are read twice: by the pass that surveys the rows, and by the
one that counts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.features import Feature
from monitoring.bins import Bins
from monitoring.examples import ExampleRows
from monitoring.neighbours import AddNeighbours, ExamplesFile
from monitoring.profile import Counts, Key, Profile, Summary, Survey, block_rows, choose_bins, related_sample
from storage.places import at

_SAMPLED_ROWS = 50_000


@dataclass(frozen=True)
class _Plan:
    """How a file is counted, and what the survey knows already of the profile."""

    features: tuple[Feature, ...]
    bins: dict[Key, Bins]
    first_spans: Mapping[str, Mapping[bytes, int]]
    block_rows: int
    earlier: dict[str, Summary]
    newest: dict[str, Summary]
    sample: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Blocks:
    """The blocks of one file, or those of neighbours added up: the first to the first, and so on."""

    file: ExamplesFile
    """The first of them."""
    counts: Counts
    new_rows: dict[str, np.ndarray]

    def __add__(self, other: _Blocks) -> _Blocks:
        return _Blocks(
            min(self.file, other.file, key=lambda file: file.index),
            {key: _sum(counts, other.counts[key]) for key, counts in self.counts.items()},
            {name: _sum(rows, other.new_rows[name]) for name, rows in self.new_rows.items()},
        )


def _sum(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Counts [blocks, ...], of which one may have fewer blocks."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return np.concatenate([longer[: len(shorter)] + shorter, longer[len(shorter) :]])


class ProfileExamples(beam.PTransform):
    """PBegin → one `Profile`.

    Args:
        files: All examples of the window.
        features: What is watched.
        rows: How many examples there are.
        label: The feature that is in no relation to others.
    """

    def __init__(self, files: Sequence[ExamplesFile], features: Sequence[Feature], rows: int, label: str = "") -> None:
        super().__init__()
        self._files = sorted(files, key=lambda file: file.index)
        self._features = tuple(features)
        self._rows = rows
        self._label = label

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Passes over the rows twice: to choose bins, and to count. What one worker gets has a bound."""
        newest = max(file.span for file in self._files)
        share, size = min(1.0, _SAMPLED_ROWS / max(self._rows, 1)), block_rows(self._rows)
        files = begin | "Files" >> beam.Create(self._files, reshuffle=True)
        surveys = files | "Survey" >> beam.ParDo(_SurveyFile(self._features, share))
        by_age = surveys | "ByAge" >> beam.Map(_by_age, newest) | "JoinSurveys" >> beam.CombinePerKey(_join_surveys)
        plan = beam.pvalue.AsSingleton(
            begin
            | "Begin" >> beam.Create([None])
            | "Plan" >> beam.Map(_plan, beam.pvalue.AsDict(by_age), self._features, size, self._label)
        )
        return (
            files
            | "Count" >> beam.ParDo(_CountFile(self._features), plan)
            | "Gather" >> AddNeighbours(self._files)
            | "Assemble" >> beam.Map(_assemble, plan)
        )


_Surveyed = tuple[int, Survey]
"""A span, and a survey of rows of it."""


def save_profile(profile: Profile, folder: str) -> None:
    """The last step: writes the profile to a place that the worker sees, see `Profile.save`."""
    profile.save(at(folder))


class _SurveyFile(beam.DoFn):
    """A file → the survey of its rows."""

    def __init__(self, features: Sequence[Feature], share: float) -> None:
        self._features, self._share = features, share

    def setup(self) -> None:
        self._rows = ExampleRows(self._features)

    def process(self, file: ExamplesFile) -> Iterator[_Surveyed]:
        generator = np.random.default_rng(file.index)
        survey = Survey.empty(self._features)
        for rows in self._rows.read(file.path):
            survey += Survey.of(rows, self._features, file.span, self._share, generator)
        yield file.span, survey


def _by_age(surveyed: _Surveyed, newest: int) -> tuple[bool, _Surveyed]:
    """The newest span is surveyed apart from the others."""
    return surveyed[0] == newest, surveyed


def _join_surveys(surveys: Iterable[_Surveyed]) -> _Surveyed:
    """In the order of the spans, so that the result does not depend on Beam's."""
    (span, survey), *others = sorted(surveys, key=lambda each: each[0])
    for _, other in others:
        survey += other
    return span, survey


def _plan(nothing: None, by_age: dict[bool, _Surveyed], features: tuple[Feature, ...], rows: int, label: str) -> _Plan:
    del nothing
    _, survey = _join_surveys(by_age.values())
    first_spans = {
        name: {value: span for value, (_, span) in values.items()} for name, values in survey.categories.items()
    }
    _, newest = by_age[True]
    _, earlier = by_age.get(False, by_age[True])
    bins = choose_bins(features, survey, earlier, label)
    return _Plan(
        features,
        bins,
        first_spans,
        rows,
        earlier.summaries(),
        newest.summaries(),
        related_sample(bins, newest.numbers),
    )


class _CountFile(beam.DoFn):
    """A file, and the plan → its blocks."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = features

    def setup(self) -> None:
        self._rows = ExampleRows(self._features)

    def process(self, file: ExamplesFile, plan: _Plan) -> Iterator[_Blocks]:
        aspects = {key: _BlockCounts(plan.block_rows, len(bins.labels)) for key, bins in plan.bins.items()}
        new_rows = {name: _BlockCounts(plan.block_rows, 2) for name in plan.first_spans}
        new_values = {
            name: pa.array([value for value, span in first.items() if span >= file.span], pa.binary())
            for name, first in plan.first_spans.items()
        }
        for rows in self._rows.read(file.path):
            for key, counts in aspects.items():
                counts.add(plan.bins[key].indices(plan.bins[key].column(rows)))
            for name, counts in new_rows.items():
                counts.add(np.asarray(pc.is_in(rows.column(name), new_values[name]), np.int64))
        yield _Blocks(
            file,
            {key: counts.blocks() for key, counts in aspects.items()},
            {name: counts.blocks()[:, 1] for name, counts in new_rows.items()},
        )


class _BlockCounts:
    """Counts rows by bin, block by block."""

    def __init__(self, block_rows: int, size: int) -> None:
        self._block_rows, self._size = block_rows, size
        self._rows = 0
        self._blocks: list[np.ndarray] = []

    def add(self, indices: np.ndarray) -> None:
        """The bins of the rows that follow."""
        if not len(indices):
            return
        blocks = (self._rows + np.arange(len(indices))) // self._block_rows
        self._rows += len(indices)
        first, number = int(blocks[0]), int(blocks[-1] - blocks[0]) + 1
        found = np.bincount((blocks - first) * self._size + indices, minlength=number * self._size)
        for index, counts in enumerate(found.reshape(number, self._size), start=first):
            if index < len(self._blocks):
                self._blocks[index] += counts
            else:
                self._blocks.append(counts)

    def blocks(self) -> np.ndarray:
        """int64 [blocks, size]."""
        return np.stack(self._blocks) if self._blocks else np.zeros((0, self._size), np.int64)


def _assemble(blocks: list[_Blocks], plan: _Plan) -> Profile:
    ordered = sorted(blocks, key=lambda each: each.file.index)
    sizes = [len(next(iter(each.counts.values()))) for each in ordered]
    return Profile(
        plan.features,
        plan.bins,
        np.repeat([each.file.span for each in ordered], sizes),
        {key: np.concatenate([each.counts[key] for each in ordered]) for key in plan.bins},
        {name: np.concatenate([each.new_rows[name] for each in ordered]) for name in plan.first_spans},
        plan.earlier,
        plan.newest,
        plan.sample,
    )
