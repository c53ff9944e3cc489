"""`headrace watch`: what it refuses, what it tells, and that no run outlives it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import REPOSITORY, Project
from rich.console import Console

from monitoring.report import Action, Decision, Report
from pipeline.commands.watch import WatchOptions, watch
from pipeline.config import load_config
from pipeline.runners.report import load_reports
from pipeline.watching.beginning import watch_lock
from pipeline.watching.run import MonitorLook, PipelineRun
from schema.errors import ConfigError, ExitCode, HeadraceError, LockedError

FAKE_RUN = """
import signal, sys, time
from pathlib import Path
folder = Path({folder!r})
assert sys.argv[1:] == ["run", "flights", "--span", "7"], sys.argv
print("first line", flush=True)
{body}
"""
WATCH = """
import os, sys
from pathlib import Path
from pipeline.commands.run import interruptible
from pipeline.watching.run import PipelineRun
with interruptible():
    try:
        PipelineRun("flights", Path(sys.argv[1]), 0.05, (sys.executable, "-c", sys.argv[2]))(7, lambda: None)
    except KeyboardInterrupt:
        sys.exit(130)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
LONG = """
import os
(folder / "pid.unfinished").write_text(str(os.getpid()))
def end(number, frame):
    (folder / "asked").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
(folder / "pid.unfinished").rename(folder / "pid")
time.sleep(600)
"""


def fake(folder: Path, body: str) -> str:
    return FAKE_RUN.format(folder=str(folder), body=body)


def once(project: Project) -> tuple[ExitCode, str]:
    out = io.StringIO()
    options = WatchOptions(str(project.config_path), is_once=True)
    console = Console(file=out, width=40)
    code = watch(
        console, load_config(project.config_path), options, lambda config: None, lambda config, to: None, print
    )
    return code, out.getvalue()


def test_a_pipeline_without_a_rolling_window_is_refused(project: Project) -> None:
    project.change_config(lambda raw: raw["data"]["window"].update(newest=2))
    with pytest.raises(ConfigError, match="newest: 2"):
        once(project)
    project.change_config(lambda raw: raw["data"].pop("window") and raw["data"].update(split={"train": 8, "eval": 2}))
    with pytest.raises(ConfigError, match=r"data\.split"):
        once(project)


def test_a_second_watch_is_refused(project: Project) -> None:
    with watch_lock(project.home), pytest.raises(LockedError, match=f"held by process {os.getpid()}"):
        once(project)


def test_an_event_is_one_line_with_its_time(project: Project) -> None:
    for number in (1, 2, 3):
        project.span_path(number).unlink()
    code, out = once(project)
    assert code is ExitCode.DATA
    [line] = out.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ No file matches the source\. Where: /", line)


def test_a_run_that_cannot_start_is_told_with_its_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr("pipeline.commands.watch._SETTLE_SECONDS", 0.1)
    project.change_config(lambda raw: raw.update(monitor={"policy": {"retrain_on": ["drift"]}}))
    project.span_path(3).write_bytes(b"no Parquet")
    code, out = once(project)
    assert code is ExitCode.DATA
    assert "span 3: runs (there is no model yet)" in out
    assert "span 3: the run ended with exit code 4 (attempt 1; the next in 60 s; later spans wait): " in out
    assert str(project.span_path(3)) in out.splitlines()[-1]
    assert load_reports(project.home) == []


def test_the_watch_is_light() -> None:
    script = "import sys, pipeline.commands.watch; print({'tensorflow', 'tfx', 'keras'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "set()\n"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("print('Pushed version 5.')", 0, "Pushed version 5."),
        ("print('Error: The disk is full.'); print('Logs: there'); sys.exit(22)", 22, "The disk is full."),
        ("import os; os.kill(os.getpid(), signal.SIGKILL)", -9, "first line"),
    ],
)
def test_how_a_run_ended_and_its_last_words(tmp_path: Path, body: str, code: int, words: str) -> None:
    run = PipelineRun("flights", tmp_path / "out", 60, (sys.executable, "-c", fake(tmp_path, body)))
    ended = run(7, lambda: None)
    assert (ended.code, ended.words) == (code, words)


def test_there_are_looks_while_it_runs(tmp_path: Path) -> None:
    body = "while not (folder / 'looked').exists(): time.sleep(0.01)"
    run = PipelineRun("flights", tmp_path / "out", 0.01, (sys.executable, "-c", fake(tmp_path, body)))
    assert run(7, (tmp_path / "looked").touch).code == 0


def look_with(project: Project, body: str, most_seconds: float = 60) -> Decision | None:
    script = f"import sys, time; assert sys.argv[1:] == ['monitor', 'flights'], sys.argv; {body}"
    project.home.mkdir(parents=True, exist_ok=True)
    look = MonitorLook("flights", project.home, project.home / "out", most_seconds, (sys.executable, "-c", script))
    return look(load_config(project.config_path))


def test_without_a_pushed_version_there_is_no_look(project: Project) -> None:
    assert look_with(project, "sys.exit(1)") is None


@pytest.mark.parametrize("code", [0, 40, 41, 42])
def test_a_look_gives_the_decision_that_monitor_left(project: Project, code: int) -> None:
    (project.push_path / "17").mkdir(parents=True)
    decision = Decision(action=Action.RETRAIN, headline="distance drifted")
    project.home.mkdir(parents=True)
    Report(
        pipeline="flights", version=17, window="", created=0, start=None, end=None, rows=0, decision=decision, checks=()
    ).save(project.home)
    assert look_with(project, f"sys.exit({code})") == decision


@pytest.mark.parametrize(
    ("body", "most_seconds", "told"),
    [
        ("print('Error: The log is gone.'); sys.exit(4)", 60, "exit code 4. Received: The log is gone"),
        ("time.sleep(600)", 0.2, "took longer than 0.2 s"),
    ],
)
def test_a_look_that_fails_or_hangs_raises(project: Project, body: str, most_seconds: float, told: str) -> None:
    (project.push_path / "17").mkdir(parents=True)
    with pytest.raises(HeadraceError, match=told):
        look_with(project, body, most_seconds)


@pytest.mark.parametrize(
    ("number", "code", "is_asked"),
    [(signal.SIGTERM, 130, True), (signal.SIGINT, 130, True), (signal.SIGKILL, -9, False)],
)
def test_no_run_outlives_the_watch(tmp_path: Path, number: signal.Signals, code: int, is_asked: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", WATCH, str(tmp_path / "out"), fake(tmp_path, LONG)],
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    assert process.wait(60) == code
    assert (tmp_path / "asked").exists() == is_asked
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
