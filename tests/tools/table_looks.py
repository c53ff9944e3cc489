"""A look of the monitor at tables in memory: all that `headrace monitor` does between its reading and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow_data_validation as tfdv
from sklearn.linear_model import LogisticRegression
from tensorflow_data_validation.statistics import stats_impl

from benchmarks.monitor.profiles import profile_of, with_scores
from models.features import Feature, label_feature, model_features
from monitoring.collect import as_lists
from monitoring.config import MonitorConfig
from monitoring.evidence import Evidence
from monitoring.join import SCORE, SECONDS, VERSION, WINDOW, Joined, JoinPlan, join
from monitoring.judge import JudgePlan, judge
from monitoring.parts import Part
from monitoring.policy import Situation, decide
from monitoring.problems import Problems
from monitoring.profile import Profile
from monitoring.reference import Reference
from monitoring.report import Decision
from monitoring.rows import as_rows
from monitoring.slicing import quality_by_slice
from pipeline.config import load_config
from schema.contract import load_schema
from storage.places import at

ROOT = Path(__file__).parents[2]
DAY = 86_400
CONFIG = load_config(ROOT / "pipeline" / "configs" / "flights.yaml")
SCHEMA = load_schema(at(CONFIG.schema_path))
LABEL = CONFIG.label.name
ASKED: tuple[Feature, ...] = tuple(model_features(SCHEMA, CONFIG.features, LABEL))
WATCHED = (*ASKED, label_feature(LABEL, SCHEMA))
_VERSION = 7
_MOST_WINDOWS = 62
_SCORED = ("sched_dep_time", "distance", "temp", "humid", "wind_speed", "visib", "precip", "plane_year")


def flights(month: int) -> pa.Table:
    """A month of the shipped flights that arrived, in order."""
    table = pq.read_table(ROOT / "data" / "flights" / f"span-{month:02d}" / "flights.parquet")
    return table.filter(pc.is_valid(table[LABEL])).combine_chunks()


def rows_of_table(table: pa.Table, features: Sequence[Feature] = WATCHED) -> pa.RecordBatch:
    """A table as monitoring sees it."""
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    plain = {name: each.chunk(0) if isinstance(each, pa.ChunkedArray) else each for name, each in columns.items()}
    return as_rows(plain, features, len(table))


class Model:
    """A small model that stands for the pushed one: a logistic regression on some numbers."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        values = self._raw(rows)
        self._mean, self._deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        self._regression = LogisticRegression().fit(self._inputs(rows), np.asarray(_column(rows, LABEL)))

    def scores(self, rows: pa.RecordBatch) -> np.ndarray:
        """Probabilities, float64 [rows]."""
        return np.asarray(self._regression.predict_proba(self._inputs(rows))[:, 1])

    def _inputs(self, rows: pa.RecordBatch) -> np.ndarray:
        return np.nan_to_num((self._raw(rows) - self._mean) / self._deviation)

    @staticmethod
    def _raw(rows: pa.RecordBatch) -> np.ndarray:
        return np.stack([_column(rows, name) for name in _SCORED], axis=1)


@dataclass(frozen=True)
class Watch:
    """A served version that is watched."""

    reference: Reference
    model: Model
    config: MonitorConfig = field(default_factory=lambda: CONFIG.monitor)

    @classmethod
    def of(cls, spans: dict[int, pa.Table]) -> Watch:
        """Trained on some tables, the newest of which evaluates."""
        rows = {number: rows_of_table(table) for number, table in spans.items()}
        newest = rows[max(rows)]
        model = Model(pa.Table.from_batches(list(rows.values())).combine_chunks().to_batches()[0])
        profile = with_scores(
            profile_of(rows, WATCHED, LABEL), {number: model.scores(each) for number, each in rows.items()}
        )
        quality = quality_by_slice(
            newest, model.scores(newest), np.asarray(_column(newest, LABEL)), CONFIG.monitor.slices, "binary"
        )
        return cls(Reference("binary", LABEL, profile, quality), model)

    def look(
        self,
        asked: pa.Table | None = None,
        *,
        table: pa.Table | None = None,
        scores: np.ndarray | None = None,
        span: pa.Table | None = None,
    ) -> tuple[Evidence, Decision]:
        """What the monitor finds and decides.

        Args:
            asked: The requests.
            table: What they are joined with; None for no join.
            scores: What the model answered; None for what it answers.
            span: One that arrived.
        """
        parts, joined, statistics = {}, Joined(), None
        if asked is not None:
            rows = rows_of_table(asked, ASKED)
            answers = self.model.scores(rows) if scores is None else scores
            seconds = np.nan_to_num(_column(rows, "scheduled_departure")).astype(np.int64)
            windows = seconds // DAY * DAY
            if len(np.unique(windows)) > _MOST_WINDOWS:  # the times are damaged: told apart by when they were answered
                windows = np.zeros_like(seconds)
            for window in np.unique(windows).tolist():
                chosen = windows == window
                part = self._part(rows.filter(pa.array(chosen)), answers[chosen], ASKED)
                parts["requests", _VERSION, window] = part
            if table is not None:
                joined = self._joined(rows, answers, seconds, windows, table)
            options = tfdv.StatsOptions(schema=SCHEMA, num_top_values=5)
            statistics = stats_impl.generate_statistics_in_memory(as_lists(rows, ASKED), options)
        if span is not None:
            number = self.reference.profile.newest_span + 1
            parts["span", number, 0] = self._part(rows_of_table(span), None, WATCHED)
        plan = JudgePlan(self.reference, _VERSION, self.config, SCHEMA.SerializeToString())
        evidence = judge(plan, parts, joined, statistics, Problems())
        now = 1_388_534_400.0
        return evidence, decide(evidence, Situation(now, 1, now - 30 * DAY, (), None), self.config)

    def _part(self, rows: pa.RecordBatch, scores: np.ndarray | None, features: Sequence[Feature]) -> Part:
        return Part.of(rows, scores, features, self.reference.profile.bins, 1.0, np.random.default_rng(0))

    def _joined(
        self, rows: pa.RecordBatch, scores: np.ndarray, seconds: np.ndarray, windows: np.ndarray, table: pa.Table
    ) -> Joined:
        told = {SCORE: scores, WINDOW: windows, VERSION: np.full(len(rows), _VERSION), SECONDS: seconds}
        columns = [*rows.columns, *map(pa.array, told.values())]
        requests = pa.RecordBatch.from_arrays(columns, [*rows.schema.names, *told])
        plan = JoinPlan(self.config.identifier, ASKED, LABEL, self.config.slices, "binary", _VERSION, 1.0)
        return join([requests], [rows_of_table(table)], plan)


def window_profile(spans: dict[int, pa.Table]) -> Profile:
    """What the data gate judges the newest span by."""
    return profile_of({number: rows_of_table(table) for number, table in spans.items()}, WATCHED, LABEL)


def _column(rows: pa.RecordBatch, name: str) -> np.ndarray:
    return np.asarray(rows.column(rows.schema.get_field_index(name)).fill_null(np.nan), np.float64)
