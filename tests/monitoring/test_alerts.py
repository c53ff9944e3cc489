from __future__ import annotations

import json
import math
import shlex
import time
from typing import Any

import pytest
from monitor_reports import HOSTILE, MONDAY, check, passed, quality, report
from prometheus_client.parser import text_string_to_metric_families
from scripted_http import DRIP, HANG, ScriptedServer, response, serving

from monitoring import alerts
from monitoring.config import WebhookConfig
from monitoring.report import Action, Decision, Problem

PATH = "/var/reports/flights/report.html"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited between attempts, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(alerts.time, "sleep", waited.append)
    return waited


def webhook(server: ScriptedServer, **changes: Any) -> WebhookConfig:
    return WebhookConfig(url=server.url, **{"timeout_seconds": 30.0} | changes)


def body_of(request: bytes) -> Any:
    head, body = request.split(b"\r\n\r\n", 1)
    assert b"application/json" in head
    return json.loads(body)


def hostile_report() -> Any:
    return report(
        decision=Decision(action=Action.BLOCK, headline=HOSTILE, reasons=(HOSTILE, "second")),
        checks=(
            check(HOSTILE, diagnosis=HOSTILE, against=HOSTILE),
            *(passed(f"feature {HOSTILE} {i}") for i in range(3)),
        ),
        quality=(quality(0, 0.7, slice=f"carrier={HOSTILE}"),),
        problems=(Problem(what=HOSTILE, count=2, where="here"),),
    )


def test_posts_json() -> None:
    with serving(response(200)) as server:
        delivery = alerts.post(webhook(server), report(), PATH)
    body = body_of(server.received[0])
    assert (delivery.is_delivered, delivery.attempts) == (True, 1)
    assert server.received[0].startswith(b"POST /services/T0/SECRET?token=SECRET HTTP/1.1")
    assert (body["decision"], body["version"], body["report"]) == ("block", 1_370_044_800, PATH)
    assert body["headline"] == report().decision.headline
    assert body["reasons"] == list(report().decision.reasons)
    assert [alarm["subject"] for alarm in body["alarms"]] == ["distance", "carrier"]
    assert "distribution" not in body["alarms"][0]


def test_what_json_cannot_say_is_null() -> None:
    with serving(response(200)) as server:
        alerts.post(webhook(server), report(checks=(check(value=math.inf),)), PATH)
    assert body_of(server.received[0])["alarms"][0]["value"] is None


def test_slack_gets_what_it_can_show() -> None:
    with serving(response(200)) as server:
        alerts.post(webhook(server, format="slack"), hostile_report(), PATH)
    body = body_of(server.received[0])
    texts = [body["text"], *(block["text"]["text"] for block in body["blocks"])]
    assert "block: &lt;script&gt;" in body["text"]
    assert not any("<" in text or ">" in text for text in texts)
    assert all(block["text"]["verbatim"] for block in body["blocks"])
    assert any(PATH in text for text in texts)


def test_slack_has_limits() -> None:
    long = report(
        decision=Decision(action=Action.RETRAIN, headline="<" * 4000, reasons=("&" * 2000,) * 9),
        checks=tuple(check(f"feature_{i}", diagnosis=">" * i * 40) for i in range(100)),
    )
    with serving(response(200)) as server:
        assert alerts.post(webhook(server, format="slack"), long, PATH).is_delivered
    body = body_of(server.received[0])
    assert 40 < len(body["blocks"]) <= 50
    texts = [body["text"], *(block["text"]["text"] for block in body["blocks"])]
    assert all(0 < len(text) <= 3000 for text in texts)
    for text in texts:  # no escape is cut in two
        assert "&" not in text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert any("60 more alarms" in text for text in texts)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again_with_growing_waits(status: int, waits: list[float]) -> None:
    with serving(response(status), response(status), response(204)) as server:
        delivery = alerts.post(webhook(server), report(), PATH)
    assert (delivery.is_delivered, delivery.attempts, len(server.received)) == (True, 3, 3)
    assert len(waits) == 2
    assert 0 < waits[0] < waits[1]


def test_waits_as_long_as_it_is_asked_to_within_reason(waits: list[float]) -> None:
    answers = [response(429, b"", f"Retry-After: {after}") for after in ("7", "86400", "soon", "-5")]
    with serving(*answers) as server:
        delivery = alerts.post(webhook(server, attempts=5), report(), PATH)
    assert waits == [7.0, 30.0, 2.0, 4.0]
    assert not delivery.is_delivered
    assert delivery.detail.endswith("in 5 attempts: HTTP 429")


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_refusal_is_final(status: int, waits: list[float]) -> None:
    with serving(response(status, b"invalid_token SECRET")) as server:
        delivery = alerts.post(webhook(server), report(), PATH)
    assert (delivery.is_delivered, len(server.received), waits) == (False, 1, [])
    assert str(status) in delivery.detail
    assert "SECRET" not in delivery.detail


def test_no_redirect_is_followed() -> None:
    with serving(response(200)) as elsewhere, serving(response(307, b"", f"Location: {elsewhere.url}")) as server:
        delivery = alerts.post(webhook(server), report(), PATH)
    assert not delivery.is_delivered
    assert "redirect" in delivery.detail
    assert elsewhere.received == []


def test_the_answers_body_does_not_matter() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1000
    with serving(endless) as server:
        assert alerts.post(webhook(server), report(), PATH).is_delivered


@pytest.mark.parametrize("answer", [HANG, DRIP])
def test_a_webhook_that_hangs_costs_its_timeouts(answer: bytes) -> None:
    with serving(answer) as server:
        started = time.monotonic()
        delivery = alerts.post(webhook(server, timeout_seconds=0.2, attempts=2), report(), PATH)
        assert time.monotonic() - started < 10
        for _ in range(2):
            assert server.connections_ended.acquire(timeout=30), "a connection is left open"
    host = server.url.split("/services")[0]
    assert delivery.detail == f"{host} did not take the message in 2 attempts: no answer within 0.2 s"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/SECRET", "http://user:SECRET@127.0.0.1:1/", "http://[::1/SECRET", "https://a:x/SECRET"]
)
def test_whoever_cannot_be_reached_gets_no_message_and_tells_no_secret(url: str) -> None:
    config = WebhookConfig(url=url, attempts=2, timeout_seconds=20.0)
    delivery = alerts.post(config, report(), PATH)
    assert (delivery.is_delivered, delivery.attempts) == (False, 2)
    assert "SECRET" not in str(delivery)


def test_a_server_without_tls_is_told_in_words() -> None:
    with serving(b"not TLS\r\n\r\n" * 9) as server:
        config = WebhookConfig(url=server.url.replace("http:", "https:"), attempts=1, timeout_seconds=1.0)
        delivery = alerts.post(config, report(), PATH)
    assert not delivery.is_delivered
    assert "SECRET" not in delivery.detail


def test_only_what_it_asks_for_is_posted() -> None:
    with serving(response(200)) as server:
        delivery = alerts.post(webhook(server, on=("retrain",)), report(), PATH)
    assert (delivery.is_delivered, delivery.attempts, server.received) == (False, 0, [])


def test_the_log_line_is_one_line_of_fields() -> None:
    fields = dict(field.split("=", 1) for field in shlex.split(alerts.log_line(report())))
    assert fields["pipeline"] == "flights"
    assert fields["action"] == "block"
    assert fields["headline"] == report().decision.headline
    assert (fields["alarms"], fields["undecided"], fields["checks"], fields["problems"]) == ("2", "1", "10", "1")
    assert (fields["start"], fields["first_alarm"]) == ("2013-06-03T00:00:00Z", "distance/values")


def test_the_log_line_holds_whatever_came_in() -> None:
    line = alerts.log_line(hostile_report())
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    quoted = line.split("headline=", 1)[1]
    assert json.JSONDecoder().raw_decode(quoted)[0] == HOSTILE


def test_the_log_line_of_a_silent_model() -> None:
    line = alerts.log_line(report(start=None, end=None, rows=0, checks=(), quality=(), problems=()))
    assert " start=" not in line
    assert " rows=0 " in line


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"Prometheus refuses {key} twice"
            found[key] = sample.value
    return found


def gauge(text: str, name: str, **labels: str) -> float:
    wanted = {"pipeline": "flights", "version": "1370044800"} | labels
    return samples(text)[name, frozenset(wanted.items())]


def test_gauges() -> None:
    text = alerts.gauges(report())
    assert [gauge(text, "headrace_monitor_decision", action=action.value) for action in Action] == [0, 0, 0, 1]
    distance = {"comparison": "skew", "feature": "distance", "aspect": "values"}
    assert gauge(text, "headrace_monitor_check_value", **distance) == 0.4123
    assert gauge(text, "headrace_monitor_check_threshold", **distance) == 0.021
    assert gauge(text, "headrace_monitor_check_alarm", **distance) == 1
    assert gauge(text, "headrace_monitor_check_alarm", **distance | {"feature": "dest"}) == 0
    assert gauge(text, "headrace_monitor_rows") == 12_345
    assert gauge(text, "headrace_monitor_last_seconds") == MONDAY + 6.3 * 86_400
    assert gauge(text, "headrace_monitor_problems", what="a log file is cut off") == 1


def test_gauges_of_quality_are_of_the_newest_window_and_tell_estimates() -> None:
    text = alerts.gauges(report())
    auc = {"metric": "auc", "slice": "all examples"}
    assert gauge(text, "headrace_live_quality", kind="measured", **auc) == pytest.approx(0.71)
    assert gauge(text, "headrace_live_quality", kind="estimate", **auc) == pytest.approx(0.675)
    assert gauge(text, "headrace_live_quality_low", kind="measured", **auc) == pytest.approx(0.69)
    assert gauge(text, "headrace_live_quality_high", kind="measured", **auc) == pytest.approx(0.73)
    assert gauge(text, "headrace_live_quality_reference", kind="measured", **auc) == 0.74
    without = alerts.gauges(report(quality=(quality(0, 0.7, reference=None),)))
    assert not [name for name, _ in samples(without) if name.endswith("_reference")]


def test_gauges_of_a_feature_compared_twice_are_of_the_worse() -> None:
    twice = (
        check(value=0.03),
        check(value=0.5, against="last good span 13"),
        passed("distance", value=9.0, threshold=10),
    )
    text = alerts.gauges(report(checks=twice))
    labels = {"comparison": "skew", "feature": "distance", "aspect": "values"}
    assert gauge(text, "headrace_monitor_check_value", **labels) == 0.5


def test_gauges_hold_whatever_came_in() -> None:
    text = alerts.gauges(hostile_report())
    labels = {"comparison": "skew", "feature": HOSTILE, "aspect": "values"}
    assert gauge(text, "headrace_monitor_check_alarm", **labels) == 1
    assert gauge(text, "headrace_monitor_problems", what=HOSTILE) == 2
