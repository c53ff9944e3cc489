"""What every Kubernetes resource of a deployment has in common."""

from __future__ import annotations

from typing import Any

from serving.deploy.settings import Settings


def resource(
    api_version: str, kind: str, settings: Settings, name: str | None = None, **content: Any
) -> dict[str, Any]:
    """A resource with its name and its labels.

    Args:
        api_version: Such as `apps/v1`.
        kind: Such as `Deployment`.
        settings: What is deployed.
        name: By default the deployment's.
        content: What stands beside the metadata, such as `spec`.
    """
    metadata = {"name": name or settings.resource_name, "labels": labels(settings)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def selector(settings: Settings) -> dict[str, str]:
    """The labels that tell this deployment's pods from all others; a Deployment can never change them."""
    return {"app.kubernetes.io/name": "tensorflow-serving", "app.kubernetes.io/instance": settings.resource_name}


def labels(settings: Settings) -> dict[str, str]:
    """Kubernetes' recommended labels."""
    return {**selector(settings), "app.kubernetes.io/managed-by": "headrace"}
