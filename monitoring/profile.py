"""The profile of a training window: every watched feature counted in bins, block of rows by block of rows.

Blocks keep the order of the data, so that stretches of it can be compared with the rest (`monitoring.null`); their
number is bounded, so a profile's size does not grow with the data. Rows are looked at twice: once to choose the bins,
once to count.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from models.features import Feature
from monitoring.bins import Bins, Kind, bytes_of, category_bins, is_time, number_bins, relation_bins, text_of, time_bins
from monitoring.diagnosis.summaries import MOST_TEXTS, CategoricalSummary, NumericSummary
from monitoring.relations import Columns, Relation, fit_relations
from monitoring.rows import is_number
from storage.places import Place

Key = tuple[str, Kind]
"""A feature, and how it is counted."""

Counts = dict[Key, np.ndarray]
"""int64 [bins] or [blocks, bins]."""

Summary = NumericSummary | CategoricalSummary

_PROFILE_FILE = "profile.json"
_COUNTS_FILE = "counts.npz"
_FEWEST_BLOCK_ROWS = 256
MOST_BLOCKS = 1024
"""Of a window, but for those that end with a file."""

_SAMPLED_ROWS = 2000
_MOST_VALUES = 50_000
"""Of a category: of one with more, such as an id that never repeats, only the most frequent are known."""


def block_rows(rows: int) -> int:
    """The rows of a block, given those of the window."""
    return max(_FEWEST_BLOCK_ROWS, -(-rows // MOST_BLOCKS))


@dataclass(frozen=True)
class Profile:
    """See the module."""

    features: tuple[Feature, ...]
    """What is watched: the model's features, and the label."""
    bins: dict[Key, Bins]
    spans: np.ndarray
    """The span of each block, int64 [blocks], ascending."""
    counts: Counts
    """int64 [blocks, bins]."""
    new_rows: dict[str, np.ndarray]
    """By category: the rows of each block with a value that no earlier span has, int64 [blocks]."""
    earlier: dict[str, Summary]
    """Of the window without its newest span (of all, if that is the only one)."""
    newest: dict[str, Summary]
    """Of its newest span alone."""
    sample: dict[str, np.ndarray] = field(default_factory=dict)
    """Some rows of the newest span, of the numbers that are in a relation: float64 [rows], NaN where missing."""

    @property
    def rows(self) -> int:
        """Of the whole window."""
        return int(next(iter(self.counts.values())).sum()) if self.counts else 0

    @property
    def newest_span(self) -> int:
        """The number of the newest span."""
        return int(self.spans[-1])

    def only(self, blocks: np.ndarray) -> Profile:
        """The profile of some blocks, bool [blocks]; the summaries stay those of the whole."""
        return Profile(
            self.features,
            self.bins,
            self.spans[blocks],
            {key: counts[blocks] for key, counts in self.counts.items()},
            {name: rows[blocks] for name, rows in self.new_rows.items()},
            self.earlier,
            self.newest,
            self.sample,
        )

    def save(self, folder: Place) -> None:
        """Writes `profile.json` and `counts.npz`."""
        keys = list(self.bins)
        described = {
            "features": [feature.to_json() for feature in self.features],
            "bins": [_bins_to_json(self.bins[key]) for key in keys],
            "new_rows": sorted(self.new_rows),
            "earlier": {name: _summary_to_json(each) for name, each in self.earlier.items()},
            "newest": {name: _summary_to_json(each) for name, each in self.newest.items()},
            "sample": sorted(self.sample),
        }
        arrays = {f"counts-{index}": _small(self.counts[key]) for index, key in enumerate(keys)}
        arrays |= {f"new-{index}": _small(self.new_rows[name]) for index, name in enumerate(sorted(self.new_rows))}
        arrays |= {f"sample-{index}": self.sample[name] for index, name in enumerate(sorted(self.sample))}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, spans=self.spans, **arrays)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _COUNTS_FILE).write_bytes(buffer.getvalue())
        (folder / _PROFILE_FILE).write_text(json.dumps(described), encoding="utf-8")

    @classmethod
    def load(cls, folder: Place) -> Profile:
        """Reads what `save` wrote.

        Raises:
            OSError: It is not there.
            ValueError: It is damaged.
        """
        described = json.loads((folder / _PROFILE_FILE).read_text(encoding="utf-8"))
        try:
            with np.load(io.BytesIO((folder / _COUNTS_FILE).read_bytes()), allow_pickle=False) as arrays:
                return cls._of(described, arrays)
        except (AttributeError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{folder} holds no whole profile: {error}") from error

    @classmethod
    def _of(cls, described: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Profile:
        bins = [_bins_from_json(each) for each in described["bins"]]
        return cls(
            tuple(Feature.from_json(each) for each in described["features"]),
            {key_of(each): each for each in bins},
            arrays["spans"],
            {key_of(each): arrays[f"counts-{index}"].astype(np.int64) for index, each in enumerate(bins)},
            {name: arrays[f"new-{index}"].astype(np.int64) for index, name in enumerate(described["new_rows"])},
            {name: _summary_from_json(each) for name, each in described["earlier"].items()},
            {name: _summary_from_json(each) for name, each in described["newest"].items()},
            {name: arrays[f"sample-{index}"] for index, name in enumerate(described.get("sample", ()))},
        )


def related_sample(bins: Mapping[Key, Bins], numbers: Columns) -> dict[str, np.ndarray]:
    """Some of the rows of a survey, of the numbers that are in a relation."""
    names = {name for each in bins.values() if each.relation for name in each.relation.columns}
    order = np.random.default_rng(0).permutation(len(next(iter(numbers.values()), ())))[:_SAMPLED_ROWS]
    return {name: numbers[name][order] for name in sorted(names)}


def key_of(bins: Bins) -> Key:
    """The feature, and how it is counted."""
    return bins.feature, bins.kind


def count(rows: pa.RecordBatch, bins: Mapping[Key, Bins]) -> Counts:
    """The rows by bin: int64 [bins] for each aspect."""
    return {
        key: np.bincount(each.indices(column), minlength=len(each.labels))
        for key, each in bins.items()
        if (column := each.column(rows)) is not None
    }


def choose_bins(
    features: Sequence[Feature], survey: Survey, earlier: Survey | None = None, label: str = ""
) -> dict[Key, Bins]:
    """The bins of every aspect of every feature that has a value.

    Args:
        features: What is watched.
        survey: Of the whole window.
        earlier: Without its newest span, which is judged: a relation that is broken there is not to be learned. None:
            of the whole.
        label: Is in no relation to other features.
    """
    chosen: list[Bins] = []
    for feature in features:
        name = feature.name
        if is_time(feature):
            chosen += time_bins(name)
        elif is_number(feature):
            values = survey.numbers[name]
            chosen += [number_bins(name, values[~np.isnan(values)])] if not np.isnan(values).all() else []
        else:
            chosen.append(category_bins(name, {value: rows for value, (rows, _) in survey.categories[name].items()}))
    numbers = (earlier or survey).numbers
    chosen += [relation_bins(each, numbers) for each in fit_relations(features, numbers, label)]
    return {key_of(each): each for each in chosen}


@dataclass
class Survey:
    """What the bins are chosen from; surveys of parts add up."""

    numbers: dict[str, np.ndarray]
    """A random part of each number's values, NaN where missing: float64 [rows]."""
    categories: dict[str, dict[bytes, tuple[int, int]]]
    """Each category's values → rows, and the first span that has it."""
    rows: int = 0
    missing: dict[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, features: Sequence[Feature]) -> Survey:
        """Of no rows."""
        numbers = {each.name: np.empty(0) for each in features if is_number(each)}
        names = [each.name for each in features if not is_number(each)]
        return cls(numbers, {name: {} for name in names}, missing=dict.fromkeys(names, 0))

    @classmethod
    def of(
        cls, rows: pa.RecordBatch, features: Sequence[Feature], span: int, share: float, generator: np.random.Generator
    ) -> Survey:
        """Of some rows of a span.

        Args:
            rows: See `monitoring.rows`.
            features: What is watched.
            span: Where they are from.
            share: Of the numbers to keep.
            generator: Chooses them.
        """
        chosen = generator.random(len(rows)) < share
        numbers = {
            each.name: np.asarray(rows.column(each.name).fill_null(np.nan), np.float64)[chosen]
            for each in features
            if is_number(each)
        }
        names = [each.name for each in features if not is_number(each)]
        categories = {name: _counted(rows.column(name), span) for name in names}
        missing = {name: rows.column(name).null_count for name in names}
        return cls(numbers, categories, rows=len(rows), missing=missing)

    def __add__(self, other: Survey) -> Survey:
        numbers = {name: np.concatenate([values, other.numbers[name]]) for name, values in self.numbers.items()}
        categories = {name: _joined(values, other.categories[name]) for name, values in self.categories.items()}
        missing = {name: rows + other.missing[name] for name, rows in self.missing.items()}
        return Survey(numbers, categories, rows=self.rows + other.rows, missing=missing)

    def summaries(self) -> dict[str, Summary]:
        """What the diagnosis compares."""
        found: dict[str, Summary] = {name: NumericSummary.of(values) for name, values in self.numbers.items()}
        for name, values in self.categories.items():
            present = sum(rows for rows, _ in values.values())
            shares = {value: values[value][0] / present for value in _most_frequent(values, MOST_TEXTS)}
            found[name] = CategoricalSummary(self.rows, self.missing[name] / max(self.rows, 1), shares)
        return found


def _counted(column: pa.Array, span: int) -> dict[bytes, tuple[int, int]]:
    counts = column.value_counts()
    values, numbers = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
    return {value: (rows, span) for value, rows in zip(values, numbers, strict=True) if value is not None}


def _joined(first: dict[bytes, tuple[int, int]], second: dict[bytes, tuple[int, int]]) -> dict[bytes, tuple[int, int]]:
    joined = dict(first)
    for value, (rows, span) in second.items():
        known = joined.get(value)
        joined[value] = (rows, span) if known is None else (known[0] + rows, min(known[1], span))
    if len(joined) <= _MOST_VALUES:
        return joined
    return {value: joined[value] for value in _most_frequent(joined, _MOST_VALUES)}


def _most_frequent(values: dict[bytes, tuple[int, int]], most: int) -> list[bytes]:
    return sorted(values, key=lambda value: (-values[value][0], value))[:most]


def _small(array: np.ndarray) -> np.ndarray:
    return array.astype(np.uint32 if array.max(initial=0) < 1 << 32 else np.int64)


def _bins_to_json(bins: Bins) -> dict[str, Any]:
    return {
        "feature": bins.feature,
        "kind": bins.kind.value,
        "edges": list(bins.edges),
        "values": list(bins.values),
        "others": list(bins.others),
        **({"relation": bins.relation.to_json()} if bins.relation else {}),
    }


def _bins_from_json(raw: dict[str, Any]) -> Bins:
    lists = {name: tuple(raw[name]) for name in ("edges", "values", "others")}
    relation = Relation.from_json(raw["relation"]) if "relation" in raw else None
    return Bins(str(raw["feature"]), Kind(raw["kind"]), **lists, relation=relation)


def _summary_to_json(summary: Summary) -> dict[str, Any]:
    if isinstance(summary, CategoricalSummary):
        shares = {text_of(value): share for value, share in summary.shares.items()}
        return {"rows": summary.rows, "missing": summary.missing, "shares": shares}
    return {
        "rows": summary.rows,
        "missing": summary.missing,
        "quantiles": summary.quantiles.tolist(),
        "top": list(summary.top.items()),
        "distinct": summary.distinct,
        "whole": summary.whole,
    }


def _summary_from_json(raw: dict[str, Any]) -> Summary:
    if "shares" in raw:
        shares = {bytes_of(text): share for text, share in raw["shares"].items()}
        return CategoricalSummary(raw["rows"], raw["missing"], shares)
    return NumericSummary(
        raw["rows"],
        raw["missing"],
        np.asarray(raw["quantiles"], np.float64),
        dict(raw["top"]),
        raw["distinct"],
        raw["whole"],
    )
