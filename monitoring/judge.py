"""Judges what was collected against the reference: skew, drift, predictions, quality, and the schema's rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from monitoring.checks import OUTSIDE, Setting, by_impact, compare, rate_of_check
from monitoring.config import MonitorConfig
from monitoring.evidence import Evidence
from monitoring.explain import explained
from monitoring.join import Joined
from monitoring.live_quality import label_checks, quality_points
from monitoring.measures import jensen_shannon
from monitoring.parts import Part, add_parts
from monitoring.problems import Problems
from monitoring.quality import Moments
from monitoring.reference import Reference
from monitoring.related import Related
from monitoring.report import UNSEEN, Check, Comparison, LossSums, State, VersionEvidence, Volume, leading
from monitoring.row_skew import mismatch_checks
from monitoring.rules import schema_checks
from monitoring.slicing import ALL_EXAMPLES, QualityBySlice, add_quality

Parts = Mapping[tuple[str, int, int], Part]


@dataclass(frozen=True)
class JudgePlan:
    """What is judged, against what, and how strictly."""

    reference: Reference
    version: int
    config: MonitorConfig
    schema_bytes: bytes
    """The schema proto, serialized: it travels through Beam."""

    def schema(self) -> schema_pb2.Schema:
        """The schema that the version was trained under."""
        return schema_pb2.Schema.FromString(self.schema_bytes)


def judge(
    plan: JudgePlan,
    parts: Parts,
    joined: Joined,
    statistics: statistics_pb2.DatasetFeatureStatisticsList | None,
    problems: Problems,
) -> Evidence:
    """All checks and metrics.

    Args:
        plan: How.
        parts: By version and window, and by span.
        joined: Quality by version and window, and feature skew.
        statistics: Of the judged version's requests, by TFDV; None if there are none.
        problems: Of the reading; what is found here is added.
    """
    windows = _recent(plan, parts, problems)
    total = add_parts(list(windows.values()))
    starts = sorted(windows)
    seconds = plan.config.window_hours * 3600
    quality = {window: each for (version, window), each in joined.quality.items() if version == plan.version}
    _tell(joined, problems)
    volumes = _volumes(windows, seconds)
    empty = [volume for volume in volumes if not volume.rows]
    if empty:
        problems.add("windows of time without a request", f"from {empty[0].start:.0f} s since 1970", len(empty))
    checks = _skew(plan, windows, total)
    checks += mismatch_checks(joined, plan.reference, plan.config)
    told = {check.subject: check.diagnosis for check in leading(checks) if check.diagnosis}
    checks += schema_checks(total.survey, statistics, plan.schema(), plan.config, plan.reference.importances, told)
    checks += _drift(plan, parts)
    moved = any(check.state is State.ALARM for check in checks)
    checks += label_checks(_sum(quality.values()), plan.reference, plan.config, features_moved=moved)
    spans = {number: part for (kind, number, _), part in parts.items() if kind == "span"}
    return Evidence(
        rows=total.rows,
        start=float(starts[0]) if starts else None,
        end=float(starts[-1] + seconds) if starts else None,
        checks=tuple(by_impact(checks)),
        quality=tuple(quality_points(quality, plan.reference, seconds)),
        volumes=tuple(volumes),
        versions=tuple(_versions(parts, joined)),
        new_spans=tuple(sorted(spans)),
        new_rows=sum(part.rows for part in spans.values()),
        problems=problems.found(),
    )


def first_window(rows_of_windows: Mapping[int, int], config: MonitorConfig) -> int:
    """The start of the first window of time that is looked at, seconds since 1970.

    Args:
        rows_of_windows: How many rows each window has. One with too few to judge, such as a single row from the
            future, does not say what is newest (unless all have).
        config: How far to look back.
    """
    enough = [window for window, rows in rows_of_windows.items() if rows >= config.fewest_rows]
    newest = max(enough or rows_of_windows, default=0)
    return int(newest - config.look_back_days * 86_400) + 1


def _recent(plan: JudgePlan, parts: Parts, problems: Problems) -> dict[int, Part]:
    """The judged version's requests by window, as far as they are looked at."""
    every = {window: part for (kind, of, window), part in parts.items() if (kind, of) == ("requests", plan.version)}
    first = first_window({window: part.rows for window, part in every.items()}, plan.config)
    older = sum(part.rows for window, part in every.items() if window < first)
    if older:
        days = f"{plan.config.look_back_days:g} days"
        problems.add(f"rows of more than {days} before the newest: not looked at", "requests", older)
    return {window: part for window, part in every.items() if window >= first}


def _tell(joined: Joined, problems: Problems) -> None:
    """What the join passed over."""
    left_out = sum(each[ALL_EXAMPLES].left_out for each in joined.quality.values())
    for what, where, rows in (
        ("rows whose labels contradict each other", joined.first_contradiction, joined.contradictions),
        ("rows that the same version had answered before: the first answer counts", "requests", joined.repeated),
        ("requests without a whole identifier: they have no label", "requests", joined.anonymous),
        ("rows without a whole identifier: they label nothing", "spans and labels", joined.anonymous_in_tables),
        ("rows with a score or a label that cannot be: they count in no metric", "requests", left_out),
    ):
        if rows:
            problems.add(what, where, rows)


def _skew(plan: JudgePlan, windows: Mapping[int, Part], total: Part) -> list[Check]:
    """The requests of the whole period, and those of the last window alone, against training."""
    profile, config = plan.reference.profile, plan.config
    if not total.rows or total.survey is None:
        return []
    schema, importances = plan.schema(), plan.reference.importances
    rate = rate_of_check(config.false_alarm_rate, profile) / 2  # the period, and the last window

    def checks_of(part: Part, source: str, *, is_short: bool = False) -> list[Check]:
        setting = Setting(Comparison.SKEW, source, rate, config.fewest_rows, schema, importances)
        found = compare(profile, part.counts, setting)
        current = part.survey.summaries() if part.survey else {}
        related = Related.of(profile, part.survey.numbers) if part.survey else None
        label = plan.reference.label
        return explained(found, profile.earlier, profile.newest, current, label, related, is_short=is_short)

    whole = [_with_since(check, plan, windows, total) for check in checks_of(total, "requests")]
    enough = [window for window, part in windows.items() if part.rows >= config.fewest_rows]
    if len(windows) == 1 or not enough:
        return whole
    last = windows[max(enough)]
    of_last = checks_of(last, "requests of the last window", is_short=True)
    of_last = [_with_since(check, plan, windows, last) for check in of_last]
    worse = {
        _of(check): check for check in of_last if check.state is State.ALARM and not _is_passing(check, max(enough))
    }
    is_told = [
        check.state is State.ALARM or bool(check.diagnosis) for check in whole
    ]  # also as what follows from another
    return [check if told else worse.get(_of(check), check) for check, told in zip(whole, is_told, strict=True)]


def _is_passing(check: Check, last_window: int) -> bool:
    """Whether one window says too little: values missing in the last one only are an outage, as when a weather station
    fails, and counts once it lasts; and a single day may well be unlike all of training.
    """
    return check.aspect == OUTSIDE or (check.aspect == "missing" and check.since == last_window)


def _of(check: Check) -> tuple[str, str, str]:
    return check.subject, check.aspect, check.against


def _with_since(check: Check, plan: JudgePlan, windows: Mapping[int, Part], judged: Part) -> Check:
    """An alarm with the start of the first window from which on all look more like what alarms than training.

    (A single window may be too small to alarm by itself.)
    """
    profile = plan.reference.profile
    names = (key for key in profile.bins if key[0] == check.subject and check.aspect in (key[1].value, *_OF_VALUES))
    key = next(names, None)
    if check.state is not State.ALARM or key not in judged.counts:
        return check
    reference, changed = (_of_aspect(check, each) for each in (profile.counts[key].sum(axis=0), judged.counts[key]))
    since = None
    for start in sorted(windows, reverse=True):
        counts = windows[start].counts.get(key)
        if counts is None or windows[start].rows < plan.config.fewest_rows:
            continue
        counts = _of_aspect(check, counts)
        if since is not None and jensen_shannon(changed, counts) >= jensen_shannon(reference, counts):
            break
        since = float(start)
    return check.model_copy(update={"since": since})


def _of_aspect(check: Check, counts: np.ndarray) -> np.ndarray:
    """With and without a value if these are what alarms, else all bins."""
    return np.array([counts[:-1].sum(), counts[-1]]) if check.aspect == "missing" else counts


_OF_VALUES = ("values", "missing", UNSEEN, OUTSIDE)


def _drift(plan: JudgePlan, parts: Parts) -> list[Check]:
    """Each span that arrived, against the training window and its newest span."""
    profile, config = plan.reference.profile, plan.config
    checks = []
    for (kind, number, _), part in sorted(parts.items()):
        if kind != "span" or part.survey is None:
            continue
        setting = Setting(
            Comparison.DRIFT,
            f"span {number}",
            rate_of_check(config.false_alarm_rate, profile),
            config.fewest_rows,
            plan.schema(),
            plan.reference.importances,
        )
        found = compare(profile, part.counts, setting)
        current = part.survey.summaries()
        related = Related.of(profile, part.survey.numbers)
        checks += explained(found, profile.earlier, profile.newest, current, plan.reference.label, related)
    return checks


def _volumes(windows: Mapping[int, Part], seconds: float) -> list[Volume]:
    """Every window from the first to the last, those without a request too (unless clocks are off by years)."""
    if not windows:
        return []
    first, last, step = min(windows), max(windows), int(seconds)
    every = range(first, last + 1, step) if (last - first) // step < _MOST_WINDOWS else sorted(windows)
    volumes = []
    for start in every:
        part = windows.get(start, Part())
        mean = part.scores.mean if part.scores.rows else None
        volumes.append(Volume(start=start, end=start + step, rows=part.rows, mean_score=mean))
    return volumes


_MOST_WINDOWS = 1000


def _versions(parts: Parts, joined: Joined) -> list[VersionEvidence]:
    rows: dict[int, int] = {}
    scores: dict[int, Moments] = {}
    for (kind, version, _), part in parts.items():
        if kind == "requests":
            rows[version] = rows.get(version, 0) + part.rows
            scores[version] = scores.get(version, Moments()) + part.scores
    return [
        VersionEvidence(
            version=version,
            rows=rows[version],
            mean_score=scores[version].mean if scores[version].rows else None,
            loss=_sums(joined.losses.get(version, Moments())),
        )
        for version in sorted(rows)
    ]


def _sums(moments: Moments) -> LossSums:
    return LossSums(rows=moments.rows, total=moments.total, total_of_squares=moments.total_of_squares)


def _sum(qualities: Iterable[QualityBySlice]) -> QualityBySlice:
    total: QualityBySlice = {}
    for each in qualities:
        add_quality(total, each)
    return total
