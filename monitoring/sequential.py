"""Two versions side by side, compared as often as one likes without paying for the looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from monitoring.quality import Moments

Arm = Moments
"""What one version answered: of its rows' losses (or of their scores) the number, the sum and the sum of squares."""

FEWEST_ROWS = 100
"""Of each arm: with fewer the normal approximation is no ground for a verdict."""
_TIGHTEST_AT = 5000
"""Rows of each of two equal arms at which the interval is narrowest for what it guarantees. It is somewhat wider than
need be elsewhere, and early looks, where the approximation is worst, are the most cautious."""
_ROUNDING = 1e-12


class Verdict(str, Enum):
    """Of a comparison."""

    WORSE = "candidate_is_worse"
    NOT_WORSE = "candidate_is_not_worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Comparison:
    """What is known about the candidate's mean less the stable version's."""

    verdict: Verdict
    difference: float
    """0.0 as long as an arm has no rows."""
    low: float
    """-inf as long as the rows say nothing."""
    high: float
    """inf as long as the rows say nothing."""
    rows: int
    """Of both arms."""


def compare(stable: Arm, candidate: Arm, false_alarm_rate: float, margin: float) -> Comparison:
    """Compares the means of two versions over rows that were divided between them at random, by a constant share.

    The interval from `low` to `high` is a confidence sequence: the chance that it ever misses the true difference is
    at most `false_alarm_rate` (asymptotically), however often and for whatever reason it is looked at. So of two equal
    versions none is ever called worse with more than that chance.

    The estimate at information I = 1 / variance, times I, moves as a Brownian motion does, drifting by the true
    difference. Mixed over normal differences with variance τ², its likelihood ratio is a martingale, which exceeds
    1 / α with chance α at most; that bounds the difference by √(V (V + τ²) / τ² · log((V + τ²) / (V α²))).

    Sources: Johari, Koomen, Pekelis and Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests", Operations
    Research 70 (2022), arXiv:1512.04922, the mixture sequential probability ratio test; Waudby-Smith, Arbour, Sinha,
    Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics
    52 (2024), arXiv:2103.06476, the same bound with estimated variances, and the choice of τ.

    Args:
        stable: Moments of a loss of the version in service; larger is worse. For rates of errors see `error_rate`.
        candidate: The same of the version on trial.
        false_alarm_rate: α, between 0 and 1.
        margin: A loss so much larger is still not worse, in the loss's unit; at 0 the candidate must be better for the
            verdict that it is not worse.

    Returns:
        Not worse, where the whole interval is below the margin; else worse, where it is above 0; else undecided.
    """
    rows = stable.rows + candidate.rows
    if min(stable.rows, candidate.rows) < 2:
        known = candidate.mean - stable.mean if stable.rows and candidate.rows else 0.0
        return Comparison(Verdict.UNDECIDED, known, -math.inf, math.inf, rows)
    difference = candidate.mean - stable.mean
    reach = _reach(stable, candidate, false_alarm_rate)
    low, high = difference - reach, difference + reach
    return Comparison(_verdict(low, high, margin, min(stable.rows, candidate.rows)), difference, low, high, rows)


def error_rate(errors: int, rows: int) -> Arm:
    """An arm whose loss is whether a request failed.

    One failure and one success are added: otherwise no failure yet would look like the certainty of none.
    Source: Agresti and Caffo, "Simple and effective confidence intervals for proportions and differences of
    proportions result from adding two successes and two failures", The American Statistician 54 (2000).
    """
    return Arm(rows + 2, errors + 1, errors + 1)


def _verdict(low: float, high: float, margin: float, rows: int) -> Verdict:
    if rows < FEWEST_ROWS:
        return Verdict.UNDECIDED
    if high < margin:
        return Verdict.NOT_WORSE
    return Verdict.WORSE if low > 0 else Verdict.UNDECIDED


def _reach(stable: Arm, candidate: Arm, false_alarm_rate: float) -> float:
    """Half the interval's width."""
    pooled = (stable + candidate).variance
    if pooled <= _ROUNDING * (stable + candidate).mean ** 2:  # constants say nothing about what another row would be
        return math.inf
    # Under equal versions both are the variance; the larger guards a small arm that has not met its rare losses yet.
    variance = max(
        stable.variance / stable.rows + candidate.variance / candidate.rows,
        pooled / stable.rows + pooled / candidate.rows,
    )
    bound = -2 * math.log(false_alarm_rate)
    prior = (bound + math.log(bound + 1)) * 2 * pooled / _TIGHTEST_AT
    return math.sqrt(variance * (variance + prior) / prior * (math.log((variance + prior) / variance) + bound))
