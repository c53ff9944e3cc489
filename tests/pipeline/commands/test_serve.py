"""`headrace serve`: a pipeline's YAML as flags, and flags that win over it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import REPOSITORY
from version_folders import write_versions

from pipeline.cli import run_command
from pipeline.commands.serve import flags_of
from pipeline.config import load_config
from schema.errors import ExitCode
from serving.rollback import roll_back
from serving.server.options import ServerOptions, parse_flags


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(REPOSITORY / "pipeline" / "configs" / "flights.yaml", tmp_path / "flights.yaml")
    change(tmp_path / "flights.yaml", name="My_Model", push={"path": "models"})
    return tmp_path / "flights.yaml"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerOptions]:
    """The options of the servers that would have started."""
    options: list[ServerOptions] = []

    def main(arguments: list[str], **defaults: Any) -> int:
        options.append(parse_flags(arguments, **defaults))
        return 0

    monkeypatch.setattr("pipeline.commands.serve.main", main)
    return options


def change(path: Path, **changes: object) -> None:
    raw = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**raw, **changes}))


def test_a_pipelines_yaml_becomes_flags(pipeline: Path, tmp_path: Path) -> None:
    log = {"path": "logs", "sampling_rate": 0.5, "rotate_mib": 1, "rotate_seconds": 60}
    change(pipeline, serve={"host": "0.0.0.0", "grpc_port": 1, "rest_port": 2, "request_log": log})
    options = parse_flags([], **flags_of(load_config(pipeline)))
    assert (options.model_name, options.model_base_path) == ("My_Model", str(tmp_path / "models"))
    assert (options.host, options.port, options.rest_api_port) == ("0.0.0.0", 1, 2)
    assert (options.request_log_path, options.request_log_sampling_rate) == (str(tmp_path / "logs"), 0.5)
    assert (options.request_log_rotate_mib, options.request_log_rotate_seconds) == (1, 60)
    assert options.enable_batching
    assert options.enable_prometheus
    assert options.enable_grpc_healthcheck_service


def test_without_a_serve_section_the_defaults_are_safe(pipeline: Path) -> None:
    raw = yaml.safe_load(pipeline.read_text())
    raw.pop("serve", None)
    pipeline.write_text(yaml.safe_dump(raw))
    options = parse_flags([], **flags_of(load_config(pipeline)))
    assert (options.host, options.port, options.rest_api_port) == ("127.0.0.1", 8500, 8501)
    assert options.request_log_path == ""


def test_flags_win_over_the_yaml(pipeline: Path, started: list[ServerOptions]) -> None:
    assert run_command(["serve", "./flights.yaml", "--port=7", "--enable_batching=false"]) == ExitCode.OK
    (options,) = started
    assert (options.port, options.rest_api_port, options.enable_batching) == (7, 8501, False)
    assert options.model_name == "My_Model"


def test_flags_alone(started: list[ServerOptions]) -> None:
    assert run_command(["serve", "--model_base_path=/m", "--model_name=n"]) == ExitCode.OK
    (options,) = started
    assert (options.model_name, options.model_base_path) == ("n", "/m")
    assert (options.port, options.rest_api_port, options.enable_batching) == (8500, 0, False)


@pytest.mark.parametrize("arguments", [[], ["--no_such_flag"], ["--port=x"]])
def test_wrong_flags_are_told_on_stderr(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", *arguments]) != ExitCode.OK
    captured = capfd.readouterr()
    assert captured.err.startswith("Failed to start server. Error: INVALID_ARGUMENT: ")
    assert captured.out == ""


@pytest.mark.parametrize("name", ["flihgts", "./missing.yaml"])
def test_an_unknown_pipeline(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", name]) == ExitCode.CONFIG
    assert "There is no pipeline" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "section",
    [
        {"grpc_port": 70_000},
        {"grpc_port": 5, "rest_port": 5},
        {"port": 1},
        {"request_log": {"path": "l", "sampling_rate": 2}},
        {"request_log": {"path": ""}},
        {"request_log": {}},
    ],
    ids=str,
)
def test_a_wrong_serve_section(pipeline: Path, capfd: pytest.CaptureFixture[str], section: dict[str, Any]) -> None:
    change(pipeline, serve=section)
    assert run_command(["serve", "./flights.yaml"]) == ExitCode.CONFIG
    assert "serve" in "".join(capfd.readouterr())


class TestCanary:
    @pytest.fixture(autouse=True)
    def tried(self, pipeline: Path) -> None:
        change(pipeline, monitor={"canary": {"share": 0.2}})

    def test_versions_are_served_by_label(self, pipeline: Path, started: list[ServerOptions], tmp_path: Path) -> None:
        write_versions(tmp_path / "models", 10, 20)
        assert run_command(["serve", "./flights.yaml"]) == ExitCode.OK
        (options,) = started
        config = tmp_path / "models" / "models.config"
        assert options.model_config_file == str(config)
        assert 'name: "My_Model"' in config.read_text()
        assert "stable" in config.read_text()
        assert options.model_config_file_poll_wait_seconds == 1
        assert options.allow_version_labels_for_unavailable_models

    def test_labels_that_a_killed_command_left_behind_are_mended(
        self, pipeline: Path, started: list[ServerOptions], tmp_path: Path
    ) -> None:
        write_versions(tmp_path / "models", 10, 20, 30)
        assert run_command(["serve", "./flights.yaml"]) == ExitCode.OK
        roll_back(tmp_path / "models", 10, "killed before it wrote the labels")
        assert run_command(["serve", "./flights.yaml"]) == ExitCode.OK
        assert "value: 10\n" in (tmp_path / "models" / "models.config").read_text()

    @pytest.mark.parametrize("flag", ["--model_base_path=/m", "--model_name=n", "--model_config_file=/c"])
    def test_models_of_ones_own_win(self, pipeline: Path, started: list[ServerOptions], flag: str) -> None:
        assert run_command(["serve", "./flights.yaml", flag]) == ExitCode.OK
        (options,) = started
        assert options.model_config_file == ("/c" if "config" in flag else "")

    def test_not_from_a_url(self, pipeline: Path, capfd: pytest.CaptureFixture[str]) -> None:
        change(pipeline, push={"path": "gs://bucket/models"})
        assert run_command(["serve", "./flights.yaml"]) == ExitCode.USAGE
        assert "not on this machine" in "".join(capfd.readouterr())
