"""`headrace deploy` for the platforms that serve the version they are told to."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from fake_gcs import object_store
from projects import REPOSITORY
from tensorflow_serving.apis import predict_pb2
from version_folders import write_versions

from pipeline.cli import run_command
from pipeline.commands.deploy_options import DeployOptions
from pipeline.commands.deploy_settings import platform_of
from pipeline.config import load_config
from schema.errors import ExitCode
from serving.deploy.vertex import Vertex
from serving.rollback import roll_back
from serving.warmup import write_warmup
from storage.places import at, upload

ECR = "763104351884.dkr.ecr.eu-west-1.amazonaws.com/tensorflow-inference:2.19.0-cpu-py312-ubuntu22.04-sagemaker"
SAGEMAKER = ["--image", ECR, "--role", "arn:aws:iam::123456789012:role/sagemaker", "--archive", "s3://bucket/archives"]
VERTEX = ["--project", "my-project", "--region", "europe-west4"]


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipeline with versions 5, 7 and 9, in whose folder the command is typed; 9 is rolled back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    shutil.copy(REPOSITORY / "pipeline" / "configs" / "flights.yaml", "flights.yaml")
    change_config(name="My_Model", push={"path": "models"})
    base_path = write_versions(tmp_path / "models", 5, 7, 9)
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    request.inputs["carrier"].CopyFrom(tf.make_tensor_proto([b"UA"]))
    request.inputs["distance"].CopyFrom(tf.make_tensor_proto(np.array([719.0])))
    write_warmup(base_path / "7", [request], "My_Model")
    roll_back(base_path, 7, "it was worse", "me")
    return "./flights.yaml"


def change_config(**changes: object) -> None:
    raw = yaml.safe_load(Path("flights.yaml").read_text())
    Path("flights.yaml").write_text(yaml.safe_dump({**raw, **changes}))


def files_below(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_sagemaker(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["deploy", "sagemaker", pipeline, *SAGEMAKER]) == ExitCode.OK
    folder = Path("deploy/My_Model/sagemaker")
    with tarfile.open(folder / "7/model.tar.gz") as archive:
        assert archive.extractfile("My_Model/7/saved_model.pb").read() == b"graph of 7"
    container = json.loads((folder / "7/create-model.json").read_text())["PrimaryContainer"]
    assert container["ModelDataUrl"] == "s3://bucket/archives/7/model.tar.gz"
    assert json.loads((folder / "request.json").read_text()) == {"instances": [{"carrier": "UA", "distance": 719.0}]}
    assert "`headrace deploy sagemaker ./flights.yaml --image 763104351884" in (folder / "README.md").read_text()
    told = capfd.readouterr().out
    assert "+ 7/model.tar.gz" in told
    assert "Next: deploy/My_Model/sagemaker/README.md" in told


def test_the_same_again_changes_nothing(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["deploy", "sagemaker", pipeline, *SAGEMAKER, "--canary", "5"]
    assert run_command(arguments) == ExitCode.OK
    capfd.readouterr()
    assert run_command(arguments) == ExitCode.OK
    assert "0 of 8 files written" in capfd.readouterr().out


def test_azureml(pipeline: str) -> None:
    assert run_command(["deploy", "azureml", pipeline, "--output", "out", "--canary", "5"]) == ExitCode.OK
    assert Path("out/7/My_Model/7/saved_model.pb").read_text() == "graph of 7"
    assert Path("out/5/My_Model/5/saved_model.pb").read_text() == "graph of 5"
    first = Path("out/endpoint.yaml").read_text().splitlines()[0]
    assert first == "# headrace deploy azureml ./flights.yaml --canary 5"
    assert "version-7=90 version-5=10" in Path("out/README.md").read_text()


def test_kserve_on_a_claim(pipeline: str) -> None:
    arguments = ["--output", "out", "--storage-uri", "pvc://models/flights", "--version", "5", "--memory", "1Gi"]
    assert run_command(["deploy", "kserve", pipeline, *arguments]) == ExitCode.OK
    predictor = yaml.safe_load(Path("out/inference-service.yaml").read_text())["spec"]["predictor"]
    assert predictor["storageUris"] == [{"uri": "pvc://models/flights/5", "mountPath": "/mnt/models/5"}]
    assert predictor["containers"][0]["resources"]["limits"]["memory"] == "1024Mi"
    assert files_below("out") == {"inference-service.yaml", "README.md", ".headrace-deploy.json"}
    assert "Version 5 brings no example" in Path("out/README.md").read_text()


def test_from_a_bucket(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store("bucket") as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        for version in ("5", "7"):
            upload(Path("models", version), at(f"gs://bucket/models/{version}"))
        change_config(name="My_Model", push={"path": "gs://bucket/models"})
        assert run_command(["deploy", "vertex", pipeline, *VERTEX, "--output", "vertex"]) == ExitCode.OK
        assert run_command(["deploy", "kserve", pipeline, "--output", "kserve"]) == ExitCode.OK
        assert run_command(["deploy", "sagemaker", pipeline, *SAGEMAKER, "--output", "sagemaker"]) == ExitCode.OK
    model = json.loads(Path("vertex/upload-model.json").read_text())["model"]
    assert model["artifactUri"] == "gs://bucket/models-vertex/7"
    assert model["containerSpec"]["imageUri"] == "europe-west4-docker.pkg.dev/my-project/headrace/serving:2.20.0"
    assert model["description"] == f"headrace deploy vertex ./flights.yaml {' '.join(VERTEX)}"
    predictor = yaml.safe_load(Path("kserve/inference-service.yaml").read_text())["spec"]["predictor"]
    assert predictor["storageUris"][0]["uri"] == "gs://bucket/models/7"
    with tarfile.open("sagemaker/7/model.tar.gz") as archive:
        assert archive.extractfile("My_Model/7/saved_model.pb").read() == b"graph of 7"
    for folder in ("vertex", "kserve", "sagemaker"):
        assert json.loads(Path(folder, "request.json").read_text())["instances"][0]["carrier"] == "UA"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["vertex", *VERTEX], "gs://"),
        (["vertex", "--region", "europe-west4"], "--project"),
        (["sagemaker"], "--role"),
        (["sagemaker", *SAGEMAKER[2:]], "available_images"),
        (["sagemaker", *SAGEMAKER[:4]], "--archive"),
        (["sagemaker", *SAGEMAKER, "--version", "9"], "rolled back"),
        (["sagemaker", *SAGEMAKER, "--version", "6"], "holds 5, 7"),
        (["azureml", "--name", "ab"], "3 to 32"),
        (["azureml", "--output", "models/deploy"], "servers poll"),
        (["kserve"], "pvc://CLAIM"),
        (["kserve", "--memory", "2G"], "512Mi"),
        (["kserve", "--max-replicas", "1"], "replicas"),
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
    ("target", "option"),
    [("vertex", "--storage-class"), ("sagemaker", "--max-replicas"), ("azureml", "--stable"), ("kserve", "--region")],
)
def test_an_option_of_another_target_is_unknown(
    pipeline: str, capfd: pytest.CaptureFixture[str], target: str, option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(["deploy", target, pipeline, option, "1"])
    assert ended.value.code == ExitCode.USAGE
    assert option in capfd.readouterr().err


def test_the_project_of_the_configuration_is_the_default(pipeline: str) -> None:
    vertex = {"project": "my-project", "region": "europe-west4", "image": "i", "service_account": "me@x.y"}
    change_config(targets={"vertex": vertex})
    config = load_config(Path("flights.yaml"))
    given = {"project": None, "region": "us-east1", "service_account": None, "replicas": 1, "max_replicas": 1}
    assert platform_of(config, DeployOptions("./flights.yaml", "vertex", platform=given)) == Vertex(
        project="my-project", region="us-east1", service_account="me@x.y", replicas=1, max_replicas=1
    )


def test_before_the_first_push(pipeline: str, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("models")
    assert run_command(["deploy", "azureml", pipeline]) == ExitCode.USAGE
    assert "Nothing is pushed yet" in capfd.readouterr().out
