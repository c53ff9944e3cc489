"""`headrace deploy` as it is typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from projects import REPOSITORY
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipeline.cli import run_command
from schema.errors import ExitCode


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipeline with three pushed versions, in whose folder the command is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(REPOSITORY / "pipeline" / "configs" / "flights.yaml", "flights.yaml")
    change_config(name="My_Model", push={"path": "models"})
    for version in (5, 7, 9):
        (tmp_path / "models" / str(version) / "variables").mkdir(parents=True)
        (tmp_path / "models" / str(version) / "saved_model.pb").write_text(f"model {version}")
    return "./flights.yaml"


def change_config(**changes: object) -> None:
    raw = yaml.safe_load(Path("flights.yaml").read_text())
    Path("flights.yaml").write_text(yaml.safe_dump({**raw, **changes}))


def models_config(text: str):
    (model,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config
    return model


def test_docker(pipeline: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_command(["deploy", "docker", pipeline, "--stable", "5", "--canary", "9"]) == ExitCode.OK
    folder = Path("deploy/My_Model/docker")
    model = models_config((folder / "config/models.config").read_text())
    assert dict(model.version_labels) == {"stable": 5, "canary": 9}
    mounts = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["serving"]["volumes"]
    assert {"source": str(tmp_path / "models"), "target": "/models/My_Model"}.items() <= mounts[1].items()
    assert "`headrace deploy docker ./flights.yaml --stable OLD --canary NEW`" in (folder / "README.md").read_text()
    told = capfd.readouterr().out
    assert "config/models.config" in told
    assert "Next: docker compose -f deploy/My_Model/docker/compose.yaml up" in told


def test_kubernetes(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--output", "k8s", "--replicas", "3", "--namespace", "serving", "--canary", "9", "--memory", "512Mi"]
    assert run_command(["deploy", "kubernetes", pipeline, *arguments]) == ExitCode.OK
    data = yaml.safe_load(Path("k8s/configmap.yaml").read_text())["data"]
    assert dict(models_config(data["models.config"]).version_labels) == {"stable": 7, "canary": 9}
    assert yaml.safe_load(Path("k8s/autoscaler.yaml").read_text())["spec"]["minReplicas"] == 3
    first = Path("k8s/deployment.yaml").read_text().splitlines()[0]
    assert first == (
        "# headrace deploy kubernetes ./flights.yaml --canary 9 --memory 512Mi --namespace serving --replicas 3"
    )
    assert "Next: kubectl apply -k k8s" in capfd.readouterr().out


def test_a_baked_image_holds_the_newest_version(pipeline: str) -> None:
    assert run_command(["deploy", "docker", pipeline, "--output", "out", "--bake-model"]) == ExitCode.OK
    assert Path("out/models/9/saved_model.pb").read_text() == "model 9"
    assert not Path("out/models/7").exists()
    assert "COPY models/9/ /models/My_Model/9/" in Path("out/Dockerfile").read_text()


def test_the_same_again_changes_nothing(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    run_command(["deploy", "docker", pipeline])
    before = {path: path.stat().st_mtime_ns for path in Path("deploy").rglob("*.*")}
    capfd.readouterr()
    assert run_command(["deploy", "docker", pipeline]) == ExitCode.OK
    assert "0 of 12 files written" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before if path.name != ".headrace-deploy.json"} == {
        path: time for path, time in before.items() if path.name != ".headrace-deploy.json"
    }


def test_an_edited_file_is_refused_unless_forced(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    run_command(["deploy", "docker", pipeline, "--output", "out"])
    Path("out/compose.yaml").write_text("mine")
    assert run_command(["deploy", "docker", pipeline, "--output", "out", "--stable", "5"]) == ExitCode.USAGE
    assert "compose.yaml" in capfd.readouterr().out
    assert Path("out/compose.yaml").read_text() == "mine"
    assert "stable" not in Path("out/config/models.config").read_text()
    assert run_command(["deploy", "docker", pipeline, "--output", "out", "--stable", "5", "--force"]) == ExitCode.OK
    assert Path("out/compose.yaml").read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["docker", "--canary", "6"], "5, 7, 9"),
        (["docker", "--stable", "8"], "5, 7, 9"),
        (["docker", "--canary", "9", "--stable", "9"], "another"),
        (["docker", "--serving-version", "latest"], "2.16.1"),
        (["docker", "--address", "localhost"], "IP address"),
        (["docker", "--memory", "2G"], "512Mi"),
        (["docker", "--name", "My_Model"], "DNS-1123"),
        (["docker", "--output", "models/deploy"], "servers poll"),
        (["kubernetes", "--bake-model"], "--image"),
        (["kubernetes", "--image", "a b"], "no image"),
        (["kubernetes", "--max-replicas", "1"], "replicas"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    pipeline: str, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    before = sorted(Path().rglob("*"))
    target, *options = arguments
    assert run_command(["deploy", target, pipeline, *options]) == ExitCode.USAGE
    assert told in " ".join(capfd.readouterr().out.split())
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "told"), [({"name": "model_"}, "--name"), ({"push": {"path": "s3://bucket/m"}}, "gs://")]
)
def test_a_configuration_that_cannot_be_deployed(
    pipeline: str, capfd: pytest.CaptureFixture[str], changes: dict[str, object], told: str
) -> None:
    change_config(**changes)
    assert run_command(["deploy", "kubernetes", pipeline]) == ExitCode.CONFIG
    assert told in capfd.readouterr().out
    assert not Path("deploy").exists()


def test_a_bucket_is_read_where_it_is(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    change_config(push={"path": "gs://bucket/m"})
    arguments = ["--output", "out", "--stable", "1", "--canary", "2"]
    assert run_command(["deploy", "kubernetes", pipeline, *arguments]) == ExitCode.OK
    data = yaml.safe_load(Path("out/configmap.yaml").read_text())["data"]
    assert models_config(data["models.config"]).base_path == "gs://bucket/m"
    assert "was not checked" in capfd.readouterr().out


def test_before_the_first_push(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("models")
    assert run_command(["deploy", "docker", pipeline]) == ExitCode.OK
    assert "Nothing is pushed" in capfd.readouterr().out
    assert run_command(["deploy", "docker", pipeline, "--bake-model", "--output", "out"]) == ExitCode.USAGE


def test_an_output_that_cannot_be_written(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run_command(["deploy", "docker", pipeline, "--output", "file/out"]) == ExitCode.USAGE
    assert "cannot be written" in capfd.readouterr().out
