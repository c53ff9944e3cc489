"""Which model's requests are logged where: by flags for all models, or by a model's own `logging_config`.

TensorFlow Serving's stock binary refuses to start with a `logging_config`; here `log_collector_config` of the type
`tfrecord` (or none) writes TFRecords into the folder `filename_prefix`.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from serving.config import RequestLogConfig
from serving.request_log import Fate, RequestLog
from serving.server.metrics import Metrics
from serving.server.status import Code, StatusError, invalid_argument

_TFRECORD = "tfrecord"


class RequestLogs:
    """The request logs of one server, by model.

    Args:
        default: For models without a `logging_config`; None to log only those that have one.
        metrics: Counts what is logged and what is not.
    """

    def __init__(self, default: RequestLogConfig | None, metrics: Metrics) -> None:
        self._default = default
        self._metrics = metrics
        self._configs: dict[str, RequestLogConfig | None] = {}
        self._logs: dict[str, RequestLog] = {}
        self._ending: list[threading.Thread] = []

    def of(self, name: str) -> RequestLog | None:
        """A model's log; None if its requests are not logged."""
        return self._logs.get(name)

    def reload(self, config: model_server_config_pb2.ModelServerConfig, is_clients: bool = False) -> None:
        """Logs as a new configuration says.

        Args:
            config: Replaces the one before.
            is_clients: Whether it came over the network: then it may only name folders within the server's own.

        Raises:
            StatusError: A `logging_config` is wrong; then everything stays as it was.
        """
        wanted = {each.name: self._config_of(each) for each in config.model_config_list.config}
        for name, each in wanted.items():
            if is_clients and each is not None and each != self._configs.get(name) and not self._is_within(each.path):
                raise StatusError(
                    Code.PERMISSION_DENIED,
                    f"The logging_config of model {name} names the folder {each.path}; a client may only name one "
                    "within --request_log_path",
                )
        for name in [name for name, known in self._configs.items() if wanted.get(name) != known]:
            self._close(name)
        for name, each in wanted.items():
            if each is not None and name not in self._logs:
                self._logs[name] = RequestLog(each, name, functools.partial(self._count, name))
        self._configs = wanted

    def close(self) -> None:
        """Writes what is queued."""
        for name in list(self._logs):
            self._close(name)
        for each in self._ending:
            each.join()

    def _close(self, name: str) -> None:
        """Ends a log in a thread of its own: a slow disk must not keep a reload from answering requests."""
        log = self._logs.pop(name, None)
        self._ending = [each for each in self._ending if each.is_alive()]
        if log is not None:
            self._ending.append(threading.Thread(target=log.close, name="request-log-end", daemon=True))
            self._ending[-1].start()

    def _is_within(self, path: str) -> bool:
        return self._default is not None and Path(path).resolve().is_relative_to(Path(self._default.path).resolve())

    def _count(self, name: str, fate: Fate) -> None:
        self._metrics.request_log_count.add(name, fate.value)

    def _config_of(self, config: model_server_config_pb2.ModelConfig) -> RequestLogConfig | None:
        if not config.HasField("logging_config"):
            return self._default
        collector = config.logging_config.log_collector_config
        if collector.type not in ("", _TFRECORD):
            raise StatusError(Code.NOT_FOUND, f"Cannot find LogCollector::Factory for type: {collector.type}")
        path = collector.filename_prefix or (self._default.path if self._default else "")
        rate = config.logging_config.sampling_config.sampling_rate
        if not path or not 0 <= rate <= 1:
            raise invalid_argument(
                f"The logging_config of model {config.name} needs a folder in log_collector_config.filename_prefix, "
                f"and a sampling_rate from 0 to 1; it has {path!r} and {rate}"
            )
        base = self._default or RequestLogConfig(path=path)
        return base.model_copy(update={"path": path, "sampling_rate": rate})
