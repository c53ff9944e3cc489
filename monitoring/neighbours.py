"""What is made of each file of examples is added up over neighbouring files, so that one worker can hold all of it.

Up to 1,024 files nothing is added: each has blocks of its own. Of more, neighbours of one span are taken together.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
import numpy as np

from monitoring.profile import MOST_BLOCKS


@dataclass(frozen=True)
class ExamplesFile:
    """A gzipped TFRecord file of tf.Examples."""

    path: str
    index: int
    """Its place in the order of the data."""
    span: int
    is_eval: bool = False


class Part(Protocol):
    """What is made of a file; parts of neighbours add up, in any order."""

    @property
    def file(self) -> ExamplesFile:
        """The first of those that it is of."""

    def __add__(self, other: Any) -> Any: ...


class AddNeighbours(beam.PTransform):
    """`Part`s, one of each file → a list of parts: at most 1,024, or one of each span if there are more spans.

    They are added before they are shuffled, and by as many workers as there are parts: the one that gets the list gets
    no more of it for more files.

    Args:
        files: All of them.
    """

    def __init__(self, files: Sequence[ExamplesFile]) -> None:
        super().__init__()
        self._stretch = stretch_of(files)

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """A combiner by place, then a list."""
        return (
            parts
            | "ByPlace" >> beam.Map(_by_place, self._stretch)
            | "Add" >> beam.CombinePerKey(_add)
            | "Parts" >> beam.Values()
            | "List" >> beam.combiners.ToList()
        )


def stretch_of(files: Sequence[ExamplesFile]) -> int:
    """How many indices are taken together, a power of two: 1 if each file is to have a part of its own."""
    ordered = sorted(files, key=lambda file: file.index)
    indices = np.array([file.index for file in ordered], np.int64)
    is_next_span = np.diff([file.span for file in ordered]) != 0
    stretch = 1
    while stretch <= indices.max(initial=0):
        parts = 1 + np.count_nonzero(is_next_span | (np.diff(indices // stretch) != 0))
        if parts <= MOST_BLOCKS:
            break
        stretch *= 2
    return stretch


def _by_place(part: Part, stretch: int) -> tuple[tuple[int, int], Part]:
    return (part.file.span, part.file.index // stretch), part


def _add(parts: Iterable[Part]) -> Part:
    return functools.reduce(operator.add, parts)
