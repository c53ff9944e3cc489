"""The shipped flights, as training (ten months) and as what came after (two)."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.diagnosis import CategoricalSummary, NumericSummary

NUMBERS = (
    "distance", "sched_dep_time", "sched_arr_time", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust",
    "precip", "pressure", "visib", "plane_year", "plane_seats", "plane_engines",
)  # fmt: skip
CATEGORIES = ("carrier", "origin", "dest", "tailnum", "flight")


class Flights:
    """A year by month, in arrays."""

    def __init__(self):
        self._months = [pq.read_table(f"data/flights/span-{month:02}/flights.parquet") for month in range(1, 13)]

    def values(self, name, months):
        """Of some months (1 to 12), as the summaries take them."""
        column = pa.concat_tables([self._months[month - 1].select([name]) for month in months]).column(name)
        if name in NUMBERS:
            return column.cast(pa.float64()).to_numpy()
        return np.array([each and each.encode() for each in column.cast(pa.string()).to_pylist()], object)

    def times(self, months):
        """Local departures as datetime64[s]."""
        tables = [self._months[month - 1].select(["scheduled_departure"]) for month in months]
        return pa.concat_tables(tables).column(0).to_numpy().astype("datetime64[s]")


def summary_of(name, values):
    return NumericSummary.of(values) if name in NUMBERS else CategoricalSummary.of(values.tolist())


@pytest.fixture(scope="session")
def flights():
    return Flights()


@pytest.fixture(scope="session")
def before(flights):
    """By feature: the summary of months 1 to 10."""
    return {name: summary_of(name, flights.values(name, range(1, 11))) for name in (*NUMBERS, *CATEGORIES)}


@pytest.fixture(scope="session")
def after(flights):
    """By feature: the values of months 11 and 12."""
    return {name: flights.values(name, (11, 12)) for name in (*NUMBERS, *CATEGORIES)}


@pytest.fixture(scope="session")
def summarize():
    """The summary of a feature's values."""
    return summary_of
