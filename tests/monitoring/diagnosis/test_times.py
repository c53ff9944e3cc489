"""Another time zone, a lost time of day, another unit of time; no month is called a fault."""

import numpy as np
import pytest

from monitoring.diagnosis import diagnose_hours, diagnose_times, diagnose_weekdays

FIRST, LAST = 1.357e9, 1.383e9


def hours(times):
    return np.bincount((times - times.astype("datetime64[D]")).astype(int) // 3600, minlength=24).astype(float)


def weekdays(times):
    return np.bincount((times.astype("datetime64[D]").astype(int) + 3) % 7, minlength=7).astype(float)


@pytest.mark.parametrize("size", [300, 2_000, 20_000])
@pytest.mark.parametrize(
    ("shift", "words"),
    [(5, "5 hours later"), (-5, "5 hours earlier"), (8, "8 hours later"), (1, "1 hour later"), (-1, "1 hour earlier")],
)
def test_a_shift_of_hours_is_a_fault(shift, words, size, flights):
    random = np.random.default_rng(size)
    now = random.choice(flights.times((11, 12)), size) + np.timedelta64(shift, "h")
    found = diagnose_hours(hours(flights.times(range(1, 11))), hours(now), size)
    assert found.is_fault
    assert words in found.text


def test_a_lost_time_of_day_and_a_clock_of_12_hours(flights):
    before, now = hours(flights.times(range(1, 11))), flights.times((11,))
    found = diagnose_hours(before, hours(now.astype("datetime64[D]").astype("datetime64[s]")), len(now))
    assert found.is_fault
    assert "midnight" in found.text
    halves = hours(now)
    found = diagnose_hours(before, np.concatenate([halves[:12] + halves[12:], np.zeros(12)]), len(now))
    assert found.is_fault
    assert "12 hours" in found.text


def test_no_month_and_no_part_of_a_day_is_a_fault(flights):
    for month in range(1, 13):
        before = flights.times([each for each in range(1, 13) if each != month][:10])
        now = flights.times((month,))
        for rows in (now, now[:2_000], now[:300], now[5_000:5_300]):
            for found in (
                diagnose_hours(hours(before), hours(rows), len(rows)),
                diagnose_weekdays(weekdays(before), weekdays(rows), len(rows)),
            ):
                assert found is None or not found.is_fault, (month, len(rows), found)


def test_a_shift_of_weekdays_is_a_fault():
    before = np.array([200.0, 180, 190, 210, 230, 60, 90])
    found = diagnose_weekdays(before, np.roll(before, 1), 1160)
    assert found.is_fault
    assert "1 day later" in found.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t * 1e3, "milliseconds"),
        (lambda t: t * 1e6, "microseconds"),
        (lambda t: t / 1e3, "where training had milliseconds"),
        (lambda t: np.where(np.arange(101) < 30, 0.0, t), "1970-01-01"),
        (lambda t: np.full(101, t[50]), "frozen"),
        (lambda t: t + 40 * 365 * 86400, "in the future"),
        (lambda t: np.where(np.arange(101) < 30, -62135596800.0, t), "0001-01-01"),
    ],
)
def test_wrong_times_are_named(change, words):
    scale = 1e3 if "training" in words else 1.0
    now = np.linspace(1.383e9, 1.386e9, 101) * scale
    found = diagnose_times((FIRST * scale, LAST * scale), np.sort(change(now)), 2_000)
    assert found.is_fault
    assert words in found.text


def test_the_next_month_is_no_fault():
    assert diagnose_times((FIRST, LAST), np.linspace(1.383e9, 1.386e9, 101), 2_000, now=1.386e9) is None


def test_nothing_is_said_without_rows():
    assert diagnose_hours(np.zeros(24), np.ones(24)) is None
    assert diagnose_times((FIRST, LAST), np.full(101, np.nan)) is None
