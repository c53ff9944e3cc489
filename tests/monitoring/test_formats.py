from __future__ import annotations

import math

import pytest

from monitoring import formats

MIDNIGHT = 1_370_217_600.0  # 2013-06-03


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12345, "12,345"),
        (0.41234, "0.412"),
        (0.00031, "0.00031"),
        (3.2e-7, "3.2e-07"),
        (1234.56, "1,235"),
        (1e18, "1.00e+18"),
        (-2.5, "-2.5"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "not a number"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.0004, "<0.1%"),
        (0.014, "1.4%"),
        (0.0999, "10%"),
        (0.142, "14%"),
        (0.996, "99.6%"),
        (0.99999, ">99.9%"),
        (math.nan, "unknown"),
    ],
)
def test_shares_are_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert formats.percent(share) == text


def test_times_say_their_zone() -> None:
    assert formats.moment(MIDNIGHT + 3600) == "2013-06-03 01:00 UTC"
    assert formats.period(MIDNIGHT, MIDNIGHT + 3600) == "2013-06-03 00:00 to 01:00 UTC"
    assert formats.period(MIDNIGHT, MIDNIGHT + 86_400) == "2013-06-03 00:00 to 2013-06-04 00:00 UTC"


@pytest.mark.parametrize("seconds", [1e20, -1e20, math.inf, math.nan])
def test_a_time_that_no_calendar_holds_is_told_as_it_is(seconds: float) -> None:
    assert formats.moment(seconds).endswith("s since 1970")
    assert "since 1970" in formats.period(seconds, seconds)


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (86_400, "24 h"), (6 * 86_400, "6 days"), (0.25, "0.2 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text
