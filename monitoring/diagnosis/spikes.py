"""Whether single values took the place of others: stuck, filled in, clipped, or far outside."""

from __future__ import annotations

import numpy as np

from monitoring.diagnosis.summaries import Diagnosis, NumericSummary
from monitoring.diagnosis.support import Support
from monitoring.diagnosis.words import number, percent

_STUCK = 0.995
_DEFAULTS = frozenset(
    {
        0.0,
        -1.0,
        1.0,
        9.0,
        99.0,
        999.0,
        9999.0,
        99999.0,
        999999.0,
        -9.0,
        -99.0,
        -999.0,
        -9999.0,
        32767.0,
        -32768.0,
        65535.0,
        2147483647.0,
        -2147483648.0,
    }
)
_FEWEST = 30


def find_stuck(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """One value in (nearly) all rows, which training had in less than half."""
    value, share = next(iter(current.top.items()))
    before = share_of(reference, value)
    fewest = 10 * _FEWEST if before and current.missing > 0.4 else _FEWEST  # one calm hour with gusts
    if share < _STUCK or current.present < fewest or before > 0.5:
        return None
    how_many = "all values are" if share == 1 else f"{percent(share)} of values are"
    return Diagnosis(f"stuck: {how_many} {number(value)}, {percent(before)} in training", is_fault=True)


def find_default(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """A value that training (hardly) had and that now has a share of its own: what a missing value was replaced by."""
    if current.present < _FEWEST:
        return None
    support = Support(reference)
    for value, share in list(current.top.items())[:3]:
        before = share_of(reference, value)
        others = sorted((each for key, each in current.top.items() if key != value), reverse=True)
        stands_out = share >= 4 * others[0] if others else False
        if share < 0.03 or share * current.present < 10 or before > share / 8:
            continue
        role = _role(value, reference, support)
        strange = not bool(support.holds(np.array([value]))[0])
        varied = current.distinct >= 0.4 * min(reference.distinct, 100)
        if (strange and (role or share >= 0.05)) or (
            varied and ((role and before <= share / 30 and value in (0, -1)) or (stands_out and share >= 0.15))
        ):
            like = f", {role}" if role and role != "default" else ""
            text = f"{percent(share)} of values are {number(value)}{like}, {percent(before)} in training"
            return Diagnosis(f"{text}: missing values filled in?", is_fault=True, of_some=not role)
    return None


def _role(value: float, reference: NumericSummary, support: Support) -> str:
    """What makes a value one that is filled in; empty if nothing does."""
    if value in _DEFAULTS and reference.distinct > 10:
        return "default"
    middle = float(reference.quantiles[1:100].mean())
    if abs(value - middle) <= 0.02 * support.range and not support.holds(np.array([value]))[0]:
        return "about the mean of training"
    return ""


def share_of(summary: NumericSummary, value: float) -> float:
    """The share of a value; of one that is not among the frequent, what the percentiles say."""
    for key, share in summary.top.items():
        if abs(key - value) <= 1e-6 * abs(key):
            return share
    if summary.distinct <= len(summary.top):
        return 0.0
    return float(np.isclose(summary.quantiles, value, rtol=1e-6, atol=0).sum()) / 101


def find_clipped(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """The values beyond a bound are gone, and the bound itself has got about their share."""
    if current.distinct < max(5, 0.35 * min(reference.distinct, 100)) or current.present < _FEWEST:
        return None
    rank = np.linspace(0, 1, 101)
    ends = (("above", float(current.quantiles[-1]), 1.0), ("below", float(current.quantiles[0]), -1.0))
    for side, bound, sign in ends:
        share = share_of(current, bound)
        before = share_of(reference, bound)
        beyond = float(np.mean(sign * reference.quantiles > sign * bound))
        at_most = float(np.interp(bound, reference.quantiles, rank))
        beyond = max(beyond, 1 - at_most if sign > 0 else at_most)
        usual = max((each for key, each in current.top.items() if key != bound), default=0.0)
        if share < 0.05 or share * current.present < 20 or beyond < 0.03 or before > share / 3:
            continue
        piled_up = share > 3 * usual and 0.2 < share / beyond < 5
        adds_up = share > 1.3 * usual and abs(share - before - beyond) < 0.3 * share
        if piled_up or adds_up:
            text = (
                f"clipped at {number(bound)}: {percent(share)} of values are exactly that, and none is {side}, "
                f"as {percent(beyond)} were in training"
            )
            return Diagnosis(text, is_fault=True)
    return None


def find_outliers(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Up to a fifth of the values far outside all that training had."""
    low, high = float(reference.quantiles[0]), float(reference.quantiles[-1])
    if high == low:
        return None
    far = 2 * (high - low)
    outside = (current.quantiles > high + far) | (current.quantiles < low - far)
    share = float(outside[1:100].mean())
    if not outside.any() or share > 0.25:
        return None
    worst = current.quantiles[outside]
    where = number(float(worst[np.argmax(np.abs(worst - (low + high) / 2))]))
    how_many = f"about {percent(share)} of values are" if share > 0.005 else "up to 1% of values are"
    text = f"{how_many} far outside training ({number(low)} to {number(high)}), as far as {where}"
    return Diagnosis(text, is_fault=True)
