"""Parts of a log, or of a span, add up to the whole."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
import watched
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.bins import Kind, number_bins
from monitoring.parts import Part, add_parts
from monitoring.reference import PREDICTIONS

ROWS = watched.flights(np.random.default_rng(1), 900)
SCORES = np.where(np.arange(900) % 9, np.linspace(0, 1, 900), np.nan)
PROFILE = watched.profile_of(watched.FLIGHTS, {1: watched.flights(np.random.default_rng(2), 900)})
SCORE_BINS = number_bins(PREDICTIONS, np.linspace(0, 1, 500))
BINS = {**PROFILE.bins, (PREDICTIONS, SCORE_BINS.kind): SCORE_BINS}


def part_of(rows, scores, share=1.0):
    return Part.of(rows, scores, watched.FLIGHTS, BINS, share, np.random.default_rng(0))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 900), max_size=5))
def test_cut_anywhere_it_is_the_same(cuts) -> None:
    places = sorted({0, 900, *cuts})
    pieces = [part_of(ROWS.slice(start, end - start), SCORES[start:end]) for start, end in itertools.pairwise(places)]
    whole = part_of(ROWS, SCORES)
    for total in (add_parts(pieces), add_parts(pieces[::-1]), reduce(Part.__add__, pieces, Part())):
        assert total.rows == 900
        assert set(total.counts) == set(BINS)
        assert all((total.counts[key] == whole.counts[key]).all() for key in BINS)
        assert total.scores.mean == pytest.approx(whole.scores.mean)
        assert total.scores.rows == 800
        assert total.survey.missing == whole.survey.missing
        assert total.survey.categories == whole.survey.categories
        assert np.array_equal(
            np.sort(total.survey.numbers["temp"]), np.sort(whole.survey.numbers["temp"]), equal_nan=True
        )


def test_rows_without_an_answer_count_no_answers() -> None:
    for scores in (None, np.full(900, np.nan)):
        part = part_of(ROWS, scores)
        assert (PREDICTIONS, SCORE_BINS.kind) not in part.counts
        assert part.scores.rows == 0
    both = part_of(ROWS, None) + part_of(ROWS, SCORES)
    assert both.counts[PREDICTIONS, SCORE_BINS.kind].sum() == 800


def test_only_counted_aspects_of_columns_that_are_there() -> None:
    rows = watched.watched_rows({"temp": [1.0, None]}, watched.FLIGHTS[:1])
    part = Part.of(rows, None, watched.FLIGHTS[:1], BINS, 1.0, np.random.default_rng(0))
    assert set(part.counts) == {("temp", Kind.NUMBERS)}


def test_the_share_bounds_what_is_kept_and_not_what_is_counted() -> None:
    part = part_of(ROWS, SCORES, share=0.1)
    assert 40 < len(part.survey.numbers["temp"]) < 160
    assert part.counts["temp", Kind.NUMBERS].sum() == 900


def test_nothing() -> None:
    assert add_parts([]) == Part()
    assert (Part() + part_of(ROWS, SCORES)).rows == 900
