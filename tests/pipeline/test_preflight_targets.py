"""What is missing at a place to run is told before anything is submitted to it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from projects import make_project

from pipeline.cli import run_command
from pipeline.config import PipelineConfig, load_config
from pipeline.preflight_targets import check_target
from pipeline.runners.report import load_reports
from schema.errors import ExitCode, HeadraceError

DATAFLOW = {"project": "plant", "region": "europe-west1", "temp_location": "gs://plant/tmp"}


def with_targets(folder: Path, targets: dict[str, Any]) -> PipelineConfig:
    project = make_project(folder, spans=2, rows=20)
    project.change_config(lambda raw: raw.update(targets=targets))
    return load_config(project.config_path)


@pytest.mark.parametrize(
    ("targets", "runner", "told"),
    [
        ({}, "dataflow", "The pipeline does not say where dataflow is"),
        ({"dataflow": DATAFLOW}, "dataflow", "Workers on other machines cannot see data.source.path"),
        (
            {"dataflow": {**DATAFLOW, "workers_share_disk": True, "temp_location": "/tmp/jobs"}},
            "dataflow",
            "Dataflow cannot use this temp_location",
        ),
        (
            {"dataflow": {**DATAFLOW, "workers_share_disk": True, "temp_location": "gs://"}},
            "dataflow",
            "Dataflow cannot use this temp_location",
        ),
        (
            {"portable": {"job_endpoint": "127.0.0.1:1", "workers_share_disk": True}},
            "portable",
            "The Beam job server does not answer",
        ),
        (
            {"flink": {"flink_master": "localhost:8081", "workers_share_disk": True}},
            "flink",
            "start a job server with Java",
        ),
    ],
)
def test_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: dict[str, Any], runner: Any, told: str
) -> None:
    config = with_targets(tmp_path, targets)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HeadraceError, match=told) as caught:
        check_target(config, runner)
    assert caught.value.exit_code is ExitCode.CONFIG


def test_a_root_on_this_machine_is_told_before_a_run_begins(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = with_targets(tmp_path, {"dataflow": DATAFLOW})
    assert run_command(["run", str(tmp_path / "flights.yaml"), "--on", "dataflow"]) is ExitCode.CONFIG
    printed = capfd.readouterr()
    assert "workers_share_disk: true" in printed.out + printed.err
    assert load_reports(config.home) == []


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ({"dataflow": {**DATAFLOW, "workers": 3, "max_workers": 2}}, "workers may be at most max_workers"),
        ({"dataflow": {**DATAFLOW, "labels": {"My Team": "delays"}}}, "String should match pattern"),
        ({"kubeflow": {"image": "i", "schedule": {"cron": "0 6 * * *", "time_zone": "Mars/Base"}}}, "IANA name"),
        ({"portable": {"job_endpoint": "nonsense"}}, "String should match pattern"),
    ],
)
def test_what_no_platform_would_take_is_refused_when_it_is_read(
    tmp_path: Path, targets: dict[str, Any], told: str
) -> None:
    with pytest.raises(HeadraceError, match="A value is wrong") as caught:
        with_targets(tmp_path, targets)
    assert told in str(caught.value.expected)


def test_containers_on_dataflow_need_to_know_where_it_is(tmp_path: Path) -> None:
    vertex = {"image": "headrace:1", "project": "plant", "region": "europe-west1", "beam": "dataflow"}
    with pytest.raises(HeadraceError, match="A value is wrong") as caught:
        with_targets(tmp_path, {"vertex": vertex})
    assert "targets.dataflow has to say" in str(caught.value.expected)


def test_doctor_looks_at_every_target_that_is_described(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with_targets(tmp_path, {"dataflow": DATAFLOW})
    assert run_command(["doctor", str(tmp_path / "flights.yaml")]) is ExitCode.CONFIG
    assert "trouble targets: Workers on other machines cannot see" in capfd.readouterr().out
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        with_targets(tmp_path, {"portable": {"job_endpoint": endpoint, "workers_share_disk": True}})
        assert run_command(["doctor", str(tmp_path / "flights.yaml")]) is ExitCode.OK
    assert "ready for --on portable" in capfd.readouterr().out
