"""What the server counts, under TensorFlow Serving's names and in its Prometheus format.

`prometheus_client` is not used because it appends `_total` to the names of counters, which TensorFlow Serving's
(`util/prometheus_exporter.cc`, `servables/tensorflow/util.cc`) do not have: dashboards must work with both.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable

_PREFIX = ":tensorflow:serving:"
LATENCY_LIMITS = tuple(10 * 1.8**power for power in range(33))
"""Upper limits of the latency buckets, in microseconds: 10 µs to about 20 minutes."""
_MOST_CELLS = 1000
"""Requests may name any model: what they name must not fill the memory."""
_OTHER = "other"
_EXAMPLE_LIMITS = tuple(float(2**power) for power in range(15))


class Counter:
    """A number for each combination of labels, which only grows."""

    kind = "counter"

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        self.name = _PREFIX + name
        self._labels = labels
        self._values: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str, by: int = 1) -> None:
        """Counts."""
        if labels not in self._values and len(self._values) >= _MOST_CELLS:
            labels = (_OTHER,) * len(labels)
        self._values[labels] = self._values.get(labels, 0) + by

    def value(self, *labels: str) -> int:
        """The count so far."""
        return self._values.get(labels, 0)

    def lines(self) -> Iterable[str]:
        """The metric in Prometheus' text format."""
        for labels, value in list(self._values.items()):
            yield f"{self.name}{{{_pairs(self._labels, labels)}}} {value}"


class Histogram:
    """How often a value fell below each of the limits, for each combination of labels."""

    kind = "histogram"

    def __init__(self, name: str, labels: tuple[str, ...], limits: tuple[float, ...]) -> None:
        self.name = _PREFIX + name
        self._labels = labels
        self._limits = limits
        self._lock = threading.Lock()
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def add(self, value: float, *labels: str) -> None:
        """Observes a value."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = [0] * (len(self._limits) + 1), [0.0]
        with self._lock:  # runs end in several threads
            cell[0][bisect_left(self._limits, value)] += 1
            cell[1][0] += value

    def lines(self) -> Iterable[str]:
        """The metric in Prometheus' text format."""
        for labels, (counts, total) in list(self._cells.items()):
            pairs = _pairs(self._labels, labels)
            below = 0
            for limit, count in zip((*map(_number, self._limits), "+Inf"), counts, strict=True):
                below += count
                yield f'{self.name}_bucket{{{pairs},le="{limit}"}} {below}'
            yield f"{self.name}_sum{{{pairs}}} {total[0]!r}"
            yield f"{self.name}_count{{{pairs}}} {below}"


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self.request_count = Counter("request_count", ("model_name", "status"))
        self.request_latency = Histogram("request_latency", ("model_name", "API", "entrypoint"), LATENCY_LIMITS)
        self.runtime_latency = Histogram("runtime_latency", ("model_name", "API", "runtime"), LATENCY_LIMITS)
        self.example_counts = Histogram("request_example_counts", ("model",), _EXAMPLE_LIMITS)
        self.example_count_total = Counter("request_example_count_total", ("model",))
        self.request_log_count = Counter("request_log_count", ("model_name", "status"))
        self._all = tuple(vars(self).values())

    def page(self) -> str:
        """The page that Prometheus reads."""
        lines = []
        for metric in self._all:
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines.extend(metric.lines())
        return "\n".join(lines) + "\n"

    def values(self) -> dict[str, int]:
        """The counters by TensorFlow's own names, such as `/tensorflow/serving/request_count`, of their first cell."""
        counters = [metric for metric in self._all if isinstance(metric, Counter)]
        return {each.name.replace(":", "/"): next(iter(each._values.values()), 0) for each in counters}


def _pairs(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return f"{value:g}"
