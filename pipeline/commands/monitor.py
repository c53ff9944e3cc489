"""`headrace monitor`: looks at the served model, decides, and tells: terminal, page, JSON, gauges, log, webhook."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitoring.alerts import post
from monitoring.page import PAGE_FILE
from monitoring.policy import DECIDING_METRICS
from monitoring.report import REPORT_FILE, Action, Check, QualityPoint, Report, of_whole_period
from pipeline.beam import Runner
from pipeline.config import PipelineConfig
from pipeline.decisions import record
from pipeline.looking import LookOptions, look
from pipeline.preflight_targets import check_target
from pipeline.reports import last_report, monitor_folder, save
from pipeline.runners.dataflow import cancel, runs_on_dataflow
from pipeline.runners.placement import place_look
from pipeline.view import output_to, show_error
from schema.errors import ExitCode, HeadraceError
from storage.locks import locked

_OUTPUT_FILE = "output.log"
_OWED_FILE = "webhook-not-told"
_MOST_ALARMS = 10
_STYLES = {Action.KEEP: "green", Action.RETRAIN: "bold yellow", Action.ROLL_BACK: "bold red", Action.BLOCK: "bold red"}
_EXIT_CODES = {
    Action.KEEP: ExitCode.OK,
    Action.RETRAIN: ExitCode.RETRAIN,
    Action.ROLL_BACK: ExitCode.ROLL_BACK,
    Action.BLOCK: ExitCode.BLOCK,
}


@dataclass(frozen=True)
class MonitorOptions:
    """What `headrace monitor` was asked for."""

    pipeline: str
    version: int | None = None
    log: str | None = None
    labels: str | None = None
    on: Runner | None = None
    """Where Beam runs; None: on this machine."""


def monitor(console: Console, config: PipelineConfig, options: MonitorOptions) -> ExitCode:
    """Looks once; the exit code is the decision's.

    Raises:
        HeadraceError: It could not look.
    """
    started = time.monotonic()
    if options.on is not None:
        check_target(config, options.on)
    folder = monitor_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / _OUTPUT_FILE
    with locked(folder):  # two looks at once would write the same files
        output.unlink(missing_ok=True)  # it names the job of this look only
        with output_to(output):
            before = last_report(config)
            report = _look(console, config, options, folder)
            kept = save(report, folder)
            record(config, report, kept)
    _show(console, report, folder, options, time.monotonic() - started)
    if config.monitor.webhook is not None and (before is None or _news(before) != _news(report) or _is_owed(folder)):
        delivery = post(config.monitor.webhook, report, str(folder / PAGE_FILE))
        is_owed = bool(delivery.attempts) and not delivery.is_delivered
        if is_owed:
            console.print(Text(f"The webhook was not told: {delivery.detail}", "yellow"), soft_wrap=True)
        _note_owed(folder, is_owed=is_owed)
    return _EXIT_CODES[report.decision.action]


def _look(console: Console, config: PipelineConfig, options: MonitorOptions, folder: Path) -> Report:
    beam_args, scratch = place_look(config, options.on, folder)
    try:
        return look(config, LookOptions(options.version, options.log, options.labels), beam_args, scratch)
    except BaseException:
        _end_job(console, config, folder / _OUTPUT_FILE, beam_args)
        raise


def _end_job(console: Console, config: PipelineConfig, log: Path, beam_args: tuple[str, ...]) -> None:
    """Ends the look's job on Dataflow, if it has one: it would go on with nobody waiting for it."""
    if not runs_on_dataflow(beam_args):
        return
    try:
        cancel(config, log, beam_args)
    except HeadraceError as error:
        show_error(console, error)


def _is_owed(folder: Path) -> bool:
    """Whether the webhook could not be told at the last look."""
    return (folder / _OWED_FILE).exists()


def _note_owed(folder: Path, *, is_owed: bool) -> None:
    if is_owed:
        (folder / _OWED_FILE).touch()
    else:
        (folder / _OWED_FILE).unlink(missing_ok=True)


def _news(report: Report) -> tuple[int, Action, frozenset[str]]:
    """What a webhook is told of once: a look a minute must not be a message a minute."""
    return report.version, report.decision.action, frozenset(check.subject for check in report.alarms)


def _show(console: Console, report: Report, folder: Path, options: MonitorOptions, seconds: float) -> None:
    action = report.decision.action
    console.print(Text(report.decision.headline, _STYLES[action]), soft_wrap=True)
    period = (
        "no request" if report.start is None else f"{report.rows:,} rows, {_day(report.start)} to {_day(report.end)}"
    )
    told = f"{report.pipeline} version {report.version} ({report.window}); requests: {period}"
    console.print(Text(told), soft_wrap=True)
    if report.alarms:
        console.print(_alarms(report.leading()))
    for point in _main_metric(report.quality):
        console.print(Text(_quality_line(point)), soft_wrap=True)
    if report.rows and not any(not point.is_estimate for point in report.quality):
        console.print("No request has been joined with a label yet.")
    for problem in report.problems:
        console.print(
            Text(f"Passed over: {problem.what} ({problem.count:,}; {problem.where})", "yellow"), soft_wrap=True
        )
    if action is Action.RETRAIN:
        console.print(f"To retrain: headrace run {shlex.quote(options.pipeline)}")
    if action is Action.ROLL_BACK:
        version = f" --to {report.decision.to_version}" if report.decision.to_version else ""
        console.print(f"To roll back: headrace rollback {shlex.quote(options.pipeline)}{version}")
    console.print(f"Report: {folder / PAGE_FILE} and {REPORT_FILE} ({seconds:.0f} s)", soft_wrap=True)


def _alarms(alarms: tuple[Check, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("feature", "what", "value", "normal", "since", "looks like"):
        table.add_column(column, overflow="fold")
    for check in alarms[:_MOST_ALARMS]:
        since = _day(check.since) or "-"
        what = f"{check.comparison.value}: {check.aspect}"
        cells = check.subject, what, f"{check.value:.3g}", f"≤ {check.threshold:.3g}", since, check.diagnosis
        table.add_row(*map(Text, cells))
    if len(alarms) > _MOST_ALARMS:
        table.add_row(Text(f"and {len(alarms) - _MOST_ALARMS} more", "dim"))
    return table


def _main_metric(quality: tuple[QualityPoint, ...]) -> list[QualityPoint]:
    """Over the whole period: the metric that decides, by slice."""
    return [point for point in of_whole_period(quality) if point.metric in DECIDING_METRICS]


def _quality_line(point: QualityPoint) -> str:
    kind = "estimated" if point.is_estimate else "live"
    before = "" if point.reference is None else f"; {point.reference:.3f} on the evaluation span"
    return (
        f"{kind} {point.metric} of {point.slice}: {point.value:.3f} ({point.low:.3f} to {point.high:.3f}, "
        f"{point.rows:,} rows{before})"
    )


def _day(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")
