"""What `headrace resume` continues, and when there is nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from projects import make_project
from rich.console import Console

from pipeline.commands.resume import Resumable, find_resumable
from pipeline.config import PipelineConfig, load_config
from pipeline.runners.lock import run_lock
from pipeline.runners.report import NodeReport, RunReport, State, load_reports, run_folder
from schema.errors import LockedError


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return load_config(make_project(tmp_path, rows=10).config_path)


def leave_run(config: PipelineConfig, run_id: str, outcome: str, *command: str, done: tuple[str, ...] = ()) -> None:
    run_folder(config.home, run_id).mkdir(parents=True)
    states = {**dict.fromkeys(done, State.DONE), "Pusher": State.WAITING}
    nodes = {node: NodeReport(node, state) for node, state in states.items()}
    RunReport(run_id, config.name, nodes, started=float(run_id), command=list(command), outcome=outcome).save(
        config.home
    )


def find(config: PipelineConfig) -> tuple[Resumable | None, str]:
    console = Console(width=200, record=True, file=io.StringIO())
    return find_resumable(console, config), console.export_text()


def test_nothing_has_run(config: PipelineConfig) -> None:
    found, told = find(config)
    assert found is None
    assert "Nothing to resume: flights has not run yet" in told


@pytest.mark.parametrize("outcome", ["succeeded", "stopped"])
def test_the_last_run_has_decided(config: PipelineConfig, outcome: str) -> None:
    leave_run(config, "1", "failed", "run", "flights")
    leave_run(config, "2", outcome, "run", "flights")
    found, told = find(config)
    assert found is None
    assert f"Nothing to resume: the last run {outcome}" in told


@pytest.mark.parametrize(
    ("outcome", "phrase"), [("failed", "failed"), ("interrupted", "was interrupted"), ("running", "was killed")]
)
def test_a_run_that_did_not_end_is_continued_as_it_was(config: PipelineConfig, outcome: str, phrase: str) -> None:
    command = ("run", "flights", "--span", "3", "--on", "dataflow", "--force", "Trainer")
    leave_run(config, "1", outcome, *command, done=("ExampleGen",))
    found, told = find(config)
    assert found == Resumable("1", command, frozenset({"ExampleGen"}))
    assert f"Run 1 {phrase}: headrace run flights --span 3" in told
    assert load_reports(config.home)[-1].outcome != "running"


def test_a_run_that_was_resumed_is_resumed_as_it_began(config: PipelineConfig) -> None:
    leave_run(config, "1", "failed", "run", "flights", "--force", "Transform", done=("ExampleGen",))
    leave_run(config, "2", "interrupted", "run", "flights", "--force", "Trainer", done=("Transform",))
    leave_run(config, "3", "failed", "resume", "flights", done=("Trainer",))
    found, _ = find(config)
    assert found == Resumable("2", ("run", "flights", "--force", "Trainer"), frozenset({"Transform", "Trainer"}))


def test_a_run_under_way_is_not_resumed(config: PipelineConfig) -> None:
    leave_run(config, "1", "running", "run", "flights")
    with run_lock(config.home), pytest.raises(LockedError):
        find(config)
    assert load_reports(config.home)[-1].outcome == "running"
