"""What `headrace resume` continues, and when there is nothing."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from projects import make_project
from rich.console import Console

from pipeline.cli import run_command
from pipeline.commands.resume import Resumable, find_resumable
from pipeline.commands.run import RunOptions
from pipeline.config import PipelineConfig, load_config
from pipeline.runners.lock import run_lock
from pipeline.runners.report import OTHERS_RUN, NodeReport, RunReport, State, load_reports, run_folder
from schema.errors import ExitCode, LockedError, UsageError


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return load_config(make_project(tmp_path, rows=10).config_path)


def leave_run(
    config: PipelineConfig,
    run_id: str,
    outcome: str,
    *command: str,
    done: tuple[str, ...] = (),
    spans: tuple[int, ...] = (),
) -> None:
    run_folder(config.home, run_id).mkdir(parents=True)
    states = {**dict.fromkeys(done, State.DONE), "Pusher": State.WAITING}
    nodes = {node: NodeReport(node, state) for node, state in states.items()}
    report = RunReport(run_id, config.name, nodes, float(run_id[-1]), command=list(command), outcome=outcome)
    report.spans = dict.fromkeys(spans, "content")
    report.save(config.home)


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


def resumed(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """What `headrace resume` asks for."""
    asked: list[RunOptions] = []

    def run(console: Console, config: PipelineConfig, options: RunOptions) -> ExitCode:
        asked.append(options)
        return ExitCode.OK

    monkeypatch.setattr("pipeline.commands.run.run", run)
    assert run_command(["resume", shlex.split(config.argument)[0]]) is ExitCode.OK
    [options] = asked
    return options


def test_the_window_is_that_of_the_run_though_another_span_has_arrived(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_run(config, "1", "killed", "run", "flights", "--force", "Trainer", spans=(1, 2))
    found, told = find(config)
    assert found is not None
    assert found.newest == 2
    assert "headrace run flights --force Trainer (span 2)" in told
    options = resumed(config, monkeypatch)
    assert (options.span, options.force, options.resumes) == (2, frozenset({"Trainer"}), "1")


def test_the_span_that_was_asked_for_is_asked_for_again(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_run(config, "1", "killed", "run", "flights", "--span", "0", spans=(0,))
    assert resumed(config, monkeypatch).span == 0


def test_data_without_a_window_has_no_span_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path, rows=10)
    project.change_config(lambda raw: raw["data"].pop("window") and raw["data"].update(split={"train": 8, "eval": 2}))
    config = load_config(project.config_path)
    leave_run(config, "1", "killed", "run", "flights", spans=(1, 2))  # when it had one
    assert resumed(config, monkeypatch).span is None


@pytest.mark.parametrize("command", [("resume", "flights"), ()])
def test_what_was_asked_for_is_not_known_any_more(config: PipelineConfig, command: tuple[str, ...]) -> None:
    leave_run(config, "2", "failed", *command)
    with pytest.raises(UsageError, match=r"not known any more.*headrace run"):
        find(config)


def test_a_run_of_another_orchestrator_is_not_resumed(config: PipelineConfig) -> None:
    leave_run(config, "1", "interrupted", "run", "flights")
    leave_run(config, f"{OTHERS_RUN}2", "failed", "compile", "flights")
    found, told = find(config)
    assert found is None
    assert "the last run, other-2, is another orchestrator's" in told
    leave_run(config, "3", "failed", "resume", "flights", done=("ExampleGen",))
    found, _ = find(config)
    assert found == Resumable("1", ("run", "flights"), frozenset({"ExampleGen"}))
