"""Joins what was asked with what is in a table, by an identifier: the labels that arrived, and feature skew row by row.

The join works on partitions of Arrow batches, by a hash of the identifier, so that it is a few Beam elements and not
one for each row. TFDV's feature skew detector answers the same question of the features (its counts are the tests'
oracle), element by element and without the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.features import Feature
from monitoring.profile import Survey
from monitoring.quality import Moments
from monitoring.rows import column_type, is_number
from monitoring.slicing import QualityBySlice, add_quality, loss_of, quality_by_slice

SCORE, WINDOW, VERSION, SECONDS = "__score", "__window", "__version", "__seconds"
"""Columns beside the features, of a batch of requests."""

_KEY = "__key"
_BETWEEN = "\x1f"
_SAME = 1e-5
"""Relative: a number that went through float32 or a few decimals of JSON is the same number."""

Answered = tuple[int, int]
"""A version, and a window of time."""


@dataclass(frozen=True)
class JoinPlan:
    """What is joined, and how."""

    identifier: tuple[str, ...]
    features: tuple[Feature, ...]
    """What requests carry."""
    label: str
    slices: tuple[str, ...]
    task: str
    version: int
    """The judged one: its feature skew is counted."""
    share: float
    """Of the joined rows to keep numbers of, for the diagnosis."""
    losses_since: float = 0.0
    """Versions are compared with each other on what was asked from then on, seconds since 1970."""


@dataclass
class Joined:
    """What the join of a partition found; it adds up."""

    quality: dict[Answered, QualityBySlice] = field(default_factory=dict)
    losses: dict[int, Moments] = field(default_factory=dict)
    """Of each version's labelled rows: log loss, or squared error."""
    matched: int = 0
    """Requests of the judged version that have a row in the table."""
    mismatched: dict[str, int] = field(default_factory=dict)
    """Feature → matched requests whose value is another than the table's."""
    compared: set[str] = field(default_factory=set)
    """Features that the table has."""
    asked: Survey | None = None
    tabled: Survey | None = None
    """Both sides of the matched rows."""
    contradictions: int = 0
    """Identifiers that come with several labels; they count as unlabelled."""
    first_contradiction: str = ""
    repeated: int = 0
    """Requests for a row that the same version had answered before; the first one counts."""
    anonymous: int = 0
    """Requests without a whole identifier: they have no label."""
    anonymous_in_tables: int = 0
    """The same, of the tables' rows: they label nothing."""

    def __add__(self, other: Joined) -> Joined:
        quality = {key: dict(each) for key, each in self.quality.items()}
        for key, each in other.quality.items():
            add_quality(quality.setdefault(key, {}), each)
        names = {**self.mismatched, **other.mismatched}
        versions = {**self.losses, **other.losses}
        return Joined(
            quality,
            {each: self.losses.get(each, Moments()) + other.losses.get(each, Moments()) for each in versions},
            self.matched + other.matched,
            {name: self.mismatched.get(name, 0) + other.mismatched.get(name, 0) for name in names},
            self.compared | other.compared,
            _sum(self.asked, other.asked),
            _sum(self.tabled, other.tabled),
            self.contradictions + other.contradictions,
            self.first_contradiction or other.first_contradiction,
            self.repeated + other.repeated,
            self.anonymous + other.anonymous,
            self.anonymous_in_tables + other.anonymous_in_tables,
        )


def _sum(first: Survey | None, second: Survey | None) -> Survey | None:
    return first + second if first is not None and second is not None else first or second


def partition(rows: pa.RecordBatch, identifier: Sequence[str], partitions: int) -> list[tuple[int, pa.RecordBatch]]:
    """The rows by a hash of their identifier; rows without a whole one join nothing."""
    if not identifier:
        return [(len(rows) % partitions, rows)]
    hashed = pd.util.hash_array(np.asarray(keys(rows, identifier).fill_null(""), object), categorize=False)
    of = (hashed % np.uint64(partitions)).astype(np.int64)
    return [(int(each), rows.filter(pa.array(of == each))) for each in np.unique(of)]


def select(rows: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Some of the columns."""
    return pa.RecordBatch.from_arrays([rows.column(rows.schema.get_field_index(name)) for name in names], list(names))


def keys(rows: pa.RecordBatch, identifier: Sequence[str]) -> pa.Array:
    """The identifier of each row as one text, null if a part of it is missing."""
    if not identifier:
        return pa.nulls(len(rows), pa.string())
    parts = [_as_text(rows.column(rows.schema.get_field_index(name))) for name in identifier]
    return pc.binary_join_element_wise(*parts, _BETWEEN)


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_binary(column.type):
        texts = [None if each is None else each.decode("utf-8", "backslashreplace") for each in column.to_pylist()]
        return pa.array(texts, pa.string())
    return pc.cast(column, pa.string())


def join(requests: Iterable[pa.RecordBatch], tables: Iterable[pa.RecordBatch], plan: JoinPlan) -> Joined:
    """Joins one partition: tables need the identifier, and may lack anything else."""
    tabled = [_keyed(each, plan.identifier) for each in tables]
    found = Joined(anonymous_in_tables=sum(each.column(_KEY).null_count for each in tabled) if plan.identifier else 0)
    known = _labels(tabled, plan.label, found)
    asked = _frame(_keyed(each, plan.identifier) for each in requests)
    if asked is None:
        return found
    is_repeated = asked[_KEY].notna() & asked.duplicated([_KEY, VERSION])
    found.repeated = int(is_repeated.sum())
    asked = asked[~is_repeated]
    found.anonymous = int(asked[_KEY].isna().sum()) if plan.identifier else 0
    labels = asked[_KEY].map(known)
    _count_mismatches(asked, tabled, plan, found)
    for _, group in asked.groupby([VERSION, WINDOW]):
        version, window = group[[VERSION, WINDOW]].to_numpy(np.int64)[0].tolist()
        rows = _rows(group, [each for each in plan.features if each.name in plan.slices])
        of_group = labels.loc[group.index].to_numpy(np.float64)
        counts = quality_by_slice(rows, group[SCORE].to_numpy(np.float64), of_group, plan.slices, plan.task)
        found.quality[version, window] = counts
    recent = asked[asked[SECONDS] >= plan.losses_since]
    for _, group in recent.groupby(VERSION):
        of_group = labels.loc[group.index].to_numpy(np.float64)
        found.losses[int(group[VERSION].iloc[0])] = loss_of(group[SCORE].to_numpy(np.float64), of_group, plan.task)
    return found


def _keyed(rows: pa.RecordBatch, identifier: Sequence[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([*rows.columns, keys(rows, identifier)], [*rows.schema.names, _KEY])


def _frame(batches: Iterable[pa.RecordBatch]) -> pd.DataFrame | None:
    frames = [each.to_pandas() for each in batches if len(each)]
    return pd.concat(frames, ignore_index=True) if frames else None


def _rows(frame: pd.DataFrame, features: Sequence[Feature], suffix: str = "") -> pa.RecordBatch:
    arrays = [pa.array(frame[f"{each.name}{suffix}"], column_type(each), from_pandas=True) for each in features]
    return pa.RecordBatch.from_arrays(arrays, [each.name for each in features])


def _labels(tables: Sequence[pa.RecordBatch], label: str, found: Joined) -> pd.Series:
    """The label of each identifier, but of those that have several."""
    table = _frame(select(each, [_KEY, label]) for each in tables if label in each.schema.names)
    if table is None:
        return pd.Series(dtype=np.float64)
    labelled = table[[_KEY, label]].dropna()
    different = labelled.groupby(_KEY)[label].nunique()
    contradictory = different[different > 1].index
    found.contradictions = len(contradictory)
    found.first_contradiction = str(contradictory[0]).replace(_BETWEEN, ", ") if len(contradictory) else ""
    labelled = labelled[~labelled[_KEY].isin(contradictory)].drop_duplicates(_KEY)
    return labelled.set_index(_KEY)[label]


def _count_mismatches(asked: pd.DataFrame, tables: Sequence[pa.RecordBatch], plan: JoinPlan, found: Joined) -> None:
    """Only of tables that hold features: one of labels says nothing of them."""
    others = [each for each in plan.features if each.name not in plan.identifier]
    full = [each for each in tables if any(feature.name in each.schema.names for feature in others)]
    compared = [feature for feature in others if all(feature.name in each.schema.names for each in full)]
    table = _frame(select(each, [_KEY, *(feature.name for feature in compared)]) for each in full)
    if table is None or not compared:
        return
    table = table[table[_KEY].notna()].drop_duplicates(_KEY)
    both = asked[asked[VERSION] == plan.version].merge(table, on=_KEY, suffixes=("", "__table"))
    found.matched, found.compared = len(both), {each.name for each in compared}
    for feature in compared:
        here, there = both[feature.name], both[f"{feature.name}__table"]
        found.mismatched[feature.name] = int(_differ(here, there, feature).sum())
    if len(both):
        generator = np.random.default_rng(len(both))
        sides = [_rows(both, compared, suffix) for suffix in ("", "__table")]
        found.asked, found.tabled = (Survey.of(side, compared, 0, plan.share, generator) for side in sides)


def _differ(here: pd.Series, there: pd.Series, feature: Feature) -> np.ndarray:
    is_missing = here.isna().to_numpy(), there.isna().to_numpy()
    if is_number(feature):
        first, second = here.to_numpy(np.float64), there.to_numpy(np.float64)
        is_same = np.isclose(first, second, rtol=_SAME, atol=0)
    else:
        is_same = (here == there).to_numpy()
    return np.where(is_missing[0] | is_missing[1], is_missing[0] != is_missing[1], ~is_same)
