from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.special import expit

from monitoring.quality import BinaryCounts
from monitoring.sequential import FEWEST_ROWS, Arm, Comparison, Verdict, compare, error_rate

LOOKS = 200
Draw = Callable[[np.random.Generator, int], np.ndarray]


def log_losses(random: np.random.Generator, rows: int) -> np.ndarray:
    scores = expit(random.normal(-1.4, 0.7, rows))
    return -np.log(np.where(random.random(rows) < scores, scores, 1 - scores))


def failures(rate: float) -> Draw:
    return lambda random, rows: (random.random(rows) < rate).astype(float)


def arms(losses: np.ndarray) -> list[Arm]:
    """The arm as it is at each look."""
    rows = np.linspace(0, len(losses), LOOKS + 1)[1:].astype(int)
    totals, squares = np.cumsum(losses)[rows - 1], np.cumsum(losses**2)[rows - 1]
    return [Arm(*each) for each in zip(rows.tolist(), totals.tolist(), squares.tolist(), strict=True)]


def looks(
    stable: np.ndarray, candidate: np.ndarray, rate: float, margin: float, of_rates: bool
) -> Iterator[Comparison]:
    for one, other in zip(arms(stable), arms(candidate), strict=True):
        if of_rates:
            one, other = (error_rate(int(each.total), each.rows) for each in (one, other))
        yield compare(one, other, rate, margin)


def first_verdict(found: Iterator[Comparison]) -> Verdict:
    """What someone who looks again and again, and stops at the first verdict, is told."""
    return next((each.verdict for each in found if each.verdict is not Verdict.UNDECIDED), Verdict.UNDECIDED)


@pytest.mark.parametrize(
    ("draw", "of_rates"),
    [(log_losses, False), (failures(0.01), True), (failures(0.3), True)],
    ids=["log loss", "rare failures", "failures"],
)
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_of_two_equal_versions_hardly_any_is_ever_called_worse(draw: Draw, of_rates: bool, share: float) -> None:
    random = np.random.default_rng(1)
    rate, rows = 0.1, 20_000
    verdicts = [
        first_verdict(
            looks(draw(random, int(rows * (1 - share))), draw(random, int(rows * share)), rate, 0.0, of_rates)
        )
        for _ in range(100)
    ]
    assert verdicts.count(Verdict.WORSE) <= 100 * rate
    assert verdicts.count(Verdict.WORSE) + verdicts.count(Verdict.NOT_WORSE) <= 100 * rate


def test_a_test_that_is_made_for_one_look_would_not_do() -> None:
    # What the test above would find if the interval were an ordinary one: the simulation can tell.
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(100):
        pairs = zip(arms(log_losses(random, 10_000)), arms(log_losses(random, 10_000)), strict=True)
        wrong += any(
            other.mean - one.mean > 1.645 * math.sqrt(one.variance / one.rows + other.variance / other.rows)
            for one, other in pairs
        )
    assert wrong > 20


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_worse_candidate_is_found(share: float) -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        stable = log_losses(random, int(40_000 * (1 - share)))
        candidate = log_losses(random, int(40_000 * share)) + 0.06
        assert first_verdict(looks(stable, candidate, 0.05, 0.02, False)) is Verdict.WORSE


def test_failures_of_a_new_version_are_found_soon() -> None:
    random = np.random.default_rng(3)
    stable, candidate = failures(0.001)(random, 9000), failures(0.1)(random, 1000)
    found = [each for each in looks(stable, candidate, 0.05, 0.0, True) if each.verdict is Verdict.WORSE]
    assert found[0].rows < 4000


def test_an_equal_candidate_is_found_not_worse_by_the_margin() -> None:
    random = np.random.default_rng(4)
    verdicts = [
        first_verdict(looks(log_losses(random, 30_000), log_losses(random, 10_000), 0.05, 0.04, False))
        for _ in range(20)
    ]
    assert verdicts.count(Verdict.NOT_WORSE) >= 19


def test_a_better_candidate_is_not_worse_without_a_margin() -> None:
    random = np.random.default_rng(5)
    found = looks(log_losses(random, 10_000) + 0.1, log_losses(random, 10_000), 0.05, 0.0, False)
    assert first_verdict(found) is Verdict.NOT_WORSE


def test_versions_that_never_failed_are_told_equal_after_a_while() -> None:
    assert compare(error_rate(0, 900), error_rate(0, 100), 0.05, 0.01).verdict is Verdict.UNDECIDED
    assert compare(error_rate(0, 90_000), error_rate(0, 10_000), 0.05, 0.01).verdict is Verdict.NOT_WORSE


def test_worse_by_less_than_the_margin_is_not_worse() -> None:
    stable, candidate = Arm(10**6, 0.0, 1e6), Arm(10**6, 2e4, 1e6)
    found = compare(stable, candidate, 0.05, 0.1)
    assert 0 < found.low < found.difference < found.high < 0.1
    assert found.verdict is Verdict.NOT_WORSE
    assert compare(stable, candidate, 0.05, 0.0).verdict is Verdict.WORSE


def test_the_interval_is_that_of_the_mixture() -> None:
    # The likelihood ratio of a normal mixture of differences to the interval's end is 1 / α there.
    rows, rate = 4000, 0.05
    arm = Arm(rows, 0.0, float(rows - 0.5))  # both means are 0, the pooled variance is 1 but for rounding
    reach = compare(arm, arm, rate, 0.0).high
    variance = 2 / rows
    bound = -2 * math.log(rate)
    prior = (bound + math.log(bound + 1)) * 2 / 5000
    ratio = math.sqrt(variance / (variance + prior)) * math.exp(reach**2 * prior / (2 * variance * (variance + prior)))
    assert ratio == pytest.approx(1 / rate, rel=1e-3)


def test_the_interval_is_narrowest_where_it_is_meant_to_be() -> None:
    def multiple(rows: int) -> float:
        arm = Arm(rows, 0.0, float(rows))
        return compare(arm, arm, 0.05, 0.0).high / math.sqrt(2 / rows)

    assert multiple(5000) < min(multiple(1000), multiple(25_000))


@pytest.mark.parametrize(("stable", "candidate"), [(0, 0), (0, 500), (500, 0), (1, 500)])
def test_hardly_any_rows_say_nothing(stable: int, candidate: int) -> None:
    found = compare(Arm(stable, 0.0, float(stable)), Arm(candidate, 0.0, float(candidate)), 0.05, 1.0)
    assert (found.verdict, found.low, found.high) == (Verdict.UNDECIDED, -math.inf, math.inf)
    assert found.rows == stable + candidate


def test_few_rows_give_an_interval_but_no_verdict() -> None:
    few, enough = (
        compare(Arm(10_000, 0.0, 100.0), Arm(rows, 10.0 * rows, 100.1 * rows), 0.05, 0.0)
        for rows in (FEWEST_ROWS - 1, FEWEST_ROWS)
    )
    assert few.low > 0
    assert (few.verdict, enough.verdict) == (Verdict.UNDECIDED, Verdict.WORSE)


def test_constants_say_nothing_about_the_next_row() -> None:
    arm = Arm.of(np.full(1000, 0.3))
    assert compare(arm, arm, 0.05, 0.1).verdict is Verdict.UNDECIDED


def test_the_moments_of_quality_are_arms() -> None:
    random = np.random.default_rng(6)
    scores = expit(random.normal(-1.4, 0.7, 20_000))
    labels = (random.random(20_000) < scores).astype(float)
    stable, candidate = BinaryCounts.of(scores, labels), BinaryCounts.of(scores[::-1], labels)
    assert compare(stable.log_loss, candidate.log_loss, 0.05, 0.0).verdict == "candidate_is_worse"
    same = compare(stable.scores, candidate.scores, 0.05, 0.0)
    assert same.low < 0 < same.high
