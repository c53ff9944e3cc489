"""Profiles of tables, without Beam: what `monitoring.profiling` makes of example files, from rows in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.features import Feature
from monitoring.bins import number_bins
from monitoring.profile import Profile, Survey, block_rows, choose_bins, related_sample
from monitoring.reference import PREDICTIONS

_SAMPLED_ROWS = 50_000


def profile_of(spans: Mapping[int, pa.RecordBatch], features: Sequence[Feature], label: str = "") -> Profile:
    """The profile of some spans.

    Args:
        spans: Rows (see `monitoring.rows`) in the order of the data, by the span's number.
        features: What is watched; the columns of `spans`.
        label: The feature that is in no relation to others.
    """
    rows = sum(map(len, spans.values()))
    size, share = block_rows(rows), min(1.0, _SAMPLED_ROWS / rows)
    generator = np.random.default_rng(0)
    numbers = sorted(spans)
    surveys = {each: Survey.of(spans[each], features, each, share, generator) for each in numbers}
    *before, newest = numbers
    earlier = sum((surveys[each] for each in before), Survey.empty(features)) if before else surveys[newest]
    total = earlier + surveys[newest] if before else earlier
    bins = choose_bins(features, total, earlier, label)
    first = {name: {value: span for value, (_, span) in values.items()} for name, values in total.categories.items()}
    return Profile(
        tuple(features),
        bins,
        np.concatenate([np.full(-(-len(spans[each]) // size), each) for each in numbers]),
        {
            key: np.concatenate(
                [
                    by_block(bins[key].indices(bins[key].column(spans[each])), len(bins[key].labels), size)
                    for each in numbers
                ]
            )
            for key in bins
        },
        {
            name: np.concatenate(
                [by_block(_is_new(spans[each].column(name), seen, each), 2, size)[:, 1] for each in numbers]
            )
            for name, seen in first.items()
        },
        earlier.summaries(),
        surveys[newest].summaries(),
        related_sample(bins, surveys[newest].numbers),
    )


def by_block(indices: np.ndarray, bins: int, block_rows: int) -> np.ndarray:
    """Counts of consecutive rows by bin, int64 [blocks, bins], from each row's bin."""
    blocks = np.arange(len(indices)) // block_rows
    number = int(blocks[-1]) + 1
    return np.bincount(blocks * bins + indices, minlength=number * bins).reshape(number, bins)


def _is_new(column: pa.Array, first_spans: Mapping[bytes, int], span: int) -> np.ndarray:
    new = pa.array([value for value, first in first_spans.items() if first >= span], pa.binary())
    return np.asarray(pc.is_in(column, new), np.int64)


def with_scores(profile: Profile, scores: Mapping[int, np.ndarray]) -> Profile:
    """The profile with a model's answers counted in it, float64 [rows] of each span, as `monitoring.scoring` does."""
    key_bins = number_bins(PREDICTIONS, np.concatenate(list(scores.values())))
    key, size = (PREDICTIONS, key_bins.kind), block_rows(profile.rows)
    counts = [by_block(key_bins.indices(pa.array(scores[each])), len(key_bins.labels), size) for each in sorted(scores)]
    return replace(
        profile, bins={**profile.bins, key: key_bins}, counts={**profile.counts, key: np.concatenate(counts)}
    )
