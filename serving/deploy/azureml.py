"""Azure Machine Learning: a model, a managed online endpoint and a deployment of the stock image, in the CLI's YAML.

Azure mounts a registered model at /var/azureml-app/azureml-models/NAME/VERSION/FOLDER, where FOLDER is the last part of
the path that was registered. The stock image's entry point serves $MODEL_BASE_PATH/$MODEL_NAME and takes no other
argument from Azure; so the folder that is registered is called like the model and holds the version under its number.

Source: https://learn.microsoft.com/azure/machine-learning/reference-yaml-deployment-managed-online
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.deploy.checks import require_matching
from serving.deploy.model_config import THREADS_PER_CPU
from serving.deploy.release import Release, Served
from serving.deploy.settings import REST_PORT
from serving.deploy.text import template, to_yaml

_SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
_MOUNT = "/var/azureml-app/azureml-models"
_NAME = r"(?=.{3,32}$)[a-zA-Z][-a-zA-Z0-9]*[a-zA-Z0-9]"


@dataclass(frozen=True)
class AzureMl:
    """What only Azure Machine Learning needs to know."""

    instance_type: str = "Standard_DS3_v2"
    replicas: int = 2

    def __post_init__(self) -> None:
        require_matching(self.instance_type, r"Standard_[A-Za-z0-9_]+", "--instance-type", "such as Standard_DS3_v2")


def azureml_files(release: Release, azure: AzureMl) -> dict[str, str]:
    """Path below the output folder → content; the versions are copied by the writer, not made here.

    Raises:
        UsageError: A name breaks Azure's rule.
    """
    files = {"endpoint.yaml": endpoint(release)}
    for each in release.served:
        files[f"{each.version}/model.yaml"] = model(release, each)
        files[f"{each.version}/deployment.yaml"] = deployment(release, each, azure)
    return {
        **{name: to_yaml(document, release.settings.command) for name, document in files.items()},
        **release.example_file,
        "README.md": _guide(release),
    }


def model_folder(release: Release, served: Served) -> str:
    """Where a version's SavedModel is copied to, below the output folder."""
    return f"{served.version}/{release.settings.model}/{served.version}"


def endpoint(release: Release) -> dict[str, Any]:
    """The endpoint; it has no `traffic` yet, since Azure refuses a share for a deployment that is not there."""
    return {
        "$schema": f"{_SCHEMAS}/managedOnlineEndpoint.schema.json",
        "name": _named(release.settings.resource_name),
        "description": f"The pipeline {release.settings.model}",
        "auth_mode": "key",
        "tags": _tags(release),
    }


def model(release: Release, served: Served) -> dict[str, Any]:
    """The model that is registered; its version in Azure is its version here."""
    return {
        "$schema": f"{_SCHEMAS}/model.schema.json",
        "name": release.settings.resource_name,
        "version": str(served.version),
        "type": "custom_model",
        "path": release.settings.model,  # beside this file
        "tags": _tags(release),
    }


def deployment(release: Release, served: Served, azure: AzureMl) -> dict[str, Any]:
    """A deployment of one version behind the endpoint."""
    settings = release.settings
    registered = settings.resource_name
    return {
        "$schema": f"{_SCHEMAS}/managedOnlineDeployment.schema.json",
        "name": _named(deployment_name(served)),
        "endpoint_name": settings.resource_name,
        "model": f"azureml:{registered}:{served.version}",
        "environment": {
            "image": f"docker.io/{settings.image}" if settings.image.startswith("tensorflow/") else settings.image,
            "inference_config": {
                "liveness_route": {"port": REST_PORT, "path": settings.status_path},
                "readiness_route": {"port": REST_PORT, "path": settings.ready_path},
                "scoring_route": {"port": REST_PORT, "path": f"{settings.status_path}:predict"},
            },
        },
        "environment_variables": {
            "MODEL_BASE_PATH": f"{_MOUNT}/{registered}/{served.version}",
            "MODEL_NAME": settings.model,
        },
        "instance_type": azure.instance_type,
        "instance_count": azure.replicas,
        "request_settings": {
            "request_timeout_ms": 5000,
            # Azure's default is 1: a second request would wait for the first, whatever the server could do.
            "max_concurrent_requests_per_instance": THREADS_PER_CPU * settings.cpus,
        },
        # The server listens once the model is loaded, which may take 5 minutes.
        "liveness_probe": {"initial_delay": 10, "period": 10, "timeout": 5, "failure_threshold": 30},
        "readiness_probe": {"initial_delay": 10, "period": 5, "timeout": 3, "failure_threshold": 60},
        "tags": {**_tags(release), "headrace-version": str(served.version)},
    }


def deployment_name(served: Served) -> str:
    """What a version's deployment is called."""
    return f"version-{served.version}"


def _named(name: str) -> str:
    return require_matching(
        name,
        _NAME,
        "--name",
        "3 to 32 letters, digits and -, a letter first and no - last",
        mend="Give another with --name; it must be the only one of its kind in the region.",
    )


def _tags(release: Release) -> dict[str, str]:
    return {"headrace-pipeline": release.settings.model}


def _guide(release: Release) -> str:
    name = release.settings.resource_name
    create = "\n".join(
        f"    az ml model create --file {each.version}/model.yaml\n"
        f"    az ml online-deployment create --file {each.version}/deployment.yaml"
        for each in release.served
    )
    shares = " ".join(f"{deployment_name(each)}={each.percent}" for each in release.served)
    return template(
        "azureml.md",
        command=release.settings.command,
        model=release.settings.model,
        name=name,
        version=release.stable.version,
        create=create,
        shares=shares,
        deployment=deployment_name(release.stable),
        scoring_path=f"{release.settings.status_path}:predict",
        example=release.example_told,
    )
