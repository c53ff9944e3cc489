"""What a change of times looks like: of the hour of day, of the day of week, of the time itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np

from monitoring.diagnosis.summaries import Diagnosis
from monitoring.diagnosis.words import percent

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY = 86400.0
_YEAR = 365.25 * _DAY
_STUCK = 0.95
_FEWEST_ROWS = 100
_UNITS = ((1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))


def diagnose_hours(reference: np.ndarray, current: np.ndarray, rows: int = 1000) -> Diagnosis | None:
    """Tells what a change of the hour of day looks like.

    Args:
        reference: Counts or shares by hour, float64 [24], of training.
        current: The same now.
        rows: How many rows `current` is of; without it, enough.
    """
    before, now = _shares(reference), _shares(current)
    if before is None or now is None or rows < _FEWEST_ROWS:
        return None
    if now[0] >= _STUCK and before[0] < 0.5:
        shares = f"{percent(float(now[0]))} of times are at midnight, {percent(float(before[0]))} in training"
        return Diagnosis(f"the time of day is lost: {shares}", is_fault=True)
    folded = np.concatenate([before[:12] + before[12:], np.zeros(12)])
    if now[12:].sum() < 0.01 and before[12:].sum() > 0.2 and _apart(folded, now) < 0.5 * _apart(before, now):
        return Diagnosis(
            "no time is after noon, and the morning has those hours' share: a clock of 12 hours?", is_fault=True
        )
    shift = _circular_shift(before, now, rows)
    if shift is None:
        return _moved(before, now, [f"{hour:02}:00" for hour in range(24)])
    hours = f"{abs(shift)} hour{'' if abs(shift) == 1 else 's'} {'later' if shift > 0 else 'earlier'}"
    why = "daylight saving time, or a time zone" if abs(shift) == 1 else "a time zone"
    return Diagnosis(f"times are {hours} than in training: {why}?", is_fault=True)


def diagnose_weekdays(reference: np.ndarray, current: np.ndarray, rows: int = 1000) -> Diagnosis | None:
    """Tells what a change of the day of week looks like.

    Args:
        reference: Counts or shares by day, Monday first, float64 [7], of training.
        current: The same now.
        rows: How many rows `current` is of; without it, enough.
    """
    before, now = _shares(reference), _shares(current)
    if before is None or now is None or rows < _FEWEST_ROWS:
        return None
    if now.max() >= _STUCK:  # a day's window has one day: no fault
        return Diagnosis(f"{percent(float(now.max()))} of rows are on a {_WEEKDAYS[int(now.argmax())]}", is_fault=False)
    shift = _circular_shift(before, now, rows)
    if shift is None:
        return _moved(before, now, _WEEKDAYS)
    days = f"{abs(shift)} day{'' if abs(shift) == 1 else 's'} {'later' if shift > 0 else 'earlier'}"
    return Diagnosis(f"days of the week are {days} than in training: counted from another day?", is_fault=True)


def diagnose_times(
    reference_range: tuple[float, float], current: np.ndarray, rows: int = 1000, now: float | None = None
) -> Diagnosis | None:
    """Tells what is wrong with times: another unit, defaults, a frozen clock, the future.

    Args:
        reference_range: The first and the last time of training, in seconds since 1970.
        current: Percentiles of the times now, float64 [n], ascending, in what should be seconds since 1970.
        rows: How many rows they are of.
        now: The time at which nothing later can have been seen (scheduled times may be later); None: not known.
    """
    times = np.asarray(current, np.float64)
    times = times[~np.isnan(times)]
    low, high = reference_range
    if not len(times) or rows < 50:
        return None
    middle = float(np.median(times))
    for factor, unit in _UNITS if low + high > 0 else ():
        for scale, words in ((factor, f"{unit}, not seconds"), (1 / factor, f"seconds, where training had {unit}")):
            if 0.7 < middle / (scale * (low + high) / 2) < 1.4:
                return Diagnosis(f"times are in {words}", is_fault=True)
    defaults = (times >= -_DAY) & (times < 2 * _DAY)
    if low > 2 * _DAY and defaults.mean() > 0.015:
        return Diagnosis(
            f"{percent(float(defaults.mean()))} of times are 1970-01-01: zeros in place of missing times?",
            is_fault=True,
        )
    old = times < low - 20 * _YEAR
    if old.mean() > 0.015:
        text = f"{percent(float(old.mean()))} of times are about {_date(float(times[0]))}, long before training"
        return Diagnosis(f"{text}: a default?", is_fault=True)
    if float(times[-1]) == float(times[0]) and high > low:
        return Diagnosis(f"all times are {_date(float(times[0]))}: is the clock frozen?", is_fault=True)
    latest = high + 20 * _YEAR if now is None else now + _DAY
    future = times > latest
    if future.mean() > 0.015:
        return Diagnosis(
            f"{percent(float(future.mean()))} of times are in the future, as late as {_date(float(times[-1]))}",
            is_fault=True,
        )
    if float(times[-1]) < low:
        return Diagnosis(f"times end on {_date(float(times[-1]))}, before training began: old data?", is_fault=False)
    return None


def _date(seconds: float) -> str:
    try:
        return str((datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)).date())
    except OverflowError:
        return "a date beyond the calendar"


def _shares(counts: np.ndarray) -> np.ndarray | None:
    counts = np.asarray(counts, np.float64)
    total = float(counts.sum())
    return counts / total if total > 0 else None


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """Total variation distance."""
    return float(np.abs(one - other).sum()) / 2


def _circular_shift(before: np.ndarray, now: np.ndarray, rows: int) -> int | None:
    """By how many steps all moved, negative for earlier; None if they did not move as one.

    Judged by Kullback-Leibler divergence: hours that were empty and are not tell most.
    """
    steps = len(before)
    smooth = (before + 1e-4) / (1 + steps * 1e-4)
    divergences = np.array([_divergence(now, np.roll(smooth, step)) for step in range(steps)])
    best = int(divergences.argmin())
    gain = float(divergences[0] - divergences[best])
    fits = divergences[best] < 0.3 * divergences[0] + 0.5 * steps / rows
    if best == 0 or not fits or gain < max(_LEAST_GAIN[steps], 20 / rows):
        return None
    return best if best <= steps // 2 else best - steps


_LEAST_GAIN = {24: 0.05, 7: 0.005}
"""A smaller gain is what months differ by."""


def _divergence(now: np.ndarray, before: np.ndarray) -> float:
    some = now > 0
    return float(np.sum(now[some] * np.log(now[some] / before[some])))


def _moved(before: np.ndarray, now: np.ndarray, names: Sequence[str]) -> Diagnosis | None:
    gained, lost = int((now - before).argmax()), int((now - before).argmin())
    if _apart(before, now) < 0.01:
        return None

    def words(at: int, verb: str) -> str:
        return f"{names[at]} {verb} from {percent(float(before[at]))} to {percent(float(now[at]))}"

    return Diagnosis(f"{words(gained, 'rose')}, {words(lost, 'fell')}", is_fault=False)
