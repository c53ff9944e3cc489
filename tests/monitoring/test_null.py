from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from monitoring.measures import jensen_shannon, l_infinity
from monitoring.null import Against, draw, threshold

BLOCK = 256
MEASURES = pytest.mark.parametrize("measure", [jensen_shannon, l_infinity])
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def window(random: np.random.Generator, shares: np.ndarray, blocks: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of rows that are independent of one another, and their spans: shares [spans, bins]."""
    counts = np.concatenate([random.multinomial(BLOCK, each, size=blocks) for each in shares])
    return counts, np.repeat(np.arange(len(shares)), blocks)


def limit(
    blocks: np.ndarray, spans: np.ndarray, rows: int, measure: Distance, rate: float, against: Against = Against.WINDOW
) -> float:
    draws = draw(blocks, spans, rows, against, np.random.default_rng(0))
    assert draws is not None
    return threshold(draws, measure, rate)


@MEASURES
@pytest.mark.parametrize("rows", [100, 300, 1500])
def test_on_the_same_distribution_the_rate_of_false_alarms_is_kept(measure: Distance, rows: int) -> None:
    """200 fresh windows for each of 10 features, each with training data of its own."""
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(10):
        shares = random.dirichlet(np.full(20, 3.0))
        blocks, spans = window(random, np.tile(shares, (8, 1)))
        bound = limit(blocks, spans, rows, measure, 0.01)
        fresh = random.multinomial(rows, shares, size=200)
        alarms += int((measure(blocks.sum(axis=0), fresh) > bound).sum())
    assert alarms <= 30  # 20 of 2,000 are allowed for; 31 would be a chance of 1% even then


@MEASURES
def test_what_differs_from_month_to_month_anyway_does_not_alarm(measure: Distance) -> None:
    """At the rate of a check in a report on 25 features, on fewer rows than a month, as many, and more."""
    random = np.random.default_rng(2)
    alarms = 0
    for rows in (1000, 3000, 20_000):
        for _ in range(20):
            months = random.dirichlet(400 * random.dirichlet(np.full(10, 5.0)), size=60)
            blocks, spans = window(random, months[:10])
            bound = limit(blocks, spans, rows, measure, 1e-4)
            fresh = np.stack([random.multinomial(rows, each) for each in months[10:]])
            alarms += int((measure(blocks.sum(axis=0), fresh) > bound).sum())
    assert alarms <= 3  # of 3,000
    steady, spans = window(random, np.tile(months[:10].mean(axis=0), (10, 1)))
    assert limit(steady, spans, 20_000, measure, 1e-4) < bound / 2


@MEASURES
def test_against_the_span_before_a_walk_is_normal(measure: Distance) -> None:
    """What moves a little from span to span is far from the first spans, and near the one before."""
    random = np.random.default_rng(3)
    places = np.arange(20)[None, :] - np.arange(0, 9, 0.8)[:, None]
    shares = np.exp(-(places**2) / 20)
    shares /= shares.sum(axis=1, keepdims=True)
    blocks, spans = window(random, shares[:-1])
    of_window, of_last = (limit(blocks, spans, 3000, measure, 0.01, against) for against in Against)
    assert of_last < of_window
    following = random.multinomial(3000, shares[-1])
    assert measure(blocks[spans == spans[-1]].sum(axis=0), following) < of_last
    jumped = random.multinomial(3000, shares[0])
    assert measure(blocks[spans == spans[-1]].sum(axis=0), jumped) > of_last


@MEASURES
def test_what_happened_once_in_the_window_is_normal_when_it_comes_again(measure: Distance) -> None:
    random = np.random.default_rng(4)
    usual, storm = random.dirichlet(np.full(10, 5.0)), np.eye(10)[3]
    blocks, spans = window(random, np.tile(usual, (8, 1)))
    rows = 4 * BLOCK
    again = random.multinomial(rows, 0.5 * usual + 0.5 * storm)
    assert measure(blocks.sum(axis=0), again) > limit(blocks, spans, rows, measure, 0.0001)
    blocks[40:44] = random.multinomial(BLOCK, 0.5 * usual + 0.5 * storm, size=4)
    assert measure(blocks.sum(axis=0), again) < limit(blocks, spans, rows, measure, 0.0001)


@MEASURES
def test_the_fewer_the_rows_the_wider_the_band(measure: Distance) -> None:
    blocks, spans = window(np.random.default_rng(5), np.full((8, 10), 0.1))
    limits = [limit(blocks, spans, rows, measure, 0.001) for rows in (20, 60, 200, 1000, 5000)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] > 3 * limits[-1]


@MEASURES
def test_the_rarer_false_alarms_are_to_be_the_wider_the_band(measure: Distance) -> None:
    blocks, spans = window(np.random.default_rng(6), np.full((8, 10), 0.1))
    rare, rarer = (limit(blocks, spans, 500, measure, rate) for rate in (1e-4, 1e-8))
    assert 0 < rare < rarer < 1


def test_a_shift_is_caught() -> None:
    """One row of eight moved from the most to the least frequent value, in 1,000 rows, at a rate of 1 in 10,000."""
    random = np.random.default_rng(7)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    blocks, spans = window(random, np.tile(shares, (8, 1)))
    shifted = random.multinomial(1000, np.array([0.275, 0.3, 0.2, 0.225]), size=200)
    for measure in (jensen_shannon, l_infinity):
        caught = measure(blocks.sum(axis=0), shifted) > limit(blocks, spans, 1000, measure, 1e-4)
        assert caught.mean() > 0.99


def test_the_last_block_of_a_file_may_hold_a_single_row() -> None:
    """A draw of one row is far from everything, and would make the band so wide that nothing alarms."""
    blocks, spans = window(np.random.default_rng(8), np.full((8, 10), 0.1))
    whole = limit(blocks, spans, 300, jensen_shannon, 1e-4)
    ends = np.flatnonzero(np.diff(spans)) + 1
    cut = np.insert(blocks, ends, np.eye(10, dtype=np.int64)[0], axis=0)
    assert limit(cut, np.insert(spans, ends, spans[ends - 1]), 300, jensen_shannon, 1e-4) < 1.5 * whole


def test_a_reference_has_no_row_of_the_drawn_spans() -> None:
    blocks = np.eye(6, dtype=np.int64) * 100
    draws = draw(blocks, np.array([0, 0, 1, 1, 2, 2]), 100, Against.WINDOW, np.random.default_rng(0))
    assert draws is not None
    assert draws.current.tolist() == blocks.tolist()
    assert [(np.flatnonzero(each) // 2).tolist() for each in draws.reference] == [
        [1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 1, 1]
    ]  # fmt: skip


def test_of_a_single_span_the_reference_is_the_rest() -> None:
    blocks = np.eye(4, dtype=np.int64) * 100
    draws = draw(blocks, np.zeros(4, int), 100, Against.WINDOW, np.random.default_rng(0))
    assert draws is not None
    assert (draws.reference + draws.current == 100).all()


def test_the_span_before() -> None:
    blocks = np.eye(6, dtype=np.int64) * 100
    draws = draw(blocks, np.array([3, 3, 7, 7, 9, 9]), 100, Against.LAST_SPAN, np.random.default_rng(0))
    assert draws is not None
    assert draws.current.tolist() == blocks[2:].tolist()
    assert [np.flatnonzero(each).tolist() for each in draws.reference] == [[0, 1], [0, 1], [2, 3], [2, 3]]


@pytest.mark.parametrize("against", Against)
def test_too_little_training_data_says_nothing_of_what_is_normal(against: Against) -> None:
    generator = np.random.default_rng(0)
    assert draw(np.full((1, 3), 50), np.array([1]), 100, against, generator) is None
    of_one_span = draw(np.full((8, 3), 50), np.ones(8, int), 100, against, generator)
    assert (of_one_span is None) == (against is Against.LAST_SPAN)
    assert draw(np.full((2, 3), 50), np.array([1, 2]), 100, Against.WINDOW, generator) is not None


def test_spans_of_a_single_block() -> None:
    random = np.random.default_rng(9)
    blocks, spans = window(random, np.full((10, 5), 0.2), blocks=1)
    for against in Against:
        assert 0 < limit(blocks, spans, 5000, jensen_shannon, 1e-4, against) < 0.2


def test_what_never_varies_alarms_as_soon_as_it_does() -> None:
    blocks, spans = np.tile([BLOCK, 0], (20, 1)), np.repeat([1, 2], 10)
    assert limit(blocks, spans, 1000, jensen_shannon, 1e-4) == 0


def test_a_draw_is_as_long_as_what_is_judged_but_no_longer_than_a_span() -> None:
    blocks, spans = window(np.random.default_rng(10), np.full((8, 4), 0.25))
    for rows, expected in ((50, 50), (BLOCK, BLOCK), (5 * BLOCK + 10, 5 * BLOCK), (10**9, 12 * BLOCK)):
        draws = draw(blocks, spans, rows, Against.WINDOW, np.random.default_rng(0))
        assert draws is not None
        assert (draws.current.sum(axis=1) == expected).all()
