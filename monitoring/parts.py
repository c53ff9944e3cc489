"""What is known of some of the rows (a version's requests of a window of time, a span): parts add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from models.features import Feature
from monitoring.bins import Bins
from monitoring.profile import Counts, Key, Survey, count
from monitoring.quality import Moments
from monitoring.reference import PREDICTIONS


@dataclass
class Part:
    """See the module."""

    rows: int = 0
    counts: Counts = field(default_factory=dict)
    """int64 [bins] for each aspect."""
    survey: Survey | None = None
    scores: Moments = field(default_factory=Moments)

    @classmethod
    def of(
        cls,
        rows: pa.RecordBatch,
        scores: np.ndarray | None,
        features: Sequence[Feature],
        bins: dict[Key, Bins],
        share: float,
        generator: np.random.Generator,
    ) -> Part:
        """Of some rows.

        Args:
            rows: See `monitoring.rows`.
            scores: The model's answers, float64 [rows], NaN if unknown; None for rows that were not answered.
            features: The columns of `rows`.
            bins: What to count.
            share: Of the rows to keep numbers of, for the diagnosis.
            generator: Chooses them.
        """
        counts = count(rows, bins)
        present = np.empty(0) if scores is None else scores[~np.isnan(scores)]
        for key, each in bins.items():
            if key[0] == PREDICTIONS and len(present):
                counts[key] = np.bincount(each.indices(pa.array(present)), minlength=len(each.labels))
        return cls(len(rows), counts, Survey.of(rows, features, 0, share, generator), Moments.of(present))

    def __add__(self, other: Part) -> Part:
        if self.survey is None or other.survey is None:
            return other if self.survey is None else self
        counts = dict(self.counts)
        for key, more in other.counts.items():
            counts[key] = counts[key] + more if key in counts else more
        return Part(self.rows + other.rows, counts, self.survey + other.survey, self.scores + other.scores)


def add_parts(parts: Sequence[Part]) -> Part:
    """The sum; an empty part of none."""
    total = Part()
    for each in parts:
        total = total + each
    return total
