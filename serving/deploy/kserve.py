"""KServe: an InferenceService (serving.kserve.io/v1beta1) whose predictor is the stock image.

KServe's own TensorFlow runtime would name the model after the service and pin a TensorFlow older than our models'. The
predictor is therefore ours, with the probes of our Deployment. `storageUris` (from KServe 0.16 on) puts one version
where the server looks for its number; a `storageUri` would take all versions, or one without its number.

Source: https://kserve.github.io/website/docs/reference/crd-api
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.deploy.checks import require_matching, require_replicas
from serving.deploy.model_config import flags_without_files
from serving.deploy.release import Release, Served, require_scheme
from serving.deploy.resource import labels
from serving.deploy.settings import REST_PORT, USER, Settings, require_dns_label
from serving.deploy.text import template, to_yaml

_MODELS = "/mnt/models"


@dataclass(frozen=True)
class KServe:
    """What only KServe needs to know."""

    namespace: str | None = None
    replicas: int = 2
    max_replicas: int = 10
    storage_uri: str | None = None
    """Where the cluster finds the versions; None: the push path."""
    service_account: str | None = None
    """Whose secret lets KServe read the bucket; None: the namespace's default."""

    def __post_init__(self) -> None:
        require_replicas(self.replicas, self.max_replicas)
        for option, name in (("--namespace", self.namespace), ("--service-account", self.service_account)):
            if name is not None:
                require_dns_label(name, option)
        if self.storage_uri is not None:
            require_matching(
                self.storage_uri,
                r"(gs|s3)://[a-z0-9._-]{3,222}(/[^/\s]+)*/?|pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[^/\s]+)*/?",
                "--storage-uri",
                "gs://BUCKET/FOLDER, s3://BUCKET/FOLDER or pvc://CLAIM/FOLDER",
            )


def kserve_files(release: Release, kserve: KServe) -> dict[str, str]:
    """Path below the output folder → content.

    Raises:
        UsageError: The cluster cannot read the versions, or a name breaks Kubernetes' rule.
    """
    if kserve.storage_uri is None:
        require_scheme(
            release,
            "gs://",
            "s3://",
            mend="Push to a bucket, or say on which claim the cluster has the folder: --storage-uri pvc://CLAIM/FOLDER.",
        )
    require_matching(
        release.settings.resource_name,
        r"[a-z]([-a-z0-9]*[a-z0-9])?",
        "--name",
        "a to z, 0 to 9 and -, a letter first",
    )
    manifests = {"inference-service.yaml": inference_service(release, release.stable, kserve)}
    if release.canary is not None:
        manifests["canary.yaml"] = inference_service(release, release.canary, kserve)
    return {
        **{name: to_yaml(manifest, release.settings.command) for name, manifest in manifests.items()},
        **release.example_file,
        "README.md": _guide(release, kserve),
    }


def inference_service(release: Release, served: Served, kserve: KServe) -> dict[str, Any]:
    """The service as it is to be with this version; a canary's replaces the stable version's and takes its share."""
    settings = release.settings
    is_canary = served is release.canary
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": settings.resource_name,
            **({"namespace": kserve.namespace} if kserve.namespace else {}),
            "labels": labels(settings),
            "annotations": {"headrace/version": str(served.version)},
        },
        "spec": {
            "predictor": {
                "minReplicas": kserve.replicas,
                "maxReplicas": kserve.max_replicas,
                **({"canaryTrafficPercent": served.percent} if is_canary else {}),
                **({"serviceAccountName": kserve.service_account} if kserve.service_account else {}),
                "storageUris": [{"uri": _uri(served, kserve), "mountPath": f"{_MODELS}/{served.version}"}],
                "containers": [_server(settings)],
            }
        },
    }


def _uri(served: Served, kserve: KServe) -> str:
    if kserve.storage_uri is None:
        return served.place
    return f"{kserve.storage_uri.rstrip('/')}/{served.place.rstrip('/').rpartition('/')[2]}"


def _server(settings: Settings) -> dict[str, Any]:
    memory = f"{settings.memory_mib}Mi"
    return {
        "name": "kserve-container",  # KServe mounts the model into the container of this name
        "image": settings.image,
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": flags_without_files(settings, _MODELS),
        # One port: Knative takes no second.
        "ports": [{"name": "http1", "containerPort": REST_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": str(settings.cpus), "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": USER,
        },
        # See `workload`: any answer means that it listens, which it does once the model is loaded.
        "startupProbe": _probe(settings.status_path, period=2, failures=150),
        "readinessProbe": _probe(settings.ready_path, period=5, failures=3),
        "livenessProbe": _probe(settings.status_path, period=10, failures=6),
    }


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": REST_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _guide(release: Release, kserve: KServe) -> str:
    settings = release.settings
    return template(
        "kserve.md",
        command=settings.command,
        model=settings.model,
        name=settings.resource_name,
        version=release.stable.version,
        namespace=f" --namespace {kserve.namespace}" if kserve.namespace else "",
        canary=_canary(release),
        example=release.example_told,
        predict_path=f"{settings.status_path}:predict",
    )


def _canary(release: Release) -> str:
    if release.canary is None:
        return "Write the files again with `--canary V`: `canary.yaml` is then the service with that version."
    return (
        f"`kubectl apply --filename canary.yaml`, once version {release.stable.version} is ready: version "
        f"{release.canary.version} answers {release.canary.percent}% of the requests, and\n"
        "KServe sends the rest to the revision that was rolled out before."
    )
