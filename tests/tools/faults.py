"""Faults as they happen to data: each damages a table of the shipped flights, and says by what words it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Damage = Callable[[pa.Table, np.random.Generator], pa.Table]


@dataclass(frozen=True)
class Fault:
    """What is done to a table, and how the first line of a report should tell it."""

    name: str
    subjects: tuple[str, ...]
    """The features it may be told of; any of them is right."""
    words: str
    """A regular expression that the first line holds."""
    damage: Damage


def replace(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray | np.ndarray) -> pa.Table:
    """The table with other values in a column; NaN in an array is missing."""
    column = pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
    return table.set_column(table.schema.get_field_index(name), name, column)


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column as float64, NaN where missing."""
    return np.asarray(pc.cast(table[name], pa.float64()).to_pandas(), np.float64)


def scaled(name: str, scale: float, offset: float = 0.0, decimals: int = 10) -> Damage:
    """Every value in another unit."""
    return lambda table, _: replace(table, name, np.round(numbers(table, name) * scale + offset, decimals))


def scaled_in_half(name: str, scale: float, offset: float = 0.0) -> Damage:
    """Half of the servers convert."""

    def damage(table: pa.Table, generator: np.random.Generator) -> pa.Table:
        values = numbers(table, name)
        return replace(table, name, np.where(generator.random(len(table)) < 0.5, values * scale + offset, values))

    return damage


def lost(name: str, share: float) -> Damage:
    """A share of the values is missing."""

    def damage(table: pa.Table, generator: np.random.Generator) -> pa.Table:
        kept = pa.array(generator.random(len(table)) >= share)
        return replace(table, name, pc.if_else(kept, table[name], pa.scalar(None, table[name].type)))

    return damage


def filled(name: str, value: float | str, share: float = 0.1) -> Damage:
    """Missing values, and a share of the others, are written as a value."""

    def damage(table: pa.Table, generator: np.random.Generator) -> pa.Table:
        column = table[name]
        kept = pc.and_(pc.is_valid(column), pa.array(generator.random(len(table)) >= share))
        return replace(table, name, pc.if_else(kept, column, pa.scalar(value, column.type)))

    return damage


def mapped(name: str, mapping: dict[str, str]) -> Damage:
    """Values are called otherwise."""

    def damage(table: pa.Table, _: np.random.Generator) -> pa.Table:
        return replace(table, name, pa.array([mapping.get(each, each) for each in table[name].to_pylist()]))

    return damage


def written(name: str, write: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> Damage:
    """All values of a column are written otherwise."""
    return lambda table, _: replace(table, name, write(table[name]))


def stuck(name: str, value: float) -> Damage:
    """Every row has the same value."""
    return lambda table, _: replace(table, name, np.full(len(table), value))


def new_value(name: str, value: str, share: float) -> Damage:
    """A value that never came before."""

    def damage(table: pa.Table, generator: np.random.Generator) -> pa.Table:
        return replace(
            table,
            name,
            pc.if_else(pa.array(generator.random(len(table)) < share), pa.scalar(value), table[name]),
        )

    return damage


def exchanged(one: str, other: str) -> Damage:
    """Two columns hold each other's values."""
    return lambda table, _: replace(replace(table, one, table[other]), other, table[one])


def permuted(name: str) -> Damage:
    """The right values in the wrong rows."""
    return lambda table, generator: replace(table, name, table[name].take(pa.array(generator.permutation(len(table)))))


def without(name: str, value: str) -> Damage:
    """The rows with a value do not come."""
    return lambda table, _: table.filter(pc.not_equal(table[name], value))


def clipped(name: str, bound: float) -> Damage:
    """Nothing is above a bound."""
    return lambda table, _: replace(table, name, np.minimum(numbers(table, name), bound))


def clock(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """HHMM, changed by way of minutes since midnight."""

    def damage(table: pa.Table, _: np.random.Generator) -> pa.Table:
        hhmm = numbers(table, name)
        return replace(table, name, change(hhmm // 100 * 60 + hhmm % 100).astype(np.int64))

    return damage


def time(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """A time, changed as int64 milliseconds since 1970."""

    def damage(table: pa.Table, _: np.random.Generator) -> pa.Table:
        moments = np.asarray(pc.cast(table[name], pa.timestamp("ms")).to_pandas(), "datetime64[ms]").astype(np.int64)
        return replace(table, name, pa.array(change(moments)).view(pa.timestamp("ms")))

    return damage


def seconds_as_milliseconds(table: pa.Table, _: np.random.Generator) -> pa.Table:
    """A thousand times the number that it should be."""
    return replace(table, "scheduled_departure", table["scheduled_departure"].cast(pa.int64()))


def together(*damages: Damage) -> Damage:
    """Several faults at once."""

    def damage(table: pa.Table, generator: np.random.Generator) -> pa.Table:
        for each in damages:
            table = each(table, generator)
        return table

    return damage


def from_row(share: float, damage: Damage) -> Damage:
    """The fault begins after a share of the rows."""

    def later(table: pa.Table, generator: np.random.Generator) -> pa.Table:
        first = int(share * len(table))
        damaged = damage(table.slice(first), generator)
        return pa.concat_tables([table.slice(0, first).cast(damaged.schema), damaged])

    return later


_HOUR = 3_600_000
_DAY = 24 * _HOUR
_LOCAL = "scheduled_departure"


def _hhmm(minutes: np.ndarray) -> np.ndarray:
    return minutes // 60 % 24 * 100 + minutes % 60


NAMED_IN_THE_ISSUE = (
    Fault("miles → km", ("distance",), r"1\.609 times.*kilometres", scaled("distance", 1.609344, decimals=0)),
    Fault(
        "a category renamed", ("carrier",), r"'UA' is gone and 'United'.*renamed", mapped("carrier", {"UA": "United"})
    ),
    Fault("stuck at a constant", ("humid",), r"stuck: all values are 65", stuck("humid", 65.0)),
    Fault("30% missing", ("wind_speed",), r"(29|3\d)% of rows have no value", lost("wind_speed", 0.3)),
    Fault("a new carrier", ("carrier",), r"new value 'ZZ'", new_value("carrier", "ZZ", 0.05)),
    Fault("a time zone", (_LOCAL,), r"5 hours later.*time zone", time(_LOCAL, lambda each: each + 5 * _HOUR)),
)

UNITS = (
    Fault("miles → km, exact", ("distance",), r"1\.609 times.*kilometres", scaled("distance", 1.609344)),
    Fault("°F → °C", ("temp",), r"°F became °C", scaled("temp", 5 / 9, -160 / 9)),
    Fault("°F → °C, rounded", ("dewp",), r"°F became °C", scaled("dewp", 5 / 9, -160 / 9, 1)),
    Fault("mph → m/s", ("wind_speed",), r"mph became m/s", scaled("wind_speed", 0.44704)),
    Fault("mbar → Pa", ("pressure",), r"100 times.*hPa became Pa", scaled("pressure", 100.0)),
    Fault("percent → fraction", ("humid",), r"0\.01 times.*percent became", scaled("humid", 0.01)),
    Fault("miles → km, half of the servers", ("distance",), r"1\.609 times.*two sources",
          scaled_in_half("distance", 1.609344)),
    Fault("°F → °C, half of the servers", ("temp",), r"°F became °C.*two sources",
          scaled_in_half("temp", 5 / 9, -160 / 9)),
    Fault("sign flipped", ("distance",), r"sign flipped", scaled("distance", -1.0)),
    Fault("years less 1900", ("plane_year",), r"shifted by -1900", scaled("plane_year", 1.0, -1900.0)),
    Fault("decimal point", ("precip", "visib"), r"10 times", scaled("visib", 10.0)),
    Fault("HHMM → minutes", ("sched_dep_time",), r"minutes since midnight",
          clock("sched_dep_time", lambda each: each)),
)  # fmt: skip

TIMES = (
    Fault("daylight saving", (_LOCAL,), r"1 hour later", time(_LOCAL, lambda each: each + _HOUR)),
    Fault("a time zone west", (_LOCAL,), r"5 hours earlier", time(_LOCAL, lambda each: each - 5 * _HOUR)),
    Fault("a time zone, HHMM", ("sched_dep_time",), r"5 hours later",
          clock("sched_dep_time", lambda each: _hhmm(each + 300))),
    Fault("all midnight", (_LOCAL,), r"time of day is lost", time(_LOCAL, lambda each: each // _DAY * _DAY)),
    Fault("milliseconds", (_LOCAL,), r"milliseconds", seconds_as_milliseconds),
    Fault("frozen clock", (_LOCAL,), r"frozen|stuck|all times are",
          time(_LOCAL, lambda each: np.full_like(each, each[0]))),
    Fault("all of 1970", (_LOCAL,), r"1970|stuck", time(_LOCAL, np.zeros_like)),
)  # fmt: skip

CATEGORIES = (
    Fault("lower case", ("carrier", "origin"), r"letter case", written("carrier", pc.utf8_lower)),
    Fault("white space", ("dest",), r"white space",
          written("dest", lambda each: pc.binary_join_element_wise(each, "", " "))),
    Fault("white space in some", ("origin",), r"white space.* in 3\d% of rows", mapped("origin", {"JFK": "JFK "})),
    Fault("two values exchanged", ("origin",), r"confused|hold another value",
          mapped("origin", {"EWR": "LGA", "LGA": "EWR"})),
    Fault("all recoded", ("carrier",), r"unknown to training|renamed|prefix",
          written("carrier", lambda each: pc.binary_join_element_wise("X", each, ""))),
    Fault("N/A for missing", ("tailnum",), r"'N/A'.*filled in", filled("tailnum", "N/A")),
    Fault("one airport gone", ("origin",), r"'JFK' is gone", without("origin", "JFK")),
)  # fmt: skip

COLUMNS = (
    Fault("temp ↔ dewp", ("temp", "dewp"), r"temp.*exchanged", exchanged("temp", "dewp")),
    Fault(
        "dep ↔ arr times",
        ("sched_dep_time", "sched_arr_time"),
        r"exchanged",
        exchanged("sched_dep_time", "sched_arr_time"),
    ),
    Fault("origin ↔ dest", ("origin", "dest"), r"exchanged", exchanged("origin", "dest")),
)

VALUES = (
    Fault("0 for missing", ("temp",), r"values are 0,? .*filled in", filled("temp", 0.0)),
    Fault("-1 for missing", ("plane_year",), r"values are -1,? .*filled in", filled("plane_year", -1)),
    Fault("999 for missing", ("pressure",), r"values are 999,? .*filled in", filled("pressure", 999.0)),
    Fault("-9999 for missing", ("dewp",), r"-9999", filled("dewp", -9999.0, 0.03)),
    Fault("the mean for missing", ("humid",), r"filled in", filled("humid", 61.234, 0.3)),
    Fault("clipped", ("distance",), r"clipped at 1000", clipped("distance", 1000.0)),
    Fault("rounded", ("temp",), r"whole numbers|rounded", scaled("temp", 1.0, decimals=0)),
    Fault("all missing", ("visib",), r"all rows lack a value", lost("visib", 1.0)),
    Fault("12% missing", ("carrier",), r"1\d% of rows have no value", lost("carrier", 0.12)),
    Fault("stuck at zero", ("distance",), r"stuck: all values are 0", stuck("distance", 0.0)),
)

FAULTS = (*NAMED_IN_THE_ISSUE, *UNITS, *TIMES, *CATEGORIES, *COLUMNS, *VALUES)
