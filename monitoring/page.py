"""The report as one static HTML file that needs no network and runs no script.

What it shows came in with requests, from anyone: Jinja2 escapes all of it, and the page's Content-Security-Policy
admits nothing but its own style sheet, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitoring import formats
from monitoring.charts import distributions, timelines
from monitoring.report import Check, QualityPoint, Report, State, of_whole_period

PAGE_FILE = "report.html"

_EVERYTHING = "all examples"
_MOST_CARDS = 60
"""More alarms than these are told in a table: nobody reads as many charts, and the file stays small."""
_MOST_SLICES = 12
"""Of a metric: those with the most rows."""
_MOST_WINDOWS = 120
_MOST_DECISIONS = 50


def render(report: Report, history: Sequence[Report] = ()) -> str:
    """The page.

    Args:
        report: What is shown.
        history: Older reports, of which the decisions are listed, newest first.

    Returns:
        A whole HTML document, UTF-8.
    """
    others = [check for check in report.checks if check.state is not State.ALARM]
    older = sorted((each for each in history if each != report), key=lambda each: -each.created)
    style, style_hash = _style()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            decision=report.decision,
            cards=report.alarms[:_MOST_CARDS],
            more_alarms=report.alarms[_MOST_CARDS:],
            others=others,
            undecided=sum(check.state is State.UNDECIDED for check in others),
            metrics=list(_metrics(report.quality)),
            has_labels=any(not point.is_estimate for point in report.quality),
            has_estimates=any(point.is_estimate for point in report.quality),
            request_charts=_request_charts(report),
            older=older[:_MOST_DECISIONS],
            style=style,
            style_hash=style_hash,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitoring"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formats.number,
        percent=formats.percent,
        moment=formats.moment,
        duration=formats.duration,
        measured=_measured,
        excess=_excess,
        miniature=distributions.miniature,
    )
    environment.globals.update(
        period=formats.period, bars=distributions.bars, counted=_counted, most_windows=_MOST_WINDOWS
    )
    return environment


@cache
def _style() -> tuple[Markup, str]:
    """The style sheet, and its hash as a Content-Security-Policy names it."""
    source, _, _ = PackageLoader("monitoring").get_source(_environment(), "report.css")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return Markup(source), f"sha256-{digest}"  # noqa: S704 - a file of this package


def _metrics(quality: Iterable[QualityPoint]) -> Iterable[dict[str, Any]]:
    """For each metric: its chart over all examples, and the charts of its slices."""
    in_order = sorted(quality, key=lambda point: (point.metric, point.slice))
    for metric, of_metric in groupby(in_order, key=lambda point: point.metric):
        slices = {name: list(points) for name, points in groupby(of_metric, key=lambda point: point.slice)}
        whole = slices.pop(_EVERYTHING, [])
        largest = sorted(slices, key=lambda name: -sum(point.rows for point in slices[name]))[:_MOST_SLICES]
        yield {
            "name": metric,
            "whole": [_quality_chart(metric, _EVERYTHING, whole)] if whole else [],
            "slices": [_quality_chart(metric, name, slices[name]) for name in largest],
            "left_out": len(slices) - len(largest),
        }


def _quality_chart(metric: str, name: str, points: Sequence[QualityPoint]) -> dict[str, Any]:
    of_period = of_whole_period(points)
    windows = sorted((point for point in points if point not in of_period), key=lambda point: point.start) or of_period
    told = min(of_period, key=lambda point: (point.is_estimate, -point.end))  # what is measured, if anything is
    shown = [
        timelines.Point(point.start, point.end, point.value, point.low, point.high, point.is_estimate)
        for point in windows[-_MOST_WINDOWS:]
    ]
    return {
        "slice": name,
        "told": told,
        "period": formats.period(told.start, told.end),
        "left_out": max(0, len(windows) - _MOST_WINDOWS),
        "chart": timelines.lines(shown, f"{metric}, {name}", told.reference),
    }


def _request_charts(report: Report) -> list[tuple[str, Markup]]:
    """Captions and charts."""
    volumes = sorted(report.volumes, key=lambda volume: volume.start)[-_MOST_WINDOWS:]
    if not volumes:
        return []
    rows = [timelines.Point(volume.start, volume.end, volume.rows) for volume in volumes]
    scores = [
        timelines.Point(volume.start, volume.end, volume.mean_score)
        for volume in volumes
        if volume.mean_score is not None
    ]
    left_out = len(report.volumes) - len(volumes)
    note = f" (the newest {_MOST_WINDOWS}; {left_out:,} older ones are left out)" if left_out else ""
    charts = [(f"Rows in each window{note}", timelines.counts(rows, "Rows of requests in each window"))]
    if scores:
        charts.append(
            (f"Mean prediction in each window{note}", timelines.lines(scores, "Mean prediction in each window"))
        )
    return charts


def _measured(check: Check) -> str:
    """The value, as a share where it is one."""
    return f"{_valued(check, check.value)}, threshold {_valued(check, check.threshold)}"


def _valued(check: Check, value: float) -> str:
    return formats.percent(value) if check.measure.startswith("share") else formats.number(value)


def _excess(check: Check) -> str:
    """How far beyond the threshold, in words; empty where no multiple says it."""
    return f"{formats.number(round(check.excess, 1))} times" if 1 < check.excess < 1e6 else ""


def _counted(count: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
