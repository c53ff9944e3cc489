"""Each alert fires when it should and is silent when it should, by Prometheus' own rule tester."""

from __future__ import annotations

import pytest

from serving.deploy.alerts import alert_rules

MINUTES = 90
LIMITS = [10 * 1.8**power for power in range(33)]
UP = 'up{job="headrace-my-model"}'


def count(status: str, per_minute: float) -> dict[str, str]:
    name = f':tensorflow:serving:request_count{{model_name="My_Model",status="{status}"}}'
    return {name: f"0+{per_minute}x{MINUTES}"}


def latency(microseconds: dict[float, float], api: str = "predict", minutes: int = MINUTES) -> dict[str, str]:
    """As TensorFlow Serving exports it: what took so long → answers per minute, for so many minutes."""
    name, labels = ":tensorflow:serving:request_latency", f'model_name="My_Model",API="{api}",entrypoint="REST"'

    def counter(per_minute: float) -> str:
        return f"0+{per_minute}x{minutes} {per_minute * minutes}x{MINUTES - minutes}"

    series = {}
    for limit in [*LIMITS, float("inf")]:
        written = "+Inf" if limit == float("inf") else f"{limit:g}"
        below = sum(number for took, number in microseconds.items() if took <= limit)
        series[f'{name}_bucket{{{labels},le="{written}"}}'] = counter(below)
    series[f"{name}_count{{{labels}}}"] = counter(sum(microseconds.values()))
    series[f"{name}_sum{{{labels}}}"] = counter(sum(took * number for took, number in microseconds.items()))
    return series


PROBES = {**latency({500: 24}, api=""), **count("OK", 24)}
FAST = latency({2_000: 1000})
HEALTHY = {UP: "1x90", **PROBES, **FAST, **count("OK", 1024)}

SCENARIOS = {
    "healthy": (HEALTHY, set()),
    "only just started": ({UP: "1x90", **PROBES}, set()),
    "all servers down": ({UP: "0x90"}, {"HeadraceNoServer"}),
    "no server known": ({}, {"HeadraceNoServer"}),
    "one of two servers down": ({**HEALTHY, 'up{job="headrace-my-model",instance="b"}': "0x90"}, set()),
    "one fault in 50": ({**HEALTHY, **count("INTERNAL", 20)}, {"HeadraceServerFaults"}),
    "one fault in 200": ({**HEALTHY, **count("INTERNAL", 5)}, set()),
    "probes do not dilute faults": (
        {UP: "1x90", **PROBES, **latency({2_000: 1}), **count("DEADLINE_EXCEEDED", 0.05)},
        {"HeadraceServerFaults"},
    ),
    "one request in 5 rejected": ({**HEALTHY, **count("INVALID_ARGUMENT", 250)}, {"HeadraceRequestsRejected"}),
    "one request in 20 rejected": ({**HEALTHY, **count("INVALID_ARGUMENT", 50)}, set()),
    "a full queue": ({**HEALTHY, **count("UNAVAILABLE", 2)}, {"HeadraceOverloaded"}),
    "one request in 50 slow": ({**HEALTHY, **latency({2_000: 980, 400_000: 20})}, {"HeadraceSlow"}),
    "one request in 200 slow": ({**HEALTHY, **latency({2_000: 995, 400_000: 5})}, set()),
    "slow probes": ({**HEALTHY, **latency({900_000: 2400}, api="")}, set()),
    "nobody asks any more": (
        {UP: "1x90", **PROBES, **latency({2_000: 100}, minutes=30)},
        {"HeadraceNoRequests"},
    ),
    "another model's troubles": (
        {**HEALTHY, ':tensorflow:serving:request_count{model_name="other",status="INTERNAL"}': "0+900x90"},
        set(),
    ),
}


# Which status is whose fault, by hand. A cancelled request is nobody's; the rest TensorFlow Serving never answers with.
STATUSES = {
    "UNKNOWN DEADLINE_EXCEEDED RESOURCE_EXHAUSTED ABORTED INTERNAL DATA_LOSS": {"HeadraceServerFaults"},
    "UNAVAILABLE": {"HeadraceServerFaults", "HeadraceOverloaded"},
    "INVALID_ARGUMENT FAILED_PRECONDITION OUT_OF_RANGE NOT_FOUND UNIMPLEMENTED": {"HeadraceRequestsRejected"},
    "CANCELLED": set(),
}
SCENARIOS |= {
    f"half are {status}": ({**HEALTHY, **count(status, 1000)}, firing)
    for statuses, firing in STATUSES.items()
    for status in statuses.split()
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_exactly_these_alerts_fire(settings, promtool, scenario: str) -> None:
    series, firing = SCENARIOS[scenario]
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)]
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"{MINUTES}m", "exp_samples": expected}],
    }
    unit = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": [test]}
    promtool("test", "rules", "unit.yaml", alerts=alert_rules(settings()), unit=unit)


def test_every_alert_has_a_scenario(settings) -> None:
    alerts = {rule["alert"] for group in alert_rules(settings())["groups"] for rule in group["rules"]}
    assert alerts == set().union(*(firing for _, firing in SCENARIOS.values()))


def test_prometheus_accepts_the_rules(settings, promtool) -> None:
    promtool("check", "rules", "alerts.yaml", alerts=alert_rules(settings()))


def test_the_latency_limit_is_the_users(settings, promtool) -> None:
    slow = next(
        rule
        for rule in alert_rules(settings(p99_milliseconds=250))["groups"][0]["rules"]
        if rule["alert"] == "HeadraceSlow"
    )
    assert slow["expr"].endswith("> 250000")  # microseconds
    assert "250 ms" in slow["annotations"]["summary"]
