"""A Grafana dashboard of one model: traffic, errors, latency, batch sizes, logging."""

from __future__ import annotations

from typing import Any

from serving.deploy.alerts import (
    FAULTS,
    LATENCY,
    REJECTIONS,
    REQUESTS,
    RUNTIME,
    job_of,
    latency_quantile,
    rate_of_answers,
    share_of_errors,
)
from serving.deploy.settings import Settings

_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8


def dashboard(settings: Settings) -> dict[str, Any]:
    """The dashboard's JSON model; the data source is chosen in Grafana, so it can be imported anywhere."""
    return {
        "uid": f"headrace-{settings.resource_name}"[:40],  # Grafana's limit
        "title": f"{settings.model}: serving",
        "tags": ["headrace", "tensorflow-serving"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_placed(index, panel) for index, panel in enumerate(_panels(settings))],
    }


def _panels(settings: Settings) -> list[dict[str, Any]]:
    model = settings.model
    by_name = f'{{model_name="{model}"}}'
    by_model = f'{{model="{model}"}}'
    answered = f'{{model_name="{model}",API!=""}}'
    examples = ":tensorflow:serving:request_example_counts"
    return [
        _panel("Servers that answer Prometheus", "short", {"servers": f'sum(up{{job="{job_of(settings)}"}})'}),
        _panel(
            "Requests per second, by entry point and API",
            "reqps",
            {"{{entrypoint}} {{API}}": f"sum by (entrypoint, API) (rate({LATENCY}_count{answered}[5m]))"},
        ),
        _panel(
            "Requests that fail",
            "percentunit",
            {
                "the server's fault": share_of_errors(model, FAULTS),
                "the request's fault": share_of_errors(model, REJECTIONS),
            },
        ),
        _panel(
            "Requests per second, by status (with health probes)",
            "reqps",
            {"{{status}}": f"sum by (status) (rate({REQUESTS}{by_name}[5m]))"},
        ),
        _panel(
            "Latency of requests",
            "µs",
            {f"p{quantile * 100:g}": latency_quantile(quantile, model) for quantile in (0.5, 0.95, 0.99)},
        ),
        _panel(
            "Mean latency: the difference is parsing and waiting for a batch",
            "µs",
            {
                "request": f"sum(rate({LATENCY}_sum{answered}[5m])) / {rate_of_answers(model)}",
                "runtime": f"sum(rate({RUNTIME}_sum{by_name}[5m])) / sum(rate({RUNTIME}_count{by_name}[5m]))",
            },
        ),
        _panel(
            "Examples per second (Classify and Regress)",
            "short",
            {"examples": f"sum(rate(:tensorflow:serving:request_example_count_total{by_model}[5m]))"},
        ),
        _panel(
            "Examples per request (Classify and Regress)",
            "short",
            {"mean": f"sum(rate({examples}_sum{by_model}[5m])) / sum(rate({examples}_count{by_model}[5m]))"},
        ),
        _panel(
            "Logged requests per second, by status",
            "reqps",
            {"{{status_code}}": (f"sum by (status_code) (rate(:tensorflow:serving:request_log_count{by_name}[5m]))")},
        ),
    ]


def _panel(title: str, unit: str, queries: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _DATA_SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _DATA_SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(queries.items())
        ],
    }


def _placed(index: int, panel: dict[str, Any]) -> dict[str, Any]:
    row, column = divmod(index, _COLUMNS)
    place = {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    return {"id": index + 1, "gridPos": place, **panel}
