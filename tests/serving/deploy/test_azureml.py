from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from schema.errors import UsageError
from serving.deploy.azureml import AzureMl, azureml_files, model_folder

PLACE = "/srv/models/My_Model"


def written(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def sdk() -> Any:
    """Azure's own loaders of the YAML: they refuse an unknown field, a wrong type and a missing one."""
    return pytest.importorskip("azure.ai.ml", reason="Azure Machine Learning's SDK is not installed")


def test_azures_own_loaders_accept_every_file(release, sdk, tmp_path: Path) -> None:
    made = release(PLACE, canary_percent=10)
    folder = written(azureml_files(made, AzureMl()), tmp_path)
    endpoint = sdk.load_online_endpoint(folder / "endpoint.yaml")
    assert (endpoint.name, endpoint.auth_mode) == ("my-model", "key")
    for served in made.served:
        (folder / model_folder(made, served)).mkdir(parents=True)
        model = sdk.load_model(folder / str(served.version) / "model.yaml")
        assert (model.name, model.version) == ("my-model", str(served.version))
        assert (Path(model.base_path) / model.path).resolve() == (folder / model_folder(made, served)).parent
        deployment = sdk.load_online_deployment(folder / str(served.version) / "deployment.yaml")
        assert deployment.endpoint_name == endpoint.name
        assert deployment.model == f"{model.name}:{model.version}"  # azureml: is taken off
        assert deployment.request_settings.max_concurrent_requests_per_instance == 64
        assert deployment.environment.inference_config.scoring_route.path == "/v1/models/My_Model:predict"


@pytest.mark.parametrize(("file", "line"), [("endpoint.yaml", "auth: key\n"), ("deployment.yaml", "instances: 3\n")])
def test_the_loaders_are_strict(release, sdk, tmp_path: Path, file: str, line: str) -> None:
    folder = written(azureml_files(release(PLACE), AzureMl()), tmp_path)
    (path,) = folder.rglob(file)
    path.write_text(path.read_text() + line)
    load = sdk.load_online_endpoint if file == "endpoint.yaml" else sdk.load_online_deployment
    with pytest.raises(Exception, match="Unknown field"):
        load(path)


def test_the_stock_entry_point_finds_the_model_where_azure_mounts_it(release) -> None:
    made = release(PLACE)
    files = azureml_files(made, AzureMl())
    model = yaml.safe_load(files["1764012345/model.yaml"])
    variables = yaml.safe_load(files["1764012345/deployment.yaml"])["environment_variables"]
    # Azure: MOUNT/NAME/VERSION/FOLDER. The entry point: --model_base_path=${MODEL_BASE_PATH}/${MODEL_NAME}.
    mounted = f"/var/azureml-app/azureml-models/{model['name']}/{model['version']}/{Path(model['path']).name}"
    assert f"{variables['MODEL_BASE_PATH']}/{variables['MODEL_NAME']}" == mounted
    assert model_folder(made, made.stable) == f"1764012345/{model['path']}/1764012345"


def test_routes_and_ports(release) -> None:
    deployment = yaml.safe_load(azureml_files(release(PLACE), AzureMl())["1764012345/deployment.yaml"])
    assert deployment["environment"]["image"] == "docker.io/tensorflow/serving:2.20.0"
    assert deployment["environment"]["inference_config"] == {
        "liveness_route": {"port": 8501, "path": "/v1/models/My_Model"},
        "readiness_route": {"port": 8501, "path": "/v1/models/My_Model/metadata"},
        "scoring_route": {"port": 8501, "path": "/v1/models/My_Model:predict"},
    }
    assert "traffic" not in yaml.safe_load(azureml_files(release(PLACE), AzureMl())["endpoint.yaml"])


def test_the_guide_shares_the_traffic_once_the_deployments_are_there(release) -> None:
    guide = azureml_files(release(PLACE, canary_percent=10), AzureMl())["README.md"]
    share = '--traffic "version-1764012345=90 version-1764012999=10"'
    assert guide.index("az ml online-deployment create --file 1764012999/deployment.yaml") < guide.index(share)


@pytest.mark.parametrize("name", ["ab", "1-model", "x" * 33])
def test_a_name_that_breaks_azures_rule_is_refused(release, name: str) -> None:
    with pytest.raises(UsageError, match="3 to 32"):
        azureml_files(release(PLACE, resource_name=name), AzureMl())


@pytest.mark.parametrize("name", ["abc", "x" * 32, "a-b"])
def test_a_name_that_keeps_it_is_not(release, name: str) -> None:
    assert azureml_files(release(PLACE, resource_name=name), AzureMl())


def test_an_instance_type_of_another_cloud_is_refused() -> None:
    with pytest.raises(UsageError, match="Standard_DS3_v2"):
        AzureMl(instance_type="ml.m5.large")
