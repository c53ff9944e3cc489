"""Counters, histograms, and the page that Prometheus reads."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.metrics import LATENCY_LIMITS, Counter, Histogram, Metrics

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)*)\} (\S+)')


def test_a_counter_counts_by_labels():
    counter = Counter("requests", ("model", "status"))
    counter.add("m", "OK")
    counter.add("m", "OK", by=2)
    counter.add("m", "INTERNAL")
    assert counter.value("m", "OK") == 3
    assert counter.value("x", "OK") == 0
    assert list(counter.lines()) == [
        ':tensorflow:serving:requests{model="m",status="OK"} 3',
        ':tensorflow:serving:requests{model="m",status="INTERNAL"} 1',
    ]


def test_names_that_requests_invent_do_not_fill_the_memory():
    counter = Counter("requests", ("model", "status"))
    for number in range(5_000):
        counter.add(f"m{number}", "NOT_FOUND")
    lines = list(counter.lines())
    assert len(lines) <= 1_001
    assert counter.value("other", "other") == 4_000
    counter.add("m7", "NOT_FOUND")
    assert counter.value("m7", "NOT_FOUND") == 2


def test_a_histogram_counts_what_is_at_most_each_limit():
    histogram = Histogram("latency", ("model",), (1.0, 10.0))
    for value in (0.5, 1.0, 5.0, 50.0):
        histogram.add(value, "m")
    assert list(histogram.lines()) == [
        ':tensorflow:serving:latency_bucket{model="m",le="1"} 2',
        ':tensorflow:serving:latency_bucket{model="m",le="10"} 3',
        ':tensorflow:serving:latency_bucket{model="m",le="+Inf"} 4',
        ':tensorflow:serving:latency_sum{model="m"} 56.5',
        ':tensorflow:serving:latency_count{model="m"} 4',
    ]


def test_the_latency_buckets_are_tensorflow_servings():
    assert LATENCY_LIMITS[:3] == (10.0, 18.0, pytest.approx(32.4))
    assert len(LATENCY_LIMITS) == 33


@given(st.lists(st.floats(0, 1e12), min_size=1))
def test_buckets_only_grow(values):
    histogram = Histogram("latency", ("model",), LATENCY_LIMITS)
    for value in values:
        histogram.add(value, "m")
    counts = [int(line.rsplit(" ", 1)[1]) for line in histogram.lines() if "_bucket" in line]
    assert counts == sorted(counts)
    assert counts[-1] == len(values)


@given(st.text())
def test_any_name_makes_a_line_that_prometheus_reads(name):
    counter = Counter("requests", ("model",))
    counter.add(name)
    (line,) = counter.lines()
    match = LINE.fullmatch(line)
    assert match
    quoted = match[2].removeprefix('model="').removesuffix('"')
    assert re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), quoted) == name


def test_the_page():
    metrics = Metrics()
    metrics.request_count.add("m", "OK")
    metrics.request_latency.add(123.0, "m", "predict", "REST")
    page = metrics.page()
    assert page.endswith("\n")
    types = re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE)
    assert (":tensorflow:serving:request_count", "counter") in types
    assert (":tensorflow:serving:request_latency", "histogram") in types
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1\n' in page
    assert '{model_name="m",API="predict",entrypoint="REST",le="+Inf"} 1\n' in page
    for line in page.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match, line
            assert math.isfinite(float(match[3]))


def test_the_counters_by_their_own_names():
    metrics = Metrics()
    assert metrics.values()["/tensorflow/serving/request_count"] == 0
    metrics.request_count.add("m", "OK")
    assert metrics.values()["/tensorflow/serving/request_count"] == 1
