"""`headrace monitor`: what it prints, writes and returns."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from monitor_reports import check, passed, report
from projects import REPOSITORY
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from scripted_http import response, serving
from small_reference import flights_of, watch_small
from version_folders import Published, publish

from monitoring.page import PAGE_FILE
from monitoring.report import REPORT_FILE, Action, Decision, Report
from pipeline import reports
from pipeline.commands import monitor as command
from pipeline.commands.monitor import MonitorOptions, monitor
from pipeline.metadata import open_store
from schema.errors import ExitCode
from storage.locks import locked

OPTIONS = MonitorOptions("flights")


def deciding(action: Action, **changes: Any) -> Report:
    to = 10 if action is Action.ROLL_BACK else None
    return report(version=20, decision=Decision(action=action, headline=f"{action.name}: so", to_version=to), **changes)


@pytest.fixture
def it(tmp_path: Path) -> Published:
    return publish(tmp_path, 10, 20)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    """What the next looks find."""
    waiting: list[Report] = []
    monkeypatch.setattr(command, "look", lambda *_: waiting.pop(0))
    return waiting


def folder_of(it: Published) -> Path:
    return it.config.home / "monitor"


def with_webhook(it: Published, url: str) -> None:
    webhook = {"url": url, "attempts": 1, "timeout_seconds": 30.0}
    changed = it.config.monitor.model_validate({**it.config.monitor.model_dump(), "webhook": webhook})
    it.config = it.config.model_copy(update={"monitor": changed})


@pytest.mark.parametrize(
    ("action", "code", "told"),
    [
        (Action.KEEP, ExitCode.OK, ""),
        (Action.RETRAIN, ExitCode.RETRAIN, "To retrain: headrace run flights"),
        (Action.ROLL_BACK, ExitCode.ROLL_BACK, "To roll back: headrace rollback flights --to 10"),
        (Action.BLOCK, ExitCode.BLOCK, ""),
    ],
)
def test_the_exit_code_is_the_decision(it: Published, found: list, action: Action, code: ExitCode, told: str) -> None:
    found.append(deciding(action))
    assert monitor(it.console, it.config, OPTIONS) == code
    said = it.said
    assert said.startswith(f"{action.name}: so\n")
    assert told in said
    assert str(folder_of(it) / PAGE_FILE) in said
    assert len({*map(int, command._EXIT_CODES.values())}) == 4


def test_alarms_and_problems_are_shown_the_leading_first(it: Published, found: list) -> None:
    alarms = [check(f"feature{number}", diagnosis="[red]x[/red] moved") for number in range(13)]
    found.append(deciding(Action.BLOCK, checks=(*alarms, passed("calm"))))
    monitor(it.console, it.config, OPTIONS)
    said = it.said
    assert said.index("feature0") < said.index("feature1 ")
    assert "and 3 more" in said
    assert "[red]x[/red] moved" in said  # a value is no markup
    assert "calm" not in said
    assert "Passed over: a log file is cut off (1; flights-host-17-1.tfrecord)" in said


def test_everything_is_written(it: Published, found: list) -> None:
    found += [deciding(Action.KEEP), deciding(Action.BLOCK, created=2e9)]
    for _ in range(2):
        monitor(it.console, it.config, OPTIONS)
    folder = folder_of(it)
    assert Report.load(folder).decision.action is Action.BLOCK
    kept = sorted((folder / "history").iterdir())
    assert [Report.load(each).decision.action for each in kept] == [Action.KEEP, Action.BLOCK]
    assert "BLOCK: so" in (folder / PAGE_FILE).read_text()
    assert "action=keep" in (folder / "decisions.log").read_text().splitlines()[0]
    assert len((folder / "decisions.log").read_text().splitlines()) == 2
    gauges = {each.name: each for each in text_string_to_metric_families((folder / "metrics.prom").read_text())}
    chosen = [each.labels["action"] for each in gauges["headrace_monitor_decision"].samples if each.value]
    assert chosen == ["block"]
    store = open_store(it.config.home)
    actions = [each.properties["action"].string_value for each in store.get_artifacts_by_type("MonitorDecision")]
    assert actions == ["keep", "block"]
    assert {each.last_known_state for each in store.get_executions()} == {pb.Execution.COMPLETE}


def test_a_webhook_is_told_of_news_only(it: Published, found: list) -> None:
    with serving(response(200)) as server:
        with_webhook(it, server.url)
        found += [deciding(Action.BLOCK), deciding(Action.BLOCK), deciding(Action.RETRAIN), deciding(Action.KEEP)]
        codes = [monitor(it.console, it.config, OPTIONS) for _ in range(4)]
    assert len(server.received) == 2
    assert codes == [ExitCode.BLOCK, ExitCode.BLOCK, ExitCode.RETRAIN, ExitCode.OK]


def test_a_webhook_that_fails_is_told_of_and_asked_again(it: Published, found: list) -> None:
    with serving(response(500), response(200)) as server:
        with_webhook(it, server.url)
        found += [deciding(Action.BLOCK)] * 3
        assert monitor(it.console, it.config, OPTIONS) == ExitCode.BLOCK
        said = it.said
        assert "The webhook was not told: " in said
        assert "HTTP 500" in said
        assert "SECRET" not in said
        for _ in range(2):
            monitor(it.console, it.config, OPTIONS)
        assert "The webhook was not told" not in it.said
    assert len(server.received) == 2


def test_two_looks_at_once_come_one_after_the_other(it: Published, found: list) -> None:
    found.append(deciding(Action.KEEP))
    thread = threading.Thread(target=monitor, args=(it.console, it.config, OPTIONS))
    with locked(folder_of(it)):
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert not (folder_of(it) / REPORT_FILE).exists()
    thread.join(60)
    assert Report.load(folder_of(it)).decision.action is Action.KEEP


@pytest.mark.parametrize("step", ["render", "gauges", "log_line"])
def test_a_look_that_is_killed_leaves_whole_files(
    it: Published, found: list, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    found += [deciding(Action.KEEP), deciding(Action.RETRAIN, created=2e9), deciding(Action.BLOCK, created=2.1e9)]
    monitor(it.console, it.config, OPTIONS)
    child = os.fork()
    if child == 0:  # the second look
        setattr(reports, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        found.pop(0)
        reports.save(deciding(Action.RETRAIN, created=2e9), folder_of(it))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    found.pop(0)
    assert Report.load(folder_of(it)).decision.action is Action.RETRAIN
    assert "</html>" in (folder_of(it) / PAGE_FILE).read_text()
    assert monitor(it.console, it.config, OPTIONS) == ExitCode.BLOCK
    assert "BLOCK: so" in (folder_of(it) / PAGE_FILE).read_text()
    lines = (folder_of(it) / "decisions.log").read_text().splitlines()
    assert [line.split("action=")[1].split()[0] for line in lines] == ["keep", "block"]
    assert not [path.name for path in folder_of(it).iterdir() if path.name.endswith(".unfinished")]


def test_what_cannot_be_looked_at_is_an_error(it: Published) -> None:
    from schema.errors import DataError

    with pytest.raises(DataError, match="no reference"):
        monitor(it.console, it.config, OPTIONS)
    assert not (folder_of(it) / REPORT_FILE).exists()


def test_the_command_says_nothing_but_its_report(tmp_path: Path) -> None:
    it = watch_small(tmp_path)
    it.log(flights_of(5, 400))
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", "monitor", str(tmp_path / "small.yaml")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("Keep: nothing moved beyond what is normal"), ended.stdout
    assert lines[1].startswith(
        f"small version {it.versions[-1]} (spans 1, 2, 3 train, span 4 evaluates); requests: 400"
    )
    assert lines[-1].startswith("Report: ")
    assert not [line for line in lines if "tensorflow" in line.lower() or "warning" in line.lower()]
    assert ended.returncode == ExitCode.OK


def test_a_console_that_is_narrow(it: Published, found: list) -> None:
    found.append(deciding(Action.BLOCK))
    output = io.StringIO()
    monitor(Console(file=output, width=30), it.config, OPTIONS)
    assert "BLOCK: so" in output.getvalue()
