"""The server put together: options → models, protocols, polling, and an end that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import numpy as np
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.server import settings
from serving.server.batching import Runner
from serving.server.core import Core
from serving.server.grpc_service import GrpcService
from serving.server.http import HttpServer, listen
from serving.server.loading import LoadOptions, load_servable
from serving.server.logs import RequestLogs
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions, channel_arguments, worker_threads
from serving.server.repository import Repository
from serving.server.rest import RestApi
from serving.server.servable import Servable
from serving.server.status import Code, StatusError

_SWITCH_SECONDS = 0.005
"""How long a thread that loads a version may keep Python's lock from the event loop."""

_HEALTH_NAMES = ("", "ModelService", "PredictionService")

log = logging.getLogger(__name__)


def run(options: ServerOptions) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        StatusError: The server could not be started.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    np.seterr(over="ignore")  # 1e39 is Infinity as a float, as in C++
    gc.set_threshold(50_000, 50, 100)
    uvloop.run(_Server(options).run())


class _Server:
    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._config = settings.model_server_config(options)
        self._batching = settings.batching_options(options)
        self._metrics_path = settings.metrics_path(options)
        self._credentials = settings.credentials(options)
        self._metrics = Metrics()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Loads, listens, waits for the end, drains."""
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        core = self._core = self._make_core()
        try:
            self._start(self._poll(core.repository))
            loaded = self._start(self._reload_own(self._config, waits=True))
            waiting = self._start(stopped.wait())
            await asyncio.wait((loaded, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not loaded.done():
                return
            loaded.result()
            if self._options.model_config_file and self._options.model_config_file_poll_wait_seconds > 0:
                self._start(self._poll_config())
            gc.freeze()
            await self._listen(core, stopped)
        finally:
            for task in self._tasks:
                task.cancel()
            await core.repository.close()
            core.logs.close()
            core.runner.close()

    async def reload(self, config: model_server_config_pb2.ModelServerConfig) -> None:
        """Serves and logs as a client's configuration says, once its new models are available.

        Raises:
            StatusError: See `Repository.reload` and `RequestLogs.reload`.
        """
        accept = functools.partial(self._core.logs.reload, is_clients=True)
        await self._core.repository.reload(config, accept)

    async def _reload_own(self, config: model_server_config_pb2.ModelServerConfig, waits: bool) -> None:
        await self._core.repository.reload(config, self._core.logs.reload, waits)

    def _make_core(self) -> Core:
        options = self._options
        load_options = LoadOptions(
            tags=tuple(options.saved_model_tags.split(",")),
            session_config=settings.session_config(options),
            prefers_tflite=options.prefer_tflite_model,
            warms_up=options.enable_model_warmup,
            warmup_iterations=max(options.num_request_iterations_for_warmup, 1),
        )
        threads = (self._batching.num_batch_threads if self._batching else 0) or worker_threads()
        runner = Runner(self._batching, threads)
        repository = Repository(
            functools.partial(self._load, load_options),
            on_unload=lambda servable: runner.forget(list(servable.signatures.values())),
            retries=options.max_num_load_retries,
            retry_seconds=options.load_retry_interval_micros / 1e6,
            allow_unavailable_labels=options.allow_version_labels_for_unavailable_models,
            load_threads=max(options.num_load_threads, 1),
        )
        logs = RequestLogs(settings.request_log(options), self._metrics)
        return Core(repository, runner, self._metrics, logs, options.max_concurrent_requests)

    def _load(self, options: LoadOptions, name: str, version: int, path: str) -> Servable:
        servable = load_servable(options, name, version, path)
        servable.observe_runs(self._metrics.runtime_latency.add)
        return servable

    async def _listen(self, core: Core, stopped: asyncio.Event) -> None:
        options = self._options
        servicer = health.aio.HealthServicer()
        rpc = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), *channel_arguments(options)],
            maximum_concurrent_rpcs=options.max_concurrent_requests,
        )
        GrpcService(core, self.reload, options.enable_serialization_as_tensor_content).add_to(rpc)
        if options.enable_grpc_healthcheck_service:
            health_pb2_grpc.add_HealthServicer_to_server(servicer, rpc)
            for name in _HEALTH_NAMES:
                await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._add_ports(rpc)
        await rpc.start()
        rest = None
        if options.rest_api_port:
            timeout = options.rest_api_timeout_in_ms / 1000
            cors = options.rest_api_enable_cors_support
            app = RestApi(core, options.max_request_bytes, cors, self._metrics_path, timeout)
            rest = HttpServer(app, timeout, options.drain_seconds)
            try:
                opened = _or_status(lambda: listen(options.host, options.rest_api_port), options.rest_api_port)
            except StatusError:
                await rpc.stop(0)  # a server that still runs would keep the process from ending
                raise
            serving = self._start(rest.serve([opened]))
            log.info("Exporting HTTP/REST API at:%s:%d ...", options.host, options.rest_api_port)
        await stopped.wait()
        log.info("Draining: up to %g s for the requests that are being answered", options.drain_seconds)
        await servicer.enter_graceful_shutdown()
        ending = [self._start(rpc.stop(options.drain_seconds))]
        if rest is not None:
            rest.should_exit = True
            ending.append(serving)
        await asyncio.wait(ending, timeout=options.drain_seconds + 1)

    def _add_ports(self, rpc: grpc.aio.Server) -> None:
        options = self._options
        host = f"[{options.host}]" if ":" in options.host else options.host
        addresses = [f"{host}:{options.port}"] if options.port else []
        addresses += [f"unix:{options.grpc_socket_path}"] if options.grpc_socket_path else []
        for address in addresses:
            try:
                if self._credentials is None:
                    rpc.add_insecure_port(address)
                else:
                    rpc.add_secure_port(address, self._credentials)
            except RuntimeError as error:
                raise StatusError(Code.UNAVAILABLE, f"Could not listen on {address}: {error}") from None
            log.info("Running gRPC ModelServer at %s ...", address)

    async def _poll(self, repository: Repository) -> None:
        seconds = self._options.file_system_poll_wait_seconds
        while seconds > 0:
            await asyncio.sleep(seconds)
            with _logged("The models' folders could not be looked at"):
                repository.poll()

    async def _poll_config(self) -> None:
        while True:
            await asyncio.sleep(self._options.model_config_file_poll_wait_seconds)
            with _logged("The model config was not reloaded; the one before stays"):
                await self._reload_own(settings.model_server_config(self._options), waits=False)

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task


@contextlib.contextmanager
def _logged(told: str) -> Any:
    """Polling goes on after an error."""
    try:
        yield
    except (StatusError, OSError) as error:
        log.error("%s: %s", told, error)
    except Exception:
        log.exception(told)


def _or_status(act: Callable[[], Any], port: int) -> Any:
    try:
        return act()
    except OSError as error:
        raise StatusError(Code.UNAVAILABLE, f"Could not listen on port {port}: {error}") from None
