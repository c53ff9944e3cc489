"""Kubernetes manifests for one model, from version 1.27 on (the first whose gRPC probes are stable)."""

from __future__ import annotations

from typing import Any

from serving.deploy.model_config import config_files
from serving.deploy.monitoring import kubernetes_monitoring
from serving.deploy.resource import resource, selector
from serving.deploy.settings import GRPC_PORT, REST_PORT, Cluster, Settings
from serving.deploy.text import template, to_yaml
from serving.deploy.workload import deployment, publisher


def kubernetes_files(settings: Settings, cluster: Cluster) -> dict[str, str]:
    """Path below the output folder → content."""
    manifests = {
        "configmap.yaml": config_map(settings),
        "deployment.yaml": deployment(settings),
        "service.yaml": service(settings),
        "autoscaler.yaml": autoscaler(settings, cluster),
        "disruption-budget.yaml": disruption_budget(settings),
        "network-policy.yaml": network_policy(settings, cluster),
        "service-account.yaml": service_account(settings),
    }
    extra: dict[str, dict[str, Any]] = {}
    if settings.needs_volume:
        manifests["volume-claim.yaml"] = volume_claim(settings, cluster)
        extra["publisher.yaml"] = publisher(settings)  # applied by hand, while models are copied to the volume
    extra["kustomization.yaml"] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        **({"namespace": cluster.namespace} if cluster.namespace else {}),
        "resources": list(manifests),
    }
    names = {
        "model": settings.model,
        "command": settings.command_without_pins,
        "name": settings.resource_name,
        "push_path": settings.push_path,
        "base_path": settings.base_path,
        "namespace": f" --namespace {cluster.namespace}" if cluster.namespace else "",
    }
    source = "volume" if settings.needs_volume else "bucket" if settings.is_remote else "image"
    names["source"] = template(f"kubernetes-{source}.md", **names)
    return {
        **{name: to_yaml(manifest, settings.command) for name, manifest in {**manifests, **extra}.items()},
        **kubernetes_monitoring(settings),
        "README.md": template("kubernetes.md", **names),
    }


def config_map(settings: Settings) -> dict[str, Any]:
    """The server's configuration; a change reaches running servers within about 90 s, without a restart."""
    return resource("v1", "ConfigMap", settings, data=config_files(settings))


def service(settings: Settings) -> dict[str, Any]:
    """One address for both protocols, inside the cluster."""
    ports = [
        {"name": name, "port": port, "targetPort": name, "appProtocol": protocol}
        for name, port, protocol in (("grpc", GRPC_PORT, "kubernetes.io/h2c"), ("rest", REST_PORT, "http"))
    ]
    return resource(
        "v1", "Service", settings, spec={"type": "ClusterIP", "selector": selector(settings), "ports": ports}
    )


def service_account(settings: Settings) -> dict[str, Any]:
    """Its own, so that a cloud can tie rights on a bucket to it; without a token, since it never asks Kubernetes."""
    return {**resource("v1", "ServiceAccount", settings), "automountServiceAccountToken": False}


def autoscaler(settings: Settings, cluster: Cluster) -> dict[str, Any]:
    """More replicas when the CPUs are at 70%: prediction is bound by them, and a start takes half a minute."""
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": settings.resource_name},
        "minReplicas": cluster.replicas,
        "maxReplicas": cluster.max_replicas,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
            }
        ],
        # Up at once, down slowly: a pod that is missed costs answers, one too many only money.
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            "scaleDown": {
                "stabilizationWindowSeconds": 300,
                "policies": [{"type": "Percent", "value": 25, "periodSeconds": 60}],
            },
        },
    }
    return resource("autoscaling/v2", "HorizontalPodAutoscaler", settings, spec=spec)


def disruption_budget(settings: Settings) -> dict[str, Any]:
    """Nodes are drained one replica at a time; `minAvailable` would block the drain of a single replica for ever."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": selector(settings)}}
    return resource("policy/v1", "PodDisruptionBudget", settings, spec=spec)


def network_policy(settings: Settings, cluster: Cluster) -> dict[str, Any]:
    """In: the namespace's pods, and Prometheus on the REST port. Out: nothing, or what a bucket needs.

    The server has no authentication of its own. The kubelet's probes are always let through.
    """
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.monitoring_namespace}}}
    return resource(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        settings,
        spec={
            "podSelector": {"matchLabels": selector(settings)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [_tcp(GRPC_PORT), _tcp(REST_PORT)]},
                {"from": [monitoring], "ports": [_tcp(REST_PORT)]},
            ],
            "egress": _to_bucket() if settings.is_remote else [],
        },
    )


def volume_claim(settings: Settings, cluster: Cluster) -> dict[str, Any]:
    """The volume with the versions: all replicas read it, and a publisher writes to it."""
    spec: dict[str, Any] = {
        "accessModes": [cluster.access_mode],
        "resources": {"requests": {"storage": cluster.storage}},
    }
    if cluster.storage_class is not None:
        spec["storageClassName"] = cluster.storage_class
    return resource("v1", "PersistentVolumeClaim", settings, name=f"{settings.resource_name}-models", spec=spec)


def _to_bucket() -> list[dict[str, Any]]:
    """Names, the storage's API, and Google's metadata server, which hands out the credentials."""
    return [
        {"ports": [{"protocol": "UDP", "port": 53}, _tcp(53)]},
        {"ports": [_tcp(443)]},
        {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [_tcp(80)]},
        {"to": [{"ipBlock": {"cidr": "169.254.169.252/32"}}], "ports": [_tcp(988)]},
    ]


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}
