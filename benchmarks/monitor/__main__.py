"""Proves the monitor's false-alarm rate, and lists which shift of which size it catches at which sample size.

    .venv/bin/python -m benchmarks.monitor

The reference is months 2 to 11 of the shipped flights. Spans "of the same distribution" are made of its own days, drawn
with replacement and cut to size, and of its own rows, drawn one by one. Shifts are of random rows of all months,
against the months as they are: the thresholds hold what the seasons do. Prints two tables in Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import stats

from benchmarks.monitor.profiles import profile_of
from models.features import label_feature, model_features
from monitoring.checks import OUTSIDE, Setting, compare, rate_of_check
from monitoring.config import MonitorConfig
from monitoring.profile import Profile, count
from monitoring.report import Comparison, State
from monitoring.rows import as_rows
from pipeline.config import load_config
from schema.contract import load_schema
from storage.places import at

_ROOT = Path(__file__).parents[2]
_CONFIG = load_config(_ROOT / "pipeline" / "configs" / "flights.yaml")
_SCHEMA = load_schema(at(_CONFIG.schema_path))
_LABEL = _CONFIG.label.name
_FEATURES = (*model_features(_SCHEMA, _CONFIG.features, _LABEL), label_feature(_LABEL, _SCHEMA))
_MONTHS = range(2, 12)
_SIZES = (300, 1_000, 3_000, 10_000, 30_000)
_SPANS = 40
_TRIES = 10
_CAUGHT = 9
_HOUR = 3600
_STEPS = 7


def main() -> None:
    """Prints both tables."""
    months = {month: _rows(month) for month in _MONTHS}
    profile = profile_of(months, _FEATURES, _LABEL)
    rows = pa.Table.from_batches(list(months.values())).combine_chunks().to_batches()[0]
    print(false_alarms(rows))
    print()
    print(power(profile, rows))


def false_alarms(rows: pa.RecordBatch) -> str:
    """A table: how many checks, and how many whole reports, alarm on spans like the training window.

    Its days are dealt to spans at random first, or a mixture of the year's days would rightly differ from November.
    """
    days = np.random.default_rng(0).permutation(np.array(_days_of(rows), object))
    spans = enumerate(np.array_split(days, len(_MONTHS)), start=1)
    profile = profile_of(
        {span: rows.take(pa.array(np.concatenate(list(each)))) for span, each in spans}, _FEATURES, _LABEL
    )
    lines = [
        "| spans of | rows | feature checks that alarm | reports that alarm |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, draw in (("whole days", _days), ("single rows", _single)):
        for size in _SIZES:
            checks = alarms = reports = 0
            for span in draw(rows, size, np.random.default_rng(size)):
                states = _states(profile, span)
                checks += len(states)
                alarms += sum(states.values())
                reports += any(states.values())
            lines.append(f"| {name} | {size:,} | {_rate(alarms, checks)} | {_rate(reports, _SPANS)} |")
    return "\n".join(lines)


def _rate(found: int, of: int) -> str:
    """A share in percent with its 95% interval (Clopper and Pearson 1934)."""
    low = stats.beta.ppf(0.025, found, of - found + 1) if found else 0.0
    high = stats.beta.ppf(0.975, found + 1, of - found) if found < of else 1.0
    return f"{found} of {of:,}: {found / of:.2%} ({low:.2%} to {high:.2%})"


def _days(rows: pa.RecordBatch, size: int, generator: np.random.Generator) -> Iterator[pa.RecordBatch]:
    """Days drawn with replacement, cut to size."""
    days = _days_of(rows)
    for _ in range(_SPANS):
        chosen = np.concatenate([days[each] for each in generator.integers(0, len(days), size // 500 + 1)])
        start = int(generator.integers(0, max(1, len(chosen) - size + 1)))
        yield rows.take(pa.array(chosen[start : start + size]))


def _days_of(rows: pa.RecordBatch) -> list[np.ndarray]:
    """The places of each day's rows."""
    seconds = np.asarray(rows.column(rows.schema.get_field_index("scheduled_departure")), np.float64)
    days = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(seconds // 86_400)) + 1)
    return [each for each in days if len(each) > 100]


def _single(rows: pa.RecordBatch, size: int, generator: np.random.Generator) -> Iterator[pa.RecordBatch]:
    for _ in range(_SPANS):
        yield rows.take(pa.array(generator.choice(len(rows), size, replace=False)))


def _states(profile: Profile, rows: pa.RecordBatch, only: str | None = None) -> dict[tuple[str, str, str], bool]:
    """Whether each check alarms, of all features or of one."""
    config = MonitorConfig()
    bins = {key: each for key, each in profile.bins.items() if only is None or key[0] == only}
    rate = rate_of_check(config.false_alarm_rate, profile)
    setting = Setting(Comparison.DRIFT, "benchmark", rate, config.fewest_rows, _SCHEMA, {})
    checks = [each for each in compare(profile, count(rows, bins), setting) if each.aspect != OUTSIDE]
    return {(each.subject, each.aspect, each.against): each.state is State.ALARM for each in checks}


Shift = Callable[[pa.Array, float, np.random.Generator], pa.Array]
"""(values, how far, chance) → shifted values."""


def power(profile: Profile, rows: pa.RecordBatch) -> str:
    """A table: for each shift and size of sample the smallest shift that nine of ten random samples catch."""
    kinds: list[tuple[str, str, Shift, float, str]] = [
        ("mean of `sched_dep_time` moved, standard deviations", "sched_dep_time", _moved, 3.0, ".2f"),
        ("mean of `humid` moved, standard deviations", "humid", _moved, 6.0, ".2f"),
        ("mean of `temp` moved, standard deviations", "temp", _moved, 6.0, ".2f"),
        ("`distance` times", "distance", _scaled, 2.0, ".2f"),
        ("`plane_seats` times", "plane_seats", _scaled, 2.0, ".2f"),
        ("`carrier`: share of rows moved to one value", "carrier", _to_one, 1.0, ".0%"),
        ("`distance`: share missing", "distance", _missing, 1.0, ".1%"),
        ("`wind_speed`: share missing", "wind_speed", _missing, 1.0, ".1%"),
        ("`carrier`: share of an unseen value", "carrier", _unseen, 1.0, ".1%"),
        ("`scheduled_departure`: hours later", "scheduled_departure", _later, 12.0, ".1f"),
    ]
    lines = [f"| shift | {' | '.join(f'{size:,} rows' for size in _SIZES)} |", "| --- |" + " ---: |" * len(_SIZES)]
    for name, feature, shift, most, style in kinds:
        least = 1.0 if shift is _scaled else 0.0
        found = [_smallest(profile, rows, feature, shift, (least, most), size) for size in _SIZES]
        cells = ["not caught" if each is None else format(each, style) for each in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _smallest(
    profile: Profile, rows: pa.RecordBatch, feature: str, shift: Shift, between: tuple[float, float], size: int
) -> float | None:
    """By bisection; None if even the largest shift is not caught."""
    low, high = between
    if not _is_caught(profile, rows, feature, shift, high, size):
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _is_caught(profile, rows, feature, shift, middle, size) else (middle, high)
    return high


def _is_caught(profile: Profile, rows: pa.RecordBatch, feature: str, shift: Shift, far: float, size: int) -> bool:
    generator = np.random.default_rng(size)
    column, missed = rows.column(rows.schema.get_field_index(feature)), 0
    for _ in range(_TRIES):
        values = column.take(pa.array(generator.choice(len(rows), size, replace=False)))
        sample = pa.RecordBatch.from_arrays([shift(values, far, generator)], [feature])
        missed += not any(_states(profile, sample, feature).values())
        if missed > _TRIES - _CAUGHT:
            return False
    return True


def _moved(values: pa.Array, far: float, _: np.random.Generator) -> pa.Array:
    return pc.add(values, pa.scalar(far * float(pc.stddev(values).as_py())))


def _scaled(values: pa.Array, factor: float, _: np.random.Generator) -> pa.Array:
    return pc.multiply(values, pa.scalar(factor))


def _to_one(values: pa.Array, share: float, generator: np.random.Generator) -> pa.Array:
    moved = pa.array(generator.random(len(values)) < share)
    return pc.if_else(moved, pa.scalar(b"DL", values.type), values)


def _missing(values: pa.Array, share: float, generator: np.random.Generator) -> pa.Array:
    return pc.if_else(pa.array(generator.random(len(values)) < share), pa.scalar(None, values.type), values)


def _unseen(values: pa.Array, share: float, generator: np.random.Generator) -> pa.Array:
    return pc.if_else(pa.array(generator.random(len(values)) < share), pa.scalar(b"ZZ", values.type), values)


def _later(values: pa.Array, hours: float, _: np.random.Generator) -> pa.Array:
    return pc.add(values, pa.scalar(hours * _HOUR))


def _rows(month: int) -> pa.RecordBatch:
    table = pq.read_table(_ROOT / "data" / "flights" / f"span-{month:02d}" / "flights.parquet")
    [batch] = table.filter(pc.is_valid(table[_LABEL])).combine_chunks().to_batches()
    return as_rows(dict(zip(batch.schema.names, batch.columns, strict=True)), _FEATURES, len(batch))


if __name__ == "__main__":
    main()
