"""Vertex AI: the bodies of UploadModel, CreateEndpoint and DeployModel, in protobuf's JSON.

Vertex copies what lies below a model's `artifactUri` to a bucket of its own and tells the container where, in
`AIP_STORAGE_URI`. The stock server looks for a folder with a number there, so it is given a folder that holds the
version under its number. Google's prebuilt images take the SavedModel's own folder, but they end with TensorFlow 2.15,
which is older than what our models are saved with; so the stock image is the default.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schema.errors import UsageError
from serving.deploy.checks import beside, require_matching, require_replicas
from serving.deploy.model_config import flags_without_files
from serving.deploy.release import Release, Served, require_scheme
from serving.deploy.settings import REST_PORT, Settings
from serving.deploy.text import template, to_json

_PREBUILT = "/vertex-ai/prediction/tf2-"
_ID = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_MOST_DIGITS = 10
"""Of the number of a deployed model."""


@dataclass(frozen=True)
class Vertex:
    """What only Vertex AI needs to know."""

    project: str
    region: str
    machine_type: str = "n1-standard-2"
    replicas: int = 2
    max_replicas: int = 10
    service_account: str | None = None
    """Whom the containers run as; None: Vertex decides."""

    def __post_init__(self) -> None:
        require_matching(
            self.project,
            r"([a-z0-9.]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]+",
            "--project",
            "6 to 30 letters, digits and -",
        )
        require_matching(self.region, r"[a-z]+-[a-z]+[0-9]+", "--region", "such as europe-west4")
        require_matching(self.machine_type, r"[a-z0-9]+(-[a-z0-9]+)+", "--machine-type", "such as n1-standard-2")
        require_replicas(self.replicas, self.max_replicas)

    @property
    def location(self) -> str:
        """The resource name that all others begin with."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def image(self) -> str:
        """Where the stock image is copied to: Vertex pulls from Artifact Registry only."""
        return f"{self.region}-docker.pkg.dev/{self.project}/headrace/serving"


def vertex_files(release: Release, vertex: Vertex) -> dict[str, str]:
    """Path below the output folder → content.

    Raises:
        UsageError: The versions are not on gs://, or a name breaks Vertex' rule.
    """
    require_scheme(release, "gs://", mend="Push to a gs:// URL: Vertex reads models from Cloud Storage only.")
    settings, stable = release.settings, release.stable
    files = {
        "upload-model.json": upload(release, stable),
        "create-endpoint.json": endpoint(settings),
        "deploy-model.json": deployment(release, stable, vertex, {"0": 100}),
    }
    if release.canary is not None:
        shares = {"0": release.canary.percent, str(stable.version): stable.percent}
        files["upload-canary.json"] = upload(release, release.canary)
        files["deploy-canary.json"] = deployment(release, release.canary, vertex, shares)
    return {
        **{name: to_json(body) for name, body in files.items()},
        **release.example_file,
        "README.md": _guide(release, vertex),
    }


def upload(release: Release, served: Served) -> dict[str, Any]:
    """The body of `POST …/models:upload`; each version is a model of its own, so that its name is known beforehand."""
    name = release.name_of(served)
    require_matching(name, _ID, "--name", "with the version at most 63 of a to z, 0 to 9 and -, a letter first")
    return {
        "modelId": name,
        "model": {
            "displayName": name,
            "description": release.settings.command,
            "labels": {"headrace-pipeline": release.settings.resource_name, "headrace-version": str(served.version)},
            "artifactUri": artifact_of(release, served),
            "containerSpec": _container(release.settings),
        },
    }


def artifact_of(release: Release, served: Served) -> str:
    """The folder whose content Vertex copies."""
    if _PREBUILT in release.settings.image:
        return served.place
    return f"{beside(release.settings.push_path, 'vertex')}/{served.version}"


def endpoint(settings: Settings) -> dict[str, Any]:
    """The body of `POST …/endpoints?endpointId=NAME`."""
    require_matching(settings.resource_name, _ID, "--name", "a letter first")
    return {
        "displayName": settings.resource_name,
        "description": settings.command,
        "labels": {"headrace-pipeline": settings.resource_name},
    }


def deployment(release: Release, served: Served, vertex: Vertex, shares: dict[str, int]) -> dict[str, Any]:
    """The body of `POST …/endpoints/NAME:deployModel`.

    Args:
        release: What is rolled out.
        served: The version that this request deploys.
        vertex: Where, and on what.
        shares: Number of a deployed model → percent of the traffic; "0" is the one that this request deploys.
    """
    if len(str(served.version)) > _MOST_DIGITS:
        raise UsageError(
            "Vertex AI refuses this version's number",
            where=served.place,
            expected=f"at most {_MOST_DIGITS} digits",
            received=str(served.version),
        )
    name = release.name_of(served)
    return {
        "deployedModel": {
            "id": str(served.version),
            "model": f"{vertex.location}/models/{name}",
            "displayName": name,
            "dedicatedResources": {
                "machineSpec": {"machineType": vertex.machine_type},
                "minReplicaCount": vertex.replicas,
                "maxReplicaCount": vertex.max_replicas,
                # Prediction is bound by the CPUs.
                "autoscalingMetricSpecs": [
                    {"metricName": "aiplatform.googleapis.com/prediction/online/cpu/utilization", "target": 70}
                ],
            },
            **({"serviceAccount": vertex.service_account} if vertex.service_account else {}),
        },
        "trafficSplit": shares,
    }


def _container(settings: Settings) -> dict[str, Any]:
    """How the image runs; a prebuilt one knows that itself."""
    if _PREBUILT in settings.image:
        return {"imageUri": settings.image}
    return {
        "imageUri": settings.image,
        # Not the stock entry point: it would put a base path of its own before ours.
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": flags_without_files(settings, "$(AIP_STORAGE_URI)"),
        "ports": [{"containerPort": REST_PORT}],
        "predictRoute": f"{settings.status_path}:predict",
        "healthRoute": settings.ready_path,
        # The server listens once the model is loaded. Without this, Vertex restarts it after 40 s.
        "startupProbe": {
            "httpGet": {"path": settings.status_path, "port": REST_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 60,
        },
    }


def _guide(release: Release, vertex: Vertex) -> str:
    settings = release.settings
    return template(
        "vertex.md",
        command=settings.command,
        model=settings.model,
        name=settings.resource_name,
        version=release.stable.version,
        api=f"https://{vertex.region}-aiplatform.googleapis.com/v1/{vertex.location}",
        copies=_copies(release, vertex),
        canary=_canary(release),
        example=release.example_told,
        signature_path=f"{settings.status_path}:predict",
    )


def _copies(release: Release, vertex: Vertex) -> str:
    """What has to lie in Google's stores first."""
    if _PREBUILT in release.settings.image:
        return "Nothing has to be copied: a prebuilt image reads the pushed version where it is."
    versions = "\n".join(
        f"    gcloud storage rsync --recursive {each.place} {artifact_of(release, each)}/{each.version}"
        for each in release.served
    )
    if not release.settings.image.startswith(vertex.image):
        return versions
    tag = release.settings.image.rpartition(":")[2]
    return (
        f"{versions}\n"
        f"    gcloud artifacts repositories create headrace --repository-format=docker"
        f" --location={vertex.region} --project={vertex.project}\n"
        f"    gcloud auth configure-docker {vertex.region}-docker.pkg.dev\n"
        f"    docker pull tensorflow/serving:{tag}\n"
        f"    docker tag tensorflow/serving:{tag} {release.settings.image}\n"
        f"    docker push {release.settings.image}"
    )


def _canary(release: Release) -> str:
    if release.canary is None:
        return "Write the files again with `--canary V`: two more requests upload it and give it a share."
    return (
        f"Post `upload-canary.json` to `models:upload`, then `deploy-canary.json` to "
        f"`endpoints/{release.settings.resource_name}:deployModel`:\n"
        f"version {release.canary.version} answers {release.canary.percent}% of the requests, version "
        f"{release.stable.version} the others."
    )
