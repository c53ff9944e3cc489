"""Faults injected into real flights are named, at three sizes; what the seasons do is not called a fault."""

import zlib

import numpy as np
import pytest

from monitoring.diagnosis import NumericSummary, diagnose_number

ALL = {
    "distance", "sched_dep_time", "sched_arr_time", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust",
    "precip", "pressure", "visib", "plane_year", "plane_seats", "plane_engines",
}  # fmt: skip
TEMPERATURES, WINDS = {"temp", "dewp"}, {"wind_speed", "wind_gust"}
SIZES = (300, 2_000, 20_000)
MILE, KNOT, INCH_OF_MERCURY = 1.609344, 0.868976242, 0.0295299831


def times(factor, digits=None):
    return lambda values, random: values * factor if digits is None else np.round(values * factor, digits)


def some(share, fault):
    return lambda values, random: np.where(random.random(len(values)) < share, fault(values, random), values)


def fill(share, value):
    return some(share, lambda values, random: np.full(len(values), float(value)))


def celsius(values, random):
    return (values - 32) / 1.8


# Features, the fault, the least size from which on it is named, and words of the name.
FAULTS = [
    ("miles to km", {"distance", "visib"}, times(MILE), 300, ("1.609 times", "miles became kilometres")),
    ("miles to km, roughly", {"distance"}, times(1.609), 300, ("1.609 times", "miles became kilometres")),
    ("miles to whole km", {"distance"}, times(MILE, 0), 300, ("miles became kilometres",)),
    ("half of rows in km", {"distance", "visib"}, some(0.5, times(MILE)), 300, ("%", "miles became kilometres")),
    ("half of rows in whole km", {"distance"}, some(0.5, times(MILE, 0)), 300, ("%", "miles became kilometres")),
    ("a tenth of rows in km", {"distance"}, some(0.1, times(MILE)), 300, ("%", "miles became kilometres")),
    ("mph to m/s", WINDS, times(0.44704), 300, ("mph became m/s",)),
    ("mph to m/s with a decimal", WINDS, times(0.44704, 1), 300, ("mph became m/s",)),
    ("mph to km/h", WINDS, times(MILE), 300, ("mph became km/h",)),
    ("mph to knots", WINDS, times(KNOT), 300, ("mph became knots",)),
    ("half of rows in m/s", {"wind_speed"}, some(0.5, times(0.44704)), 300, ("mph became m/s",)),
    ("°F to °C", TEMPERATURES, celsius, 300, ("°F became °C",)),
    ("°F to °C with a decimal", TEMPERATURES, lambda v, r: np.round(celsius(v, r), 1), 300, ("°F became °C",)),
    ("°F to whole °C", {"temp"}, lambda v, r: np.round(celsius(v, r)), 300, ("°F became °C",)),
    ("°F to K", TEMPERATURES, lambda v, r: (v + 459.67) / 1.8, 300, ("°F became K",)),
    ("half of rows in °C", TEMPERATURES, some(0.5, celsius), 300, ("°F became °C",)),
    ("hPa to Pa", {"pressure"}, times(100), 300, ("100 times", "hPa became Pa")),
    ("hPa to inHg", {"pressure"}, times(INCH_OF_MERCURY), 300, ("hPa became inHg",)),
    ("hPa to inHg with decimals", {"pressure"}, times(INCH_OF_MERCURY, 2), 300, ("hPa became inHg",)),
    ("percent to fraction", {"humid"}, times(0.01), 300, ("percent became fractions",)),
    ("percent to fraction with decimals", {"humid"}, times(0.01, 2), 300, ("percent became fractions",)),
    ("inches to mm", {"precip"}, times(25.4), 300, ("inches became millimetres",)),
    ("degrees to radians", {"wind_dir"}, times(np.pi / 180), 300, ("degrees became radians",)),
    *((f"times {factor:g}", ALL - {"precip"}, times(factor), 300, (f"{factor:g} times",))
      for factor in (10, 100, 1000, 0.1, 0.01, 0.001)),
    ("plus 1900", {"temp", "humid", "pressure", "plane_year"}, lambda v, r: v + 1900, 300, ("shifted by +1900",)),
    ("minus 1900", {"plane_year"}, lambda v, r: v - 1900, 300, ("shifted by -1900",)),
    ("negated", ALL, times(-1), 300, ("sign flipped",)),
    ("all missing", ALL - {"wind_gust"}, times(np.nan), 300, ("all rows lack a value",)),
    ("all missing, as often by nature", {"wind_gust"}, times(np.nan), 20_000, ("all rows lack a value",)),
    ("30% missing", ALL - {"wind_gust", "pressure", "plane_year", "plane_seats", "plane_engines"}, fill(0.3, np.nan),
     300, ("no value",)),
    ("30% missing of what often is", {"pressure", "plane_year", "plane_seats", "plane_engines"}, fill(0.3, np.nan),
     20_000, ("no value",)),
    ("stuck at 999", ALL, lambda v, r: v * 0 + 999, 300, ("stuck", "999")),
    ("stuck at 0", ALL - {"precip"}, times(0), 300, ("stuck", "are 0")),
    ("30% are 0", ALL - {"precip"}, fill(0.3, 0), 2_000, ("% of values are 0", "filled in")),
    ("30% are -1", ALL, fill(0.3, -1), 300, ("% of values are -1", "filled in")),
    ("10% are -999", ALL, fill(0.1, -999), 300, ("% of values are -999", "filled in")),
    ("whole numbers", {"temp", "dewp", "humid", "wind_speed", "pressure"}, times(1, 0), 300, ("whole numbers",)),
    ("rounded to hundreds", {"distance", "sched_dep_time"}, times(1, -2), 300, ("multiples of 100",)),
    ("clipped above", {"distance", "temp", "dewp", "humid", "pressure", "sched_dep_time"},
     lambda v, r: np.minimum(v, np.nanquantile(v, 0.8)), 300, ("clipped",)),
    ("clipped below", {"distance", "temp", "dewp", "humid", "pressure", "sched_dep_time"},
     lambda v, r: np.maximum(v, np.nanquantile(v, 0.2)), 300, ("clipped",)),
    ("outliers", ALL - {"wind_gust"}, some(0.02, lambda v, r: r.normal(1e5, 1e4, len(v))), 300, ("far outside",)),
    ("reversed", {"humid"}, lambda v, r: 100 - v, 20_000, ("reversed",)),
    ("5 hours later", {"sched_dep_time", "sched_arr_time"}, lambda v, r: (v + 500) % 2400, 300, ("5 hours later",)),
    ("minutes of the day", {"sched_dep_time"}, lambda v, r: v // 100 * 60 + v % 100, 300, ("minutes since midnight",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "fault", "least", "words"),
    [
        pytest.param(feature, fault, least, words, id=f"{feature}: {name}")
        for name, features, fault, least, words in FAULTS
        for feature in sorted(features)
    ],
)
def test_an_injected_fault_is_named(feature, fault, least, words, before, after):
    random = np.random.default_rng(zlib.crc32(feature.encode()))
    for size in SIZES:
        if size < least:
            continue
        current = NumericSummary.of(fault(random.choice(after[feature], size, replace=False), random))
        found = diagnose_number(before[feature], current)
        assert found is not None, size
        assert found.is_fault, (size, found)
        assert all(each in found.text for each in words), (size, found)


@pytest.mark.parametrize("feature", sorted(ALL))
def test_a_month_is_no_fault_against_the_ten_others(feature, flights):
    random = np.random.default_rng(3)
    for month in range(1, 13):
        others = [each for each in range(1, 13) if each != month][:10]
        reference = NumericSummary.of(flights.values(feature, others))
        values = flights.values(feature, (month,))
        for rows in (values, random.choice(values, 2_000), random.choice(values, 300)):
            found = diagnose_number(reference, NumericSummary.of(rows))
            assert found is None or not found.is_fault, (month, len(rows), found)


@pytest.mark.parametrize("feature", sorted(ALL))
def test_a_few_hours_in_a_row_are_no_fault(feature, flights, before):
    """Weather of a day is nothing like that of a year. (True gaps of the weather records aside.)"""
    values = flights.values(feature, (6, 11))
    for start in range(0, len(values) - 300, 1_500):
        found = diagnose_number(before[feature], NumericSummary.of(values[start : start + 300]))
        assert found is None or not found.is_fault or "no value" in found.text, (start, found)


def test_a_shift_is_told_in_plain_words(flights, before):
    found = diagnose_number(before["temp"], NumericSummary.of(flights.values("temp", (12,))))
    assert found is not None
    assert not found.is_fault
    assert found.text.startswith("the median fell from ")


def test_continuous_values_in_another_unit_and_in_two_units():
    random = np.random.default_rng(0)
    reference = NumericSummary.of(random.lognormal(3, 0.6, 50_000))
    kilometres = random.lognormal(3, 0.6, 2_000) * MILE
    found = diagnose_number(reference, NumericSummary.of(kilometres))
    assert "miles became kilometres" in found.text
    mixed = np.where(random.random(2_000) < 0.4, 1000, 1) * random.lognormal(3, 0.6, 2_000)
    found = diagnose_number(reference, NumericSummary.of(mixed))
    assert found.is_fault
    assert "1000 times" in found.text


def test_a_tenth_more_of_a_continuous_value_is_a_change_of_the_world():
    random = np.random.default_rng(1)
    reference = NumericSummary.of(random.lognormal(3, 0.6, 50_000))
    found = diagnose_number(reference, NumericSummary.of(1.1 * random.lognormal(3, 0.6, 20_000)))
    assert found is None or not found.is_fault


@pytest.mark.parametrize("values", [np.array([]), np.full(20, 5.0)], ids=["none", "few"])
def test_nothing_is_said_of_few_rows(values, before):
    assert diagnose_number(before["distance"], NumericSummary.of(values)) is None


def test_float32_does_not_look_like_another_unit(before, after):
    for feature in sorted(ALL):
        found = diagnose_number(before[feature], NumericSummary.of(after[feature].astype(np.float32)))
        assert found is None or not found.is_fault, (feature, found)
