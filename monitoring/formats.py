"""Numbers and times as people read them."""

from __future__ import annotations

import math
from datetime import datetime, timezone


def number(value: float) -> str:
    """Three or four digits that count: `12,345`, `0.412`, `0.00031`."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"
    return f"{value:.3g}" if abs(value) >= 1e-5 else f"{value:.1e}"


def percent(share: float) -> str:
    """A share as `14%`, `1.4%`, `<0.1%`; never rounded to none or to all."""
    if not math.isfinite(share):
        return "unknown"
    if share == 0 or share == 1:
        return f"{share:.0%}"
    if abs(share) < 0.001:
        return "<0.1%"
    if 0.99 <= share < 1:
        return f"{share:.1%}" if share < 0.9995 else ">99.9%"
    return f"{share:.1%}" if abs(share) < 0.0995 else f"{share:.0%}"


def moment(seconds: float) -> str:
    """Seconds since 1970 as `2013-06-03 14:00 UTC`; what no calendar holds is told as it is."""
    return _written(seconds, "%Y-%m-%d %H:%M UTC")


def period(start: float, end: float) -> str:
    """`2013-06-03 14:00 to 15:00 UTC`, with the second day if it is another."""
    begun, ended = _written(start, "%Y-%m-%d %H:%M"), _written(end, "%Y-%m-%d %H:%M")
    day = begun[: len("2013-06-03")]
    return f"{begun} to {ended.removeprefix(day).strip()} UTC"


def tick(seconds: float, span: float) -> str:
    """A label of a time axis that covers `span` seconds: the day, and the hour where days are few."""
    return _written(seconds, "%Y-%m-%d" if span > 3 * 86_400 else "%m-%d %H:%M")


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h`, `6 days`."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{number(round(seconds / length, 1))} {unit}"
    return f"{number(round(seconds, 1))} s"


def _written(seconds: float, pattern: str) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime(pattern)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s since 1970"
