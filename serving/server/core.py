"""What gRPC and REST have in common: finding a servable, running it, counting and logging the request."""

from __future__ import annotations

import time
from collections.abc import Callable

from tensorflow_serving.apis import model_pb2

from serving.request_log import log_metadata, prediction_log
from serving.server.batching import Runner
from serving.server.logs import RequestLogs
from serving.server.metrics import Metrics
from serving.server.repository import Repository
from serving.server.servable import Servable
from serving.server.status import Code, StatusError

_MICROSECONDS = 1e6


class Core:
    """One server's state.

    Args:
        repository: The models.
        runner: Runs requests.
        metrics: Counts them.
        logs: Logs them.
        most_requests: That may be in flight at a time.
    """

    def __init__(
        self, repository: Repository, runner: Runner, metrics: Metrics, logs: RequestLogs, most_requests: int
    ) -> None:
        self.repository = repository
        self.runner = runner
        self.metrics = metrics
        self.logs = logs
        self.in_flight = 0
        self._most_requests = most_requests

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The servable that a request's spec names.

        Raises:
            StatusError: There is none.
        """
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else None
        label = spec.version_label if choice == "version_label" else None
        return self.repository.find(spec.name, version, label)

    def begin(self, servable: Servable) -> None:
        """Keeps a servable from being unloaded until `end`, which must follow.

        Raises:
            StatusError: Too many requests are in flight; then `end` must not follow.
        """
        if self.in_flight >= self._most_requests:
            raise StatusError(Code.UNAVAILABLE, f"The server is answering {self.in_flight} requests already")
        self.in_flight += 1
        servable.in_flight += 1

    def end(self, servable: Servable) -> None:
        """The request that `begin` began is answered, or has failed."""
        self.in_flight -= 1
        servable.in_flight -= 1

    def count(self, model_name: str, code: Code, api: str, entrypoint: str, started: float) -> None:
        """Counts a request; `started` is of `time.perf_counter`. Only successes have a latency."""
        self.metrics.request_count.add(model_name, code.name)
        if code is Code.OK:
            took = (time.perf_counter() - started) * _MICROSECONDS
            self.metrics.request_latency.add(took, model_name, api, entrypoint)

    def count_examples(self, model_name: str, examples: int) -> None:
        """Counts the rows of a request."""
        self.metrics.example_counts.add(examples, model_name)
        self.metrics.example_count_total.add(model_name, by=examples)

    def log(
        self, servable: Servable, kind: str, signature_name: str, messages: Callable[[], tuple[bytes, bytes]]
    ) -> None:
        """Offers a request to the log of its model, if there is one and the request is sampled.

        Args:
            servable: That answered.
            kind: The field of PredictionLog.
            signature_name: That answered.
            messages: Makes the serialized request and response.
        """
        log = self.logs.of(servable.name)
        if log is None or not log.samples():
            return
        now = time.time()

        def make() -> bytes:
            metadata = log_metadata(servable.name, servable.version, signature_name, log.sampling_rate, now)
            return prediction_log(kind, metadata, *messages())

        log.offer(make)
