"""Commands that need no run."""

from __future__ import annotations

import pytest
import yaml
from projects import Project

from pipeline.cli import run_command
from schema.errors import ExitCode


def test_unknown_command_and_option_are_usage_errors(capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["fly"], ["run", "--frm", "Trainer"], ["run", "--jobs", "0"], []):
        with pytest.raises(SystemExit) as ended:
            run_command(arguments)
        assert ended.value.code == ExitCode.USAGE
        assert "usage: headrace" in capfd.readouterr().err


def test_config_resolved_shows_every_default(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["config", str(project.config_path), "--resolved"]) == ExitCode.OK
    shown = yaml.safe_load(capfd.readouterr().out)
    assert shown["gates"]["infra"]["memory_mib"] == 2048
    assert shown["schema"] == str(project.folder / "flights.pbtxt")


def test_config_shows_the_file_as_it_is(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["config", str(project.config_path)]) == ExitCode.OK
    assert capfd.readouterr().out == project.config_path.read_text()


def test_status_and_why_before_the_first_run(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", str(project.config_path)]) == ExitCode.OK
    assert "has not run yet" in capfd.readouterr().out
    assert run_command(["why", str(project.config_path)]) == ExitCode.USAGE
    assert "has not run yet" in capfd.readouterr().out


def test_nothing_to_accept_is_told(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(project.config_path), "--accept", "because"]) == ExitCode.USAGE
    assert "There is nothing to accept" in capfd.readouterr().out


def test_unknown_node_names_the_known_ones(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(project.config_path), "--from", "Trainerr"]) == ExitCode.USAGE
    out = capfd.readouterr().out
    assert "There is no node 'Trainerr'" in out
    assert "StatisticsGen" in out


def test_from_without_an_earlier_run_is_told(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(project.config_path), "--from", "Trainer"]) == ExitCode.USAGE
    assert "There is no earlier run to start from Trainer with" in capfd.readouterr().out


def test_doctor_tells_a_pipeline_s_trouble(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.span_path(3).write_bytes(b"")
    assert run_command(["doctor", str(project.config_path)]) == ExitCode.DATA
    out = capfd.readouterr().out
    assert "trouble pipeline: A source file cannot be read as parquet" in out
