"""`headrace status`: the runs, the artifacts of the last one, and what is pushed."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from ml_metadata.proto import metadata_store_pb2 as pb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.config import PipelineConfig
from pipeline.metadata import History, open_store
from pipeline.reports import last_report
from pipeline.runners.lock import run_lock
from pipeline.runners.report import RunReport, close_killed, load_reports
from pipeline.view import show_runs
from schema.errors import ExitCode, LockedError
from serving.versions import Look, marks, read_manifest
from serving.versions import look as look_at_versions
from storage.places import Place, at


def status(console: Console, config: PipelineConfig, most_runs: int) -> ExitCode:
    """Shows what there is; an empty pipeline is not an error."""
    with suppress(LockedError), run_lock(config.home):  # if it is held, a run is under way
        close_killed(config.home)
    reports = load_reports(config.home)
    if not reports:
        console.print(f"{config.name} has not run yet: headrace run {config.argument}")
        return ExitCode.OK
    show_runs(console, reports[-most_runs:])
    history = History(open_store(config.home, config.metadata), config.name)
    console.print()
    _show_artifacts(console, history, reports[-1])
    console.print()
    _show_pushed(console, at(config.push.path))
    look = last_report(config)
    if look is not None:
        when = datetime.fromtimestamp(look.created).strftime("%Y-%m-%d %H:%M:%S")
        console.print(Text(f"\nMonitored {when}, version {look.version}: {look.decision.headline}"), soft_wrap=True)
    return ExitCode.OK


def _show_artifacts(console: Console, history: History, report: RunReport) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), title=f"Artifacts of run {report.run_id}", title_justify="left")
    for column in ("node", "artifact", "id", "where"):
        table.add_column(column, overflow="fold")
    for node, execution in history.executions_of_run(report.run_id).items():
        for key, artifacts in history.artifacts(execution.id, pb.Event.OUTPUT).items():
            for artifact in artifacts:
                table.add_row(node, key, str(artifact.id), artifact.uri)
    console.print(table)


def _show_pushed(console: Console, base_path: Place) -> None:
    seen = look_at_versions(base_path)
    states = _states(seen)
    if not states:
        console.print(f"Nothing is pushed to {base_path}.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), title=f"Pushed to {base_path}", title_justify="left")
    for column in ("version", "pushed", "model", "window", "state"):
        table.add_column(column)
    for version, state in sorted(states.items()):
        facts = read_manifest(seen.all[version].path)
        pushed_at = datetime.fromtimestamp(facts["pushed_at"]).strftime("%Y-%m-%d %H:%M:%S") if facts else "not by us"
        table.add_row(str(version), pushed_at, str(facts.get("model_id", "-")), facts.get("window", "-"), Text(state))
    console.print(table)


def _states(seen: Look) -> dict[int, str]:
    """Each version, and whether it answers."""
    published, trial = seen.versions, seen.candidate
    states = {version: f"rolled back by {mark.by}: {mark.reason}" for version, mark in marks(seen).items()}
    states |= dict.fromkeys(published[:-1], "older") | dict.fromkeys(published[-1:], "answers")
    return states if trial is None else {**states, trial.version: f"tried, as {trial.number}"}
