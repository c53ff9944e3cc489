"""The conversions between units that data pipelines get wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Conversion:
    """current = scale · training + offset."""

    scale: float
    offset: float
    name: str
    """What it may have been, `miles became kilometres`; empty for one that is not known."""

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Current values in the units of training."""
        return (values - self.offset) / self.scale

    @property
    def inverse(self) -> Conversion:
        """The way back, without a name."""
        return Conversion(1 / self.scale, -self.offset / self.scale, "")


IDENTITY = Conversion(1.0, 0.0, "")
NEGATION = Conversion(-1.0, 0.0, "the sign is flipped")

_SCALES: tuple[tuple[float, str, str], ...] = (
    (1.609344, "miles became kilometres, or mph became km/h", "kilometres became miles, or km/h became mph"),
    (0.3048, "feet became metres", "metres became feet"),
    (25.4, "inches became millimetres", "millimetres became inches"),
    (2.54, "inches became centimetres", "centimetres became inches"),
    (12.0, "feet became inches, or years became months", "inches became feet, or months became years"),
    (0.44704, "mph became m/s", "m/s became mph"),
    (0.868976242, "mph became knots", "knots became mph"),
    (0.514444444, "knots became m/s", "m/s became knots"),
    (1.852, "knots became km/h", "km/h became knots"),
    (3.6, "m/s became km/h", "km/h became m/s"),
    (0.45359237, "pounds became kilograms", "kilograms became pounds"),
    (3.785411784, "gallons became litres", "litres became gallons"),
    (0.0295299831, "hPa became inHg", "inHg became hPa"),
    (0.750061683, "hPa became mmHg", "mmHg became hPa"),
    (math.pi / 180, "degrees became radians", "radians became degrees"),
    (24.0, "days became hours", "hours became days"),
    (60.0, "hours became minutes, or minutes became seconds", "minutes became hours, or seconds became minutes"),
    (3600.0, "hours became seconds", "seconds became hours"),
    (86400.0, "days became seconds", "seconds became days"),
    (10.0, "a decimal point moved", "a decimal point moved"),
    (
        100.0,
        "fractions became percent, dollars became cents, or hPa became Pa",
        "percent became fractions, cents became dollars, or Pa became hPa",
    ),
    (
        1000.0,
        "seconds became milliseconds, kilo was lost, or a decimal point moved",
        "milliseconds became seconds, a unit became kilo, or a decimal point moved",
    ),
    (1e6, "seconds became microseconds", "microseconds became seconds"),
    (1e9, "seconds became nanoseconds", "nanoseconds became seconds"),
)
_TEMPERATURES: tuple[Conversion, ...] = (
    Conversion(5 / 9, -160 / 9, "°F became °C"),
    Conversion(9 / 5, 32.0, "°C became °F"),
    Conversion(1.0, 273.15, "°C became K"),
    Conversion(1.0, -273.15, "K became °C"),
    Conversion(5 / 9, 459.67 * 5 / 9, "°F became K"),
    Conversion(9 / 5, -459.67, "K became °F"),
)

SCALES = tuple(
    each for scale, there, back in _SCALES for each in (Conversion(scale, 0.0, there), Conversion(1 / scale, 0.0, back))
)
KNOWN = (*SCALES, *_TEMPERATURES, NEGATION)


def named(conversion: Conversion) -> Conversion:
    """The conversion with the name of the known one that it is to about half a percent (1.6 for miles), if any."""
    for each in KNOWN:
        if each.offset == conversion.offset and math.isclose(each.scale, conversion.scale, rel_tol=6e-3):
            return Conversion(conversion.scale, conversion.offset, each.name)
    return conversion
