"""The pods: one server each, with probes that mean what they say and a shutdown that loses no request."""

from __future__ import annotations

import hashlib
from typing import Any

from serving.deploy.model_config import batching_config, monitoring_config, server_flags
from serving.deploy.resource import labels, resource, selector
from serving.deploy.settings import CONFIG_FOLDER, GRPC_PORT, METRICS_PATH, REST_PORT, USER, Settings

_DRAIN_SECONDS = 20
"""Longer than it takes every proxy of the cluster to hear that the pod is going."""

_LOCKED_DOWN = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def deployment(settings: Settings) -> dict[str, Any]:
    """The Deployment; it has no `replicas`, since the autoscaler owns their number."""
    return resource(
        "apps/v1",
        "Deployment",
        settings,
        spec={
            "selector": {"matchLabels": selector(settings)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels(settings), "annotations": _annotations(settings)},
                "spec": _pod(settings),
            },
        },
    )


def publisher(settings: Settings) -> dict[str, Any]:
    """A pod that has the volume open for writing, through which `kubectl cp` publishes a version."""
    container = {
        "name": "publisher",
        "image": settings.image,
        "command": ["sleep", "3600"],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": _LOCKED_DOWN,
        "volumeMounts": [{"name": "models", "mountPath": settings.base_path}],
    }
    pod = resource("v1", "Pod", settings, name=f"{settings.resource_name}-publisher")
    pod["metadata"]["labels"] = {**labels(settings), "app.kubernetes.io/name": "publisher"}  # not behind the Service
    pod["spec"] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {**_user(), "fsGroup": USER},
        "containers": [container],
        "volumes": [_models(settings, read_only=False)],
    }
    return pod


def _annotations(settings: Settings) -> dict[str, str]:
    """Where Prometheus scrapes, and a digest of what a server reads only when it starts: a change replaces the pods.

    `models.config` is left out: servers read it again by themselves.
    """
    read_once = batching_config(settings.cpus) + monitoring_config()
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(REST_PORT),
        "prometheus.io/path": METRICS_PATH,
        "headrace/read-once": hashlib.sha256(read_once.encode()).hexdigest()[:16],
    }


def _pod(settings: Settings) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(settings)},
    }
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": settings.resource_name}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    if settings.needs_volume:
        volumes.append(_models(settings, read_only=True))
    return {
        "serviceAccountName": settings.resource_name,
        "automountServiceAccountToken": False,
        # The server has no handler of SIGTERM, and the kernel spares a process 1 without one. With a shared process
        # namespace it is not process 1, so it ends when it is told to, instead of being killed at the end.
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": _DRAIN_SECONDS + 10,
        "securityContext": _user(),
        "topologySpreadConstraints": [spread],
        "containers": [_server(settings)],
        "volumes": volumes,
    }


def _server(settings: Settings) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [
        # The whole folder: a file mounted by `subPath` would never change.
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - a path in the container
    ]
    if settings.needs_volume:
        mounts.append({"name": "models", "mountPath": settings.base_path, "readOnly": True})
    memory = f"{settings.memory_mib}Mi"
    return {
        "name": "server",
        "image": settings.image,
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": server_flags(settings),
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "rest", "containerPort": REST_PORT}],
        # No limit of the CPU: it would stall requests for the rest of each 100 ms; the request is the fair share.
        "resources": {"requests": {"cpu": str(settings.cpus), "memory": memory}, "limits": {"memory": memory}},
        "securityContext": _LOCKED_DOWN,
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_DRAIN_SECONDS)]}}},
        "volumeMounts": mounts,
        **_probes(settings),
    }


def _probes(settings: Settings) -> dict[str, Any]:
    """Three questions, three answers.

    Started: the server listens only once its first model is loaded (`ServerCore::Create` waits for it), so any answer
    will do; a large model on a slow volume has 5 minutes. Ready: see `Settings.ready_path`. Alive: gRPC's health
    service says SERVING as long as the process can answer; it does not depend on a model, since a restart would not
    mend one, nor on a REST thread, since all may be busy. It needs `--enable_grpc_healthcheck_service`.
    """
    return {
        "startupProbe": {
            "httpGet": {"path": settings.status_path, "port": "rest"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 150,
        },
        "readinessProbe": {
            "httpGet": {"path": settings.ready_path, "port": "rest"},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "grpc": {"port": GRPC_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _user() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _models(settings: Settings, read_only: bool) -> dict[str, Any]:
    claim = {"claimName": f"{settings.resource_name}-models", "readOnly": read_only}
    return {"name": "models", "persistentVolumeClaim": claim}
