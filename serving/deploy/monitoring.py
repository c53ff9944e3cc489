"""What Prometheus and Grafana read: where to scrape, the alerts, the dashboard."""

from __future__ import annotations

from typing import Any

from serving.deploy.alerts import alert_rules, job_of
from serving.deploy.dashboard import dashboard
from serving.deploy.settings import CONFIG_FOLDER, METRICS_PATH, REST_PORT, Settings
from serving.deploy.text import to_json, to_yaml


def docker_monitoring(settings: Settings) -> dict[str, str]:
    """Files for the Prometheus and the Grafana of the compose file."""
    scrape = {"static_configs": [{"targets": [f"serving:{REST_PORT}"]}]}
    source = {"name": "Prometheus", "type": "prometheus", "url": "http://prometheus:9090", "isDefault": True}
    provider = {"name": "headrace", "type": "file", "options": {"path": CONFIG_FOLDER}}
    return {
        **_monitoring(settings, scrape),
        "monitoring/provisioning/datasources/prometheus.yaml": to_yaml(
            {"apiVersion": 1, "datasources": [source]}, settings.command
        ),
        "monitoring/provisioning/dashboards/headrace.yaml": to_yaml(
            {"apiVersion": 1, "providers": [provider]}, settings.command
        ),
    }


def kubernetes_monitoring(settings: Settings) -> dict[str, str]:
    """Files for a Prometheus and a Grafana that the cluster already has."""
    return _monitoring(settings, {"kubernetes_sd_configs": [{"role": "pod"}], "relabel_configs": _pods(settings)})


def _monitoring(settings: Settings, discovery: dict[str, Any]) -> dict[str, str]:
    job = {"job_name": job_of(settings), "metrics_path": METRICS_PATH, **discovery}
    prometheus = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [job],
    }
    return {
        "monitoring/prometheus.yaml": to_yaml(prometheus, settings.command),
        "monitoring/alerts.yaml": to_yaml(alert_rules(settings), settings.command),
        "monitoring/dashboard.json": to_json(dashboard(settings)),
    }


def _pods(settings: Settings) -> list[dict[str, Any]]:
    """Only the REST port of this deployment's pods, each under its pod's name."""
    label = "__meta_kubernetes_pod_label_app_kubernetes_io_"
    return [
        {"action": "keep", "source_labels": [f"{label}name"], "regex": "tensorflow-serving"},
        {"action": "keep", "source_labels": [f"{label}instance"], "regex": settings.resource_name},
        {"action": "keep", "source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "rest"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
