"""Watched data in numpy, without Beam and without a model: features, rows, and the profile of a training window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature, Role
from monitoring.checks import Setting
from monitoring.profile import Counts, Profile, Survey, choose_bins, count, related_sample
from monitoring.report import Check, Comparison
from monitoring.rows import as_rows

_MONDAY = 1_388_966_400
"""2014-01-06 00:00 UTC."""


def number(name: str, *, is_whole: bool = False) -> Feature:
    """A numeric feature, FLOAT or INT."""
    return Feature(name, Role.NUMERIC, schema_pb2.INT if is_whole else schema_pb2.FLOAT, required=False)


def category(name: str, *, is_whole: bool = False) -> Feature:
    """A feature of many values, BYTES or INT."""
    return Feature(name, Role.VOCABULARY, schema_pb2.INT if is_whole else schema_pb2.BYTES, required=False)


def time(name: str) -> Feature:
    """A feature of seconds since 1970."""
    return Feature(name, Role.TIME, schema_pb2.INT, required=False)


FLIGHTS = (number("temp"), number("stops", is_whole=True), category("carrier"), time("departure"))
"""A feature of each kind; `flights` draws rows of them."""


def watched_rows(columns: Mapping[str, Sequence[Any] | np.ndarray], features: Sequence[Feature]) -> pa.RecordBatch:
    """Values by name (None is missing) as rows of the features; all null for a feature without values."""
    size = len(next(iter(columns.values())))
    return as_rows({name: pa.array(values) for name, values in columns.items()}, features, size)


def flights(random: np.random.Generator, rows: int, **changed: Any) -> pa.RecordBatch:
    """Rows of `FLIGHTS`, independent of one another: 5% of `temp` is missing, departures are from 5:00 to 23:00.

    Args:
        random: Draws them.
        rows: How many.
        changed: Columns that replace those drawn.
    """
    temp = random.normal(60, 15, rows).round(2)
    hours = random.choice(24, rows, p=np.r_[np.zeros(5), np.full(18, 1 / 18), 0])
    columns = {
        "temp": np.where(random.random(rows) < 0.05, np.nan, temp),
        "stops": random.poisson(1.0, rows).clip(0, 4),
        "carrier": random.choice([b"AA", b"B6", b"DL", b"UA"], rows, p=[0.1, 0.2, 0.3, 0.4]),
        "departure": _MONDAY + 86400 * random.integers(0, 28, rows) + 3600 * hours + random.integers(0, 3600, rows),
    }
    return watched_rows({**columns, **changed}, FLIGHTS)


def profile_of(
    features: Sequence[Feature], spans: Mapping[int, pa.RecordBatch], block_rows: int = 256, label: str = ""
) -> Profile:
    """The profile of a window, as `ProfileExamples` makes it of one file for each span.

    Args:
        features: The columns of each batch.
        spans: Rows by span, ascending.
        block_rows: Rows of a block.
        label: The feature that is in no relation to others.
    """
    surveys = {span: Survey.of(rows, features, span, 1.0, np.random.default_rng(0)) for span, rows in spans.items()}
    newest = max(spans)
    total = _sum(surveys.values(), features)
    earlier = _sum([each for span, each in surveys.items() if span < newest], features) if len(spans) > 1 else total
    bins = choose_bins(features, total, earlier, label)
    blocks = [
        (span, rows.slice(start, block_rows))
        for span, rows in spans.items()
        for start in range(0, len(rows), block_rows)
    ]
    counted = [count(block, bins) for _, block in blocks]
    new_rows = {}
    for name, values in total.categories.items():
        first = {span: pa.array([v for v, (_, of) in values.items() if of == span], pa.binary()) for span in spans}
        in_each = [pc.sum(pc.is_in(block.column(name), first[span])).as_py() for span, block in blocks]
        new_rows[name] = np.array(in_each, np.int64)
    return Profile(
        tuple(features),
        bins,
        np.array([span for span, _ in blocks]),
        {key: np.stack([each[key] for each in counted]) for key in bins},
        new_rows,
        earlier.summaries(),
        surveys[newest].summaries(),
        related_sample(bins, surveys[newest].numbers),
    )


def counts_of(profile: Profile, rows: pa.RecordBatch) -> Counts:
    """Rows counted in the profile's bins."""
    return count(rows, profile.bins)


def setting_of(
    schema: schema_pb2.Schema | None = None,
    rate: float = 1e-4,
    fewest_rows: int = 50,
    importances: Mapping[str, float] | None = None,
    last_span: int | None = None,
    comparison: Comparison = Comparison.SKEW,
) -> Setting:
    """What checks share, `rate` being that of one check."""
    return Setting(
        comparison, "requests", rate, fewest_rows, schema or schema_pb2.Schema(), importances or {}, last_span
    )


def check_of(checks: Sequence[Check], subject: str, aspect: str = "values", against: str = "training window") -> Check:
    """The one check of an aspect of a subject."""
    (found,) = [each for each in checks if (each.subject, each.aspect, each.against) == (subject, aspect, against)]
    return found


def _sum(surveys: Any, features: Sequence[Feature]) -> Survey:
    return sum(surveys, Survey.empty(features))
