"""What is normal: how far parts of the training data are from the rest of it.

A threshold comes from data. Stretches of consecutive training rows, as long as what is to be judged, are compared with
spans that they are not from, by the same measure: the block bootstrap of Künsch (1989), leaving a span out. So the band
holds what sampling does to a few rows, what a morning, a Sunday or a storm does, and how much one month differs from
the others. Its tail is that of a beta distribution with the draws' mean and variance, since ten spans do not show their
own 99.99%: every measure lies between 0 and 1, and near 0 a beta is a gamma, which a sum of squares of normals (as the
measures are for small shifts) nearly is (Satterthwaite 1946).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import stats

_MOST_DRAWS = 1024
_LARGEST_PART = 0.5
"""Of the rows, for a draw: the rest is what it is compared with."""

_FULL = 0.75
"""Of the rows that a stretch is to have: shorter ones say what fewer rows do."""

_FEWEST_DEGREES = 5
"""Of freedom: by fewer, two or three spans would make a band that nothing is beyond."""

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(reference counts [draws, bins], current counts [draws, bins]) → float64 [draws], from 0 to 1."""


class Against(str, Enum):
    """What a part is compared with."""

    WINDOW = "training window"
    """All spans but its own."""
    LAST_SPAN = "span before"


@dataclass(frozen=True)
class Draws:
    """Parts of the training data, and what each is compared with."""

    reference: np.ndarray
    """Counts, int64 [draws, bins]."""
    current: np.ndarray
    """Counts, int64 [draws, bins]."""
    independent: float
    """How many parts there are that share no row."""


def draw(
    blocks: np.ndarray, spans: np.ndarray, rows: int, against: Against, generator: np.random.Generator
) -> Draws | None:
    """Takes stretches of about `rows` consecutive rows, if the training data has enough of them.

    Every block starts one (or evenly spread ones do): so what happened once in the training window, such as a day
    without weather, is within the band.

    Args:
        blocks: Counts of consecutive rows, int64 [blocks, bins], in the order of the data.
        spans: The number of the span of each block, int64 [blocks], ascending.
        rows: How many rows are to be judged.
        against: What each is compared with.
        generator: Thins blocks that have more rows than that.
    """
    sizes = blocks.sum(axis=1)
    block_rows = max(1.0, float(np.median(sizes)))
    first_start = 0 if against is Against.WINDOW else int(np.searchsorted(spans, spans[0], side="right"))
    longest = int((len(blocks) - first_start) * _LARGEST_PART)
    if longest < 1:
        return None
    of_each_span = np.unique(spans, return_counts=True)[1]
    if len(of_each_span) > 1:  # what is judged may be of one mood, as a span is: several would average theirs
        longest = min(longest, int(np.median(of_each_span)))
    length = int(np.clip(round(rows / block_rows), 1, longest))
    last_start = len(blocks) - length
    starts = np.unique(np.linspace(first_start, last_start, min(_MOST_DRAWS, last_start - first_start + 1)).astype(int))
    sums = np.concatenate([np.zeros((1, blocks.shape[1]), np.int64), np.cumsum(blocks, axis=0)])
    starts = _full(sums, starts, length, rows)
    current = sums[starts + length] - sums[starts]
    reference = _others(sums, spans, starts, length) if against is Against.WINDOW else _before(sums, spans, starts)
    if rows < block_rows:
        current = np.stack([_thinned(each, rows, generator) for each in current])
    return Draws(reference, current, (len(blocks) - first_start) / length)


def threshold(draws: Draws, statistic: Statistic, rate: float) -> float:
    """The value that a statistic exceeds at this rate while nothing has changed.

    Args:
        draws: Of the bins that the statistic reads.
        statistic: Measures each draw.
        rate: The chance of a false alarm.
    """
    values = statistic(draws.reference, draws.current)
    # the next of n draws exceeds their largest with chance 1 / (n + 1): what few parts show is not all that is normal
    margin = 1 + 1 / draws.independent
    largest = float(values.max()) * margin
    mean, variance = float(values.mean()), float(values.var(ddof=1)) * margin
    if not 0 < mean < 1 or variance <= 0 or variance >= mean * (1 - mean):
        return largest
    degrees = max(draws.independent - 1, _FEWEST_DEGREES)
    variance *= (float(stats.t.isf(rate, degrees)) / float(stats.norm.isf(rate))) ** 2
    if variance >= mean * (1 - mean):
        return 1.0
    size = mean * (1 - mean) / variance - 1
    return max(float(stats.beta.isf(rate, mean * size, (1 - mean) * size)), largest)


def _full(sums: np.ndarray, starts: np.ndarray, length: int, rows: int) -> np.ndarray:
    """The starts of stretches that are not cut short: the last block of a file may hold a single row."""
    drawn = sums.sum(axis=1)[starts + length] - sums.sum(axis=1)[starts]
    is_full = drawn >= _FULL * min(rows, float(np.median(drawn)))
    return starts[is_full] if np.count_nonzero(is_full) > 1 else starts


def _others(sums: np.ndarray, spans: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """All rows but those of the spans that are touched; if these are most of the data, all but the drawn."""
    begin = np.searchsorted(spans, spans[starts], side="left")
    end = np.searchsorted(spans, spans[starts + length - 1], side="right")
    rows = sums.sum(axis=1)
    too_much = rows[end] - rows[begin] > _LARGEST_PART * rows[-1]
    begin, end = np.where(too_much, starts, begin), np.where(too_much, starts + length, end)
    return np.asarray(sums[-1] - (sums[end] - sums[begin]))


def _before(sums: np.ndarray, spans: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The span before the first that is touched."""
    end = np.searchsorted(spans, spans[starts], side="left")
    begin = np.searchsorted(spans, spans[end - 1], side="left")
    return np.asarray(sums[end] - sums[begin])


def _thinned(counts: np.ndarray, rows: int, generator: np.random.Generator) -> np.ndarray:
    """A random part of a block's rows."""
    return generator.multivariate_hypergeometric(counts, min(rows, int(counts.sum())))
