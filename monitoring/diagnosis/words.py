"""How numbers, shares and values are written in a diagnosis."""

from __future__ import annotations


def number(value: float) -> str:
    """Four significant digits: `1.609`, `-999`, `1021`; whole numbers below a billion in full."""
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share of 0 to 1 in percent: `30%`, `1.2%`, `0.02%`."""
    if share == 0:
        return "0%"
    if share < 0.0001:
        return "less than 0.01%"
    if 0.995 <= share < 1:
        return f"{100 * share:.4g}%"
    return f"{100 * share:.0f}%" if share >= 0.095 else f"{100 * share:.2g}%"


def value(raw: bytes) -> str:
    """A categorical value in quotes, cut if it is long."""
    text = repr(raw.decode("utf-8", errors="backslashreplace"))
    return text if len(text) <= 42 else f"{text[:40]}…'"


def values(raw: list[bytes], most: int = 3) -> str:
    """The first few values: `'UA', 'DL' and 14 more`."""
    shown = ", ".join(value(each) for each in raw[:most])
    return shown if len(raw) <= most else f"{shown} and {len(raw) - most} more"
