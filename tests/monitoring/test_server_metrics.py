from __future__ import annotations

import time

import pytest
from scripted_http import DRIP, HANG, response, serving

from monitoring.server_metrics import Snapshot, health, parse, read
from serving.server.metrics import Metrics

# As TensorFlow Serving 2.x writes it (util/prometheus_exporter.cc): other metrics, probes without an API, exponents.
REAL_PAGE = """\
# TYPE :tensorflow:cc:saved_model:load_attempt_count counter
:tensorflow:cc:saved_model:load_attempt_count{model_path="/models/flights/1",status="success"} 1
# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="flights",status="OK"} 12
:tensorflow:serving:request_count{model_name="flights",status="INVALID_ARGUMENT"} 3
:tensorflow:serving:request_count{model_name="flights",status="UNAVAILABLE"} 2
:tensorflow:serving:request_count{model_name="nobody",status="NOT_FOUND"} 4
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="flights",API="predict",entrypoint="REST",le="1000"} 5
:tensorflow:serving:request_latency_bucket{model_name="flights",API="predict",entrypoint="REST",le="2e+03"} 9
:tensorflow:serving:request_latency_bucket{model_name="flights",API="predict",entrypoint="REST",le="+Inf"} 9
:tensorflow:serving:request_latency_sum{model_name="flights",API="predict",entrypoint="REST"} 9000.5
:tensorflow:serving:request_latency_count{model_name="flights",API="predict",entrypoint="REST"} 9
:tensorflow:serving:request_latency_bucket{model_name="flights",API="predict",entrypoint="GRPC",le="1000"} 0
:tensorflow:serving:request_latency_bucket{model_name="flights",API="predict",entrypoint="GRPC",le="2e+03"} 0
:tensorflow:serving:request_latency_bucket{model_name="flights",API="predict",entrypoint="GRPC",le="+Inf"} 1
:tensorflow:serving:request_latency_bucket{model_name="flights",API="",entrypoint="REST",le="1000"} 2
:tensorflow:serving:request_latency_bucket{model_name="flights",API="",entrypoint="REST",le="+Inf"} 2
# TYPE :tensorflow:serving:request_log_count counter
:tensorflow:serving:request_log_count{model_name="flights",status="OK"} 7
:tensorflow:serving:request_log_count{model_name="flights",status="INTERNAL"} 5
"""


def page(answers: int = 0, *, took: float = 1000.0, status: str = "", errors: int = 0, dropped: int = 0) -> str:
    metrics = Metrics()
    for _ in range(answers):
        metrics.request_count.add("flights", "OK")
        metrics.request_latency.add(took, "flights", "predict", "REST")
    if errors:
        metrics.request_count.add("flights", status, by=errors)
    if dropped:
        metrics.request_log_count.add("flights", "DROPPED", by=dropped)
    return metrics.page()


def test_the_real_servers_page_is_read() -> None:
    found = health(parse(REAL_PAGE), None, model="flights")
    assert (found.requests, found.errors, found.refused, found.logs_lost) == (15, 2, 3, 5)  # 10 answers, no probes
    assert found.seconds is found.requests_per_second is None
    assert health(parse(REAL_PAGE), None).refused == 7


def test_quantiles_are_linear_within_a_bucket_and_end_at_the_last_limit() -> None:
    latency = health(parse(REAL_PAGE), None).latency_milliseconds
    assert latency == {"p50": pytest.approx(1.0), "p90": pytest.approx(2.0), "p99": pytest.approx(2.0)}
    more = REAL_PAGE.replace('le="1000"} 5', 'le="1000"} 1')
    assert health(parse(more), None).latency_milliseconds["p50"] == pytest.approx(1.5)  # the 5th of 1 + 8


def test_our_servers_page_is_read() -> None:
    found = health(parse(page(1000, took=900.0, status="INTERNAL", errors=10, dropped=4)), None)
    assert (found.requests, found.errors, found.refused, found.logs_lost) == (1010, 10, 0, 4)
    assert 0.5 < found.latency_milliseconds["p50"] <= found.latency_milliseconds["p99"] < 1.2


def test_a_server_that_nobody_asked_yet_is_healthy() -> None:
    found = health(parse(page()), None)
    assert (found.requests, found.errors, found.latency_milliseconds) == (0, 0, {})


def test_between_two_looks_only_what_is_new_counts() -> None:
    before = parse(page(1000, took=100.0, status="INTERNAL", errors=50, dropped=9))
    now = parse(
        page(1000, took=100.0, status="INTERNAL", errors=53, dropped=9)
        .replace('le="+Inf"} 1000', 'le="+Inf"} 1100')
        .replace('status="OK"} 1000', 'status="OK"} 1100')
    )
    found = health(now, before, 50.0)
    assert (found.requests, found.errors, found.logs_lost) == (103, 3, 0)
    assert found.requests_per_second == pytest.approx(103 / 50)


@pytest.mark.parametrize("status", ["UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_errors_of_the_server(status: str) -> None:
    found = health(parse(page(status=status, errors=3)), None)
    assert (found.errors, found.refused) == (3, 0)


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "other"])
def test_errors_of_the_client(status: str) -> None:
    found = health(parse(page(status=status, errors=3)), None)
    assert (found.errors, found.refused) == (0, 3)


def test_a_restarted_server_is_counted_from_zero() -> None:
    before = parse(page(100, status="INTERNAL", errors=50))
    found = health(parse(page(120, status="INTERNAL", errors=1)), before, 10.0)  # more answers, but fewer errors
    assert (found.requests, found.errors) == (121, 1)
    assert found.requests_per_second == pytest.approx(12.1)
    assert health(parse(page()), before, 10.0).requests == 0


@pytest.mark.parametrize("seconds", [0.0, -5.0, None])
def test_a_clock_that_goes_backwards_gives_no_rate(seconds: float | None) -> None:
    found = health(parse(page(7)), parse(page(5)), seconds)
    assert (found.requests, found.requests_per_second, found.seconds) == (2, None, None)


def test_a_snapshot_is_kept_as_json() -> None:
    snapshot = parse(REAL_PAGE)
    assert Snapshot.model_validate_json(snapshot.model_dump_json()) == snapshot


def test_reads_over_http() -> None:
    with serving(response(200, REAL_PAGE.encode())) as server:
        assert read(server.url, 30.0) == parse(REAL_PAGE)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response(200, b"<html>Welcome to nginx</html>"), "not TensorFlow Serving's metrics"),
        (response(200, b""), "not TensorFlow Serving's metrics"),
        (response(200, b"python_gc_objects_collected_total 3\n"), "not TensorFlow Serving's metrics"),
        (response(200, REAL_PAGE.replace("status=", "sta tus").encode()), "not TensorFlow Serving's metrics"),
        (response(200, REAL_PAGE.replace("} 12", "} NaN").encode()), "not TensorFlow Serving's metrics"),
        (response(200, REAL_PAGE.replace("} 12", "} +Inf").encode()), "not TensorFlow Serving's metrics"),
        (response(200, bytes(range(128, 256)) * 9), "not TensorFlow Serving's metrics"),
        (response(404, b"no"), "HTTP 404"),
        (response(302, b"", "Location: http://127.0.0.1:1/"), "HTTP 302"),
        (b"SSH-2.0-OpenSSH_9\r\n", "did not tell its metrics"),
        (b"", "did not tell its metrics"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n:tensorflow:", "did not tell its metrics"),
        (response(200, b"# padding\n" * (17 << 20 >> 3)), "larger than 16,777,216 bytes"),
    ],
)
def test_what_is_no_page_is_a_reason(answer: bytes, reason: str) -> None:
    with serving(answer) as server:
        found = read(server.url, 30.0)
    assert isinstance(found, str)
    assert reason in found
    assert "SECRET" not in found


@pytest.mark.parametrize("answer", [HANG, DRIP])
def test_a_page_that_hangs_ends_in_time(answer: bytes) -> None:
    with serving(answer) as server:
        started = time.monotonic()
        found = read(server.url, 0.3)
        assert time.monotonic() - started < 10
        assert server.connections_ended.acquire(timeout=30), "the connection is left open"
    assert found == f"{server.url.split('/services')[0]} did not tell its metrics: no answer within 0.3 s"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://no-such-host.invalid/x", "http://[::1", "http://a:b/"])
def test_whoever_cannot_be_reached_is_a_reason(url: str) -> None:
    assert isinstance(read(url, 20.0), str)
