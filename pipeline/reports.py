"""The reports of a pipeline's looks, on disk: the last as JSON, page and gauges, the earlier ones, a log of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from monitoring.alerts import gauges, log_line
from monitoring.page import PAGE_FILE, render
from monitoring.report import Report
from pipeline.config import PipelineConfig
from storage.files import write_whole

GAUGES_FILE = "metrics.prom"
LOG_FILE = "decisions.log"
_HISTORY = "history"
_MOST_HISTORY = 50
_MOST_KEPT = 500
"""A look a minute would fill the disk; the log has a line of each, and ML Metadata an artifact."""


def monitor_folder(config: PipelineConfig) -> Path:
    """Holds the reports of a pipeline's looks."""
    return config.home / "monitor"


def last_report(config: PipelineConfig) -> Report | None:
    """What the last look found; None before the first (or if another Headrace wrote it)."""
    try:
        return Report.load(monitor_folder(config))
    except (OSError, ValueError):
        return None


def save(report: Report, folder: Path) -> Path:
    """Writes the report everywhere: as JSON (and among the earlier ones), as a page, as gauges, as a line of a log.

    Returns:
        The folder in which it stays.
    """
    stamp = datetime.fromtimestamp(report.created, timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = folder / _HISTORY / stamp
    kept.mkdir(parents=True, exist_ok=True)
    report.save(kept)
    report.save(folder)
    write_whole(folder / PAGE_FILE, render(report, list(_history(folder))))
    write_whole(folder / GAUGES_FILE, gauges(report))
    with (folder / LOG_FILE).open("a", encoding="utf-8") as file:
        file.write(log_line(report) + "\n")
    for old in sorted((folder / _HISTORY).iterdir())[:-_MOST_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return kept


def _history(folder: Path) -> Iterator[Report]:
    """The last reports, oldest first; one that cannot be read is of another Headrace."""
    for path in sorted((folder / _HISTORY).iterdir())[-_MOST_HISTORY:]:
        try:
            yield Report.load(path)
        except (OSError, ValueError):
            continue
