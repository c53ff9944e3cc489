"""Everything on gs://: schema, spans, artifacts, versions and request log lie in a bucket; only the runner is local."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from e2e_tools import COMMAND, ENVIRONMENT
from gs_emulator import GsEmulator, gs_emulator
from logged_requests import write_log
from projects import Project, make_project

from pipeline.runners.report import load_reports
from schema.errors import ExitCode

BUCKET = "bucket"
PUSHED = re.compile(rf"Pushed version (\d+) in gs://{BUCKET}/models")


@dataclass(frozen=True)
class Remote:
    """A project of which Headrace is told only the YAML on this machine; all else that it reads is in the bucket."""

    project: Project
    emulator: GsEmulator
    first_run: str
    """What it printed."""

    def headrace(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return _headrace(self.emulator, *arguments, str(self.project.config_path), **variables)

    def objects(self, folder: str) -> list[str]:
        names = self.emulator.store.names(BUCKET)
        return [name.removeprefix(f"{folder}/") for name in names if name.startswith(f"{folder}/")]

    def versions(self) -> list[int]:
        """As a model server finds them: numbered folders."""
        return sorted({int(name.split("/")[0]) for name in self.objects("models") if name.split("/")[0].isdecimal()})

    def download(self, version: int, folder: Path) -> Path:
        """A pushed version, on this machine."""
        for name in self.objects(f"models/{version}"):
            if not name.endswith("/"):
                path = folder / str(version) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.emulator.store.read(f"gs://{BUCKET}/models/{version}/{name}"))
        return folder / str(version)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    project = make_project(tmp_path_factory.mktemp("remote") / "project")
    project.change_config(_in_the_bucket)
    with gs_emulator(BUCKET, "closed") as emulator:
        emulator.forbidden.add("closed")
        for path in (project.folder / "flights.pbtxt", *map(project.span_path, (1, 2, 3))):
            emulator.store.write(
                f"gs://{BUCKET}/project/{path.relative_to(project.folder).as_posix()}", path.read_bytes()
            )
        result = _headrace(emulator, "run", str(project.config_path))
        assert result.returncode == ExitCode.OK, result.stdout + result.stderr
        yield Remote(project, emulator, result.stdout)


def test_the_pushed_model_answers(remote: Remote, tmp_path: Path) -> None:
    version = int(PUSHED.search(remote.first_run)[1])
    assert version in remote.versions()
    log = write_log(tmp_path / "log", remote.download(version, tmp_path), pq.read_table(remote.project.span_path(3)))
    assert log.stat().st_size > 0


def test_what_others_need_is_in_the_bucket_and_the_rest_here(remote: Remote) -> None:
    assert {"artifacts", "logs"} <= {name.split("/")[0] for name in remote.objects("root/flights")}
    here = {path.name for path in remote.project.home.iterdir()}
    assert "metadata.db" in here
    assert "artifacts" not in here


def test_the_second_run_is_answered_from_the_cache(remote: Remote) -> None:
    before = remote.versions()
    result = remote.headrace("run")
    assert result.returncode == ExitCode.OK, result.stdout + result.stderr
    states = {node.node: node.state.value for node in load_reports(remote.project.home)[-1].nodes.values()}
    assert [states[node] for node in ("ExampleGen", "Transform", "Trainer", "Evaluator")] == ["cached"] * 4
    assert remote.versions() == before


def test_the_requests_in_the_bucket_are_looked_at(remote: Remote, tmp_path: Path) -> None:
    version = remote.versions()[0]
    table = pq.read_table(remote.project.span_path(3))
    log = write_log(tmp_path / "log", remote.download(version, tmp_path), table)
    remote.emulator.store.write(f"gs://{BUCKET}/requests/{log.name}", log.read_bytes())
    result = remote.headrace("monitor", "--version", str(version))
    assert result.returncode == ExitCode.OK, result.stdout + result.stderr
    assert "600 requests" in result.stdout


def test_a_rollback_leaves_the_version_before(remote: Remote) -> None:
    before = remote.versions()
    remote.project.change_config(lambda raw: raw["training"].update(epochs=2))
    result = remote.headrace("run")
    assert result.returncode == ExitCode.OK, result.stdout + result.stderr
    newer = int(PUSHED.search(result.stdout)[1])
    assert remote.versions() == [*before, newer]
    shown = remote.headrace("status").stdout
    assert str(newer) in shown
    assert "Nothing is pushed" not in shown
    result = remote.headrace("rollback", "--reason", "a test")
    assert result.returncode == ExitCode.OK, result.stdout + result.stderr
    assert remote.versions() == before


@pytest.mark.parametrize(
    ("key", "bucket", "said"),
    [
        ("root", "nowhere", "There is no such bucket"),
        ("data", "nowhere", "There is no such bucket"),
        ("schema", "closed", "The object store refuses access"),
        ("push", "closed", "The object store refuses access"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_told_before_anything_runs(
    remote: Remote, tmp_path: Path, key: str, bucket: str, said: str
) -> None:
    other = Project(tmp_path)
    other.config_path.write_text(remote.project.config_path.read_text())
    other.change_config(lambda raw: _set(raw, key, f"gs://{bucket}/span-{{SPAN}}/*"))
    result = _headrace(remote.emulator, "run", str(other.config_path))
    assert result.returncode == ExitCode.STORAGE, result.stdout + result.stderr
    assert said in result.stdout
    assert f"gs://{bucket}/" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert load_reports(other.home) == []


def test_credentials_that_have_expired_are_told_before_anything_runs(remote: Remote) -> None:
    runs = len(load_reports(remote.project.home))
    result = remote.headrace("run", refresh_token="expired")
    assert result.returncode == ExitCode.STORAGE, result.stdout + result.stderr
    assert "There are no valid credentials" in result.stdout
    assert "gcloud auth application-default login" in result.stdout
    assert f"gs://{BUCKET}/" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(load_reports(remote.project.home)) == runs


def _headrace(emulator: GsEmulator, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, **emulator.environment(**variables)}
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def _in_the_bucket(raw: dict[str, Any]) -> None:
    _set(raw, "root", f"gs://{BUCKET}/root")
    _set(raw, "schema", f"gs://{BUCKET}/project/flights.pbtxt")
    _set(raw, "data", f"gs://{BUCKET}/project/data/span-{{SPAN}}/*.parquet")
    _set(raw, "push", f"gs://{BUCKET}/models")
    raw["serve"] = {"request_log": {"path": f"gs://{BUCKET}/requests"}}


def _set(raw: dict[str, Any], key: str, value: str) -> None:
    if key == "data":
        raw["data"]["source"]["path"] = value
    elif key == "push":
        raw["push"] = {"path": value}
    else:
        raw[key] = value
