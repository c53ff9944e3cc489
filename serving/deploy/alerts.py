"""Prometheus alerts on the metrics of TensorFlow Serving; Headrace's own server exports the same names.

Three facts of the server's sources (`http_server.cc`, `prediction_service_impl.cc`) shape the queries:

- Latency is recorded for requests that were answered, in microseconds; an error counts only in `request_count`.
- Every GET counts in `request_count` too, and with an empty API in `request_latency`: health probes, above all. What
  was answered is therefore counted by `request_latency_count{API!=""}`.
- A status is a series of its own that appears with its first request: an absent one means zero.
"""

from __future__ import annotations

from typing import Any

from serving.deploy.settings import Settings

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
RUNTIME = ":tensorflow:serving:runtime_latency"

FAULTS = "UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED|INTERNAL|UNAVAILABLE|DATA_LOSS"
"""The server's fault, whatever the request: each but ABORTED becomes an HTTP 5xx or 429."""
REJECTIONS = "INVALID_ARGUMENT|FAILED_PRECONDITION|OUT_OF_RANGE|NOT_FOUND|UNIMPLEMENTED"
"""The request's fault: a feature that is missing or of another type, an unknown signature, version or label."""

MOST_FAULTS = 0.01
MOST_REJECTIONS = 0.1


def alert_rules(settings: Settings) -> dict[str, Any]:
    """A file of Prometheus alerting rules for one model."""
    return {"groups": [{"name": f"headrace-{settings.resource_name}", "rules": _rules(settings)}]}


def job_of(settings: Settings) -> str:
    """What the scrape configuration calls the servers of this deployment."""
    return f"headrace-{settings.resource_name}"


def rate_of_answers(model: str, window: str = "5m") -> str:
    """Answered requests per second, of all servers together."""
    return f'sum(rate({LATENCY}_count{{model_name="{model}",API!=""}}[{window}]))'


def rate_of_errors(model: str, statuses: str, window: str = "5m") -> str:
    """Requests per second that ended with one of the statuses; 0 if none ever did."""
    return f'(sum(rate({REQUESTS}{{model_name="{model}",status=~"{statuses}"}}[{window}])) or vector(0))'


def share_of_errors(model: str, statuses: str) -> str:
    """Of all requests, those that ended with one of the statuses; health probes do not dilute it."""
    every_error = rate_of_errors(model, f"{FAULTS}|{REJECTIONS}")
    return f"{rate_of_errors(model, statuses)} / (({rate_of_answers(model)} or vector(0)) + {every_error})"


def latency_quantile(quantile: float, model: str) -> str:
    """A quantile of the latency in microseconds, within the width of a bucket (a factor of 1.8)."""
    return f'histogram_quantile({quantile}, sum by (le) (rate({LATENCY}_bucket{{model_name="{model}",API!=""}}[5m])))'


def _rules(settings: Settings) -> list[dict[str, Any]]:
    model, job = settings.model, job_of(settings)
    day_before = f'sum(increase({LATENCY}_count{{model_name="{model}",API!=""}}[1d] offset 30m))'
    last_half_hour = f'sum(increase({LATENCY}_count{{model_name="{model}",API!=""}}[30m]))'
    return [
        _alert(
            "HeadraceNoServer",
            f'(sum(up{{job="{job}"}}) or vector(0)) == 0',
            "2m",
            "critical",
            f"No server of {model} answers Prometheus",
            "No request is served. Look at the containers' logs: a server that cannot load its model ends.",
        ),
        _alert(
            "HeadraceServerFaults",
            f"{share_of_errors(model, FAULTS)} > {MOST_FAULTS}",
            "5m",
            "critical",
            f"{{{{ $value | humanizePercentage }}}} of the requests to {model} fail through the server's fault",
            "The log names the failing operation. If a new version was just pushed, pin the one before: --stable.",
        ),
        _alert(
            "HeadraceRequestsRejected",
            f"{share_of_errors(model, REJECTIONS)} > {MOST_REJECTIONS}",
            "15m",
            "warning",
            f"{{{{ $value | humanizePercentage }}}} of the requests to {model} are rejected as wrong",
            "A client and the model's signature disagree: a feature renamed, retyped or left out on one side. If "
            "all are FAILED_PRECONDITION, the model may have been exported without its variables.",
        ),
        _alert(
            "HeadraceOverloaded",
            f"{rate_of_errors(model, 'UNAVAILABLE')} > 0",
            "5m",
            "warning",
            f"The queue of {model} is full: {{{{ $value | humanize }}}} requests per second are turned away",
            "Add replicas or CPUs; a longer queue (max_enqueued_batches) would only answer too late.",
        ),
        _alert(
            "HeadraceSlow",
            f"{latency_quantile(0.99, model)} > {settings.p99_milliseconds * 1000}",
            "10m",
            "warning",
            f"One request in 100 to {model} takes more than {settings.p99_milliseconds} ms",
            "Compare the latency of requests and of the runtime on the dashboard: the difference is waiting.",
        ),
        _alert(
            "HeadraceNoRequests",
            f"{last_half_hour} == 0 and {day_before} > 0",
            "10m",
            "warning",
            f"Nobody has asked {model} for 30 minutes, but someone did in the day before",
            "Clients lost their way (name resolution, network policy, a label that is gone), or have stopped.",
        ),
    ]


def _alert(name: str, query: str, lasting: str, severity: str, summary: str, description: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": query,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }
