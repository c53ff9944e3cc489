"""The server's Prometheus page, read into a snapshot; two snapshots make its health.

TensorFlow Serving and Headrace's own server export the same names (`serving/server/metrics.py`). Both record a latency
for each request that was answered, with an empty API for health probes, and count errors by status
(`serving/deploy/alerts.py`): a request is therefore an answer with an API, or an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from monitoring.exchange import NoAnswerError, exchange, origin
from monitoring.report import ServerHealth
from schema.strict import Strict
from serving.deploy.alerts import FAULTS, LATENCY, REQUESTS

_EVERY_METRIC = ":tensorflow:"
_LOGGED = ":tensorflow:serving:request_log_count"
_MOST_BYTES = 16 << 20
_OK = "OK"
_FAULTS = frozenset(FAULTS.split("|"))
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_HTTP_OK = 200


class ModelCounters(Strict):
    """What the server counted for one model since it started."""

    statuses: dict[str, int] = {}
    """Requests by status, health probes among the `OK`."""
    within: dict[str, int] = {}
    """Answers by upper limit of their latency in microseconds, cumulative: `le` of Prometheus; `inf` is all of them."""
    logged: dict[str, int] = {}
    """Requests that were to be logged, by what became of it."""


class Snapshot(Strict):
    """One look at the page; kept as JSON until the next."""

    models: dict[str, ModelCounters]


def read(url: str, timeout: float) -> Snapshot | str:
    """Asks the server for its metrics.

    Args:
        url: Of the page: `http://localhost:8501/monitoring/prometheus/metrics`.
        timeout: In seconds, for all of it.

    Returns:
        The snapshot, or why there is none, in words; never raises.
    """
    try:
        answer = exchange("GET", url, timeout, most_bytes=_MOST_BYTES)
        if answer.status != _HTTP_OK:
            return f"{origin(url)} answered with HTTP {answer.status}, not with its metrics"
        return parse(answer.body.decode("utf-8", "replace"))
    except NoAnswerError as error:
        return f"{origin(url)} did not tell its metrics: {error}"
    except (ValueError, OverflowError):
        return f"{origin(url)} answered with a page that is not TensorFlow Serving's metrics in Prometheus' format"


def parse(page: str) -> Snapshot:
    """Reads the page's text.

    Raises:
        ValueError: It is not in Prometheus' format, or none of its metrics is TensorFlow's.
        OverflowError: A count is infinite.
    """
    lines = page.splitlines()
    if not any(line.removeprefix("# TYPE ").startswith(_EVERY_METRIC) for line in lines):
        raise ValueError("no metric of TensorFlow's")
    models: dict[str, dict[str, dict[str, int]]] = {}
    for name, labels, value in _samples(line for line in lines if line.startswith((REQUESTS, LATENCY, _LOGGED))):
        cell = _cell(name, labels)
        if cell is not None:
            field, key = cell
            counts = models.setdefault(labels.get("model_name", ""), {}).setdefault(field, {})
            counts[key] = counts.get(key, 0) + int(value)
    return Snapshot(models={model: ModelCounters.model_validate(fields) for model, fields in models.items()})


def _samples(lines: Iterable[str]) -> Iterable[tuple[str, Mapping[str, str], float]]:
    # Without its TYPE lines, which make the parser append `_total` to a counter's name.
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _cell(name: str, labels: Mapping[str, str]) -> tuple[str, str] | None:
    """Which of `ModelCounters` a sample counts towards, and under which key."""
    if name == REQUESTS:
        return "statuses", labels.get("status", "")
    if name == _LOGGED:
        return "logged", labels.get("status", "")
    if name == f"{LATENCY}_bucket" and labels.get("API"):
        return "within", repr(float(labels.get("le", "")))
    return None


def health(
    now: Snapshot, before: Snapshot | None, seconds: float | None = None, model: str | None = None
) -> ServerHealth:
    """What the server did between two looks.

    Args:
        now: The look that counts.
        before: The look before; None counts from the server's start. A counter that went down since tells that the
            server started anew: then too.
        seconds: Between the two; None, or not above 0 (a clock went backwards), gives no rate.
        model: Counts this one only; None counts all.
    """
    if before is not None and _restarted(now, before):
        before = Snapshot(models={})
    if before is None or seconds is None or seconds <= 0:
        seconds = None
    names = now.models.keys() if model is None else now.models.keys() & {model}
    pairs = [(now.models[name], _counters(before, name)) for name in names]
    statuses = _sum(_grown(a.statuses, b.statuses) for a, b in pairs)
    within = _sum(_grown(a.within, b.within) for a, b in pairs)
    logged = _sum(_grown(a.logged, b.logged) for a, b in pairs)

    errors = sum(count for status, count in statuses.items() if status in _FAULTS)
    refused = sum(statuses.values()) - statuses.get(_OK, 0) - errors
    requests = within.get("inf", 0) + errors + refused
    return ServerHealth(
        requests=requests,
        errors=errors,
        refused=refused,
        seconds=seconds,
        latency_milliseconds=_latencies(within),
        requests_per_second=None if seconds is None else requests / seconds,
        logs_lost=sum(count for status, count in logged.items() if status != _OK),
    )


def _restarted(now: Snapshot, before: Snapshot) -> bool:
    """Whether any counter went down: they only grow while a server runs."""
    for name, old in before.models.items():
        new = _counters(now, name)
        pairs = ((new.statuses, old.statuses), (new.within, old.within), (new.logged, old.logged))
        if any(a.get(key, 0) < count for a, b in pairs for key, count in b.items()):
            return True
    return False


def _counters(snapshot: Snapshot | None, model: str) -> ModelCounters:
    return (snapshot.models.get(model) if snapshot else None) or ModelCounters()


def _grown(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {key: count - before.get(key, 0) for key, count in now.items()}


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for key, count in each.items():
            total[key] = total.get(key, 0) + count
    return total


def _latencies(within: Mapping[str, int]) -> dict[str, float]:
    buckets = sorted((float(limit), count) for limit, count in within.items())
    if not buckets or buckets[-1][1] <= 0:
        return {}
    return {name: _quantile(share, buckets) / 1000 for name, share in _QUANTILES.items()}


def _quantile(share: float, buckets: list[tuple[float, int]]) -> float:
    """Linear within the bucket; above the last finite limit, that limit: Prometheus' `histogram_quantile`."""
    rank = share * buckets[-1][1]
    lower, below = 0.0, 0
    for limit, count in buckets:
        if count >= rank:
            if limit == float("inf"):
                return lower
            return lower + (limit - lower) * (rank - below) / (count - below) if count > below else limit
        lower, below = limit, max(below, count)
    return lower
