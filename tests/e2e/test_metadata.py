"""The same pipeline with ML Metadata in PostgreSQL, as a team has it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_tools import COMMAND, ENVIRONMENT, headrace, states, wait_until_none
from postgres import PASSWORD, Postgres, running_postgres
from projects import Project, make_project

from pipeline.metadata import METADATA_FILE, History, open_store
from pipeline.metadata_config import PostgresqlMetadata
from pipeline.runners.report import State, load_reports
from schema.errors import ExitCode
from serving.versions import versions


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def metadata(postgres: Postgres) -> PostgresqlMetadata:
    return postgres.database("team")


@pytest.fixture(scope="module")
def pushed(metadata: PostgresqlMetadata, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has run once, to a pushed model."""
    project = make_project(tmp_path_factory.mktemp("one") / "machine")
    project.change_config(lambda raw: raw.update(metadata=metadata.model_dump(mode="json")))
    result = headrace("run", str(project.config_path))
    assert result.returncode == ExitCode.OK, result.stdout + result.stderr
    return project


def failures(project: Project) -> str:
    """The logs of the nodes that failed in the last run."""
    nodes = load_reports(project.home)[-1].nodes.values()
    return "\n".join(Path(node.log).read_text() for node in nodes if node.state is State.FAILED)


def test_run_is_recorded_in_the_server_and_only_there(pushed: Project, metadata: PostgresqlMetadata) -> None:
    assert not (pushed.home / METADATA_FILE).exists()
    history = History(open_store(pushed.home, metadata), "flights")
    [report] = load_reports(pushed.home)
    assert set(history.executions_of_run(report.run_id)) == set(report.nodes)
    assert [verdict.passed for verdict in history.verdicts_of_run(report.run_id)] == [True, True, True]
    assert history.unfinished() == []
    assert len(history.pushed()) == len(versions(pushed.push_path)) == 1


def test_password_is_written_nowhere(pushed: Project) -> None:
    files = [path for path in pushed.folder.rglob("*") if path.is_file()]
    assert any(path.name == "runner.log" for path in files)
    forms = [PASSWORD.encode(), PASSWORD.replace("\\", "\\\\").replace("'", "\\'").encode(), b"pass=word"]
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []


def test_status_and_why_read_the_server(pushed: Project) -> None:
    shown = headrace("status", str(pushed.config_path))
    assert shown.returncode == ExitCode.OK, shown.stderr
    assert "pushed_model" in shown.stdout
    explained = headrace("why", str(pushed.config_path), "quality")
    assert explained.returncode == ExitCode.OK, explained.stderr
    assert "auc" in explained.stdout


def test_of_two_machines_one_runs_again_from_the_cache(
    pushed: Project, metadata: PostgresqlMetadata, tmp_path: Path
) -> None:
    """Machines share the server, not the folder with the local lock; the one that is refused disturbs nothing."""
    other = Project(tmp_path / "machine")
    shutil.copytree(pushed.folder, other.folder, ignore=shutil.ignore_patterns(".headrace"))
    command = [*COMMAND, "run", str(pushed.config_path)]
    first = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while first.poll() is None and len(load_reports(pushed.home)) == 1:
            time.sleep(0.02)
        first.send_signal(signal.SIGSTOP)  # it holds the lock for as long as the other machine needs to be refused
        second = headrace("run", str(other.config_path))
        first.send_signal(signal.SIGCONT)
        output, _ = first.communicate(timeout=300)
    finally:
        first.kill()
    assert second.returncode == ExitCode.LOCKED, second.stdout
    assert f"process {first.pid}" in " ".join(second.stdout.split())
    assert load_reports(other.home) == []
    assert first.returncode == ExitCode.OK, output + failures(pushed)
    assert "Nothing new to push" in output
    assert {states(pushed)[node] for node in ("ExampleGen", "Transform", "Trainer", "Evaluator", "Pusher")} == {
        "cached"
    }
    assert wait_until_none(pushed) == []
    assert History(open_store(pushed.home, metadata), "flights").unfinished() == []


def test_a_server_that_is_gone_is_told_before_anything_runs(
    pushed: Project, postgres: Postgres, metadata: PostgresqlMetadata
) -> None:
    before = len(load_reports(pushed.home))
    postgres.stop()
    try:
        result = headrace("run", str(pushed.config_path))
    finally:
        postgres.start()
    assert result.returncode == ExitCode.METADATA, result.stdout
    assert metadata.where in " ".join(result.stdout.split())
    assert "Traceback" not in result.stdout + result.stderr
    assert len(load_reports(pushed.home)) == before
