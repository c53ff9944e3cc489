"""The servers that are measured: how each is installed, started and asked, and whether it answers rightly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from benchmarks.model_server.echo import SERVICE
from benchmarks.model_server.load import Measurement, grpc_load, rest_load
from benchmarks.model_server.payloads import MODEL_NAME, Payload
from benchmarks.model_server.processes import ServerProcess, free_port, wait_until

OURS, LOGGING, BARE, ECHO = "headrace", "headrace-logging", "bare", "echo"
"""`LOGGING` is ours with every request logged."""

REST, GRPC = "REST", "gRPC"

_CACHE = Path(".cache", "bench")
_PEERS = Path(__file__).parent / "peers"
_PYTHON = "3.10"
_TENSORFLOW = "tensorflow-cpu==2.16.2"
_LOOP = ("uvloop==0.22.1", "httptools==0.8.0")
"""A faster event loop and HTTP parser, which uvicorn takes when they are there."""
_REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "mlflow": ("mlflow==3.17.2", _TENSORFLOW, *_LOOP),
    "kserve": ("kserve==0.15.2", _TENSORFLOW),
    "bentoml": ("bentoml==1.4.39", _TENSORFLOW, *_LOOP),
}
PEERS = tuple(_REQUIREMENTS)
_SECONDS_TO_START = 120.0
_TOLERANCE = 1e-6
_REQUEST_SECONDS = 10.0
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Unavailable(Exception):
    """A server could not be installed or started, or answers wrongly; the others are measured without it."""


@dataclass
class System:
    """A server under test."""

    name: str
    process: ServerProcess
    rest_url: str = ""
    grpc_address: str = ""
    answer_bytes: dict[int, int] = field(default_factory=dict)
    """The size of a gRPC answer, by rows."""

    @property
    def protocols(self) -> list[str]:
        """What it can be asked in."""
        return [name for name, address in ((REST, self.rest_url), (GRPC, self.grpc_address)) if address]

    def check(self, payload: Payload) -> None:
        """Asks once over each protocol.

        Raises:
            Unavailable: An answer is not the expected one.
            OSError: It does not answer.
            grpc.RpcError: It does not answer.
        """
        if self.rest_url:
            self._compare(REST, payload, _ask_rest(self.rest_url, payload))
        if self.name == ECHO:
            _ask_grpc(self.grpc_address, self._method(payload), payload)
        elif self.grpc_address:
            answer = _ask_grpc(self.grpc_address, self._method(payload), payload)
            self.answer_bytes[payload.rows] = len(answer)
            outputs = predict_pb2.PredictResponse.FromString(answer).outputs
            self._compare(GRPC, payload, tf.make_ndarray(next(iter(outputs.values()))).ravel().tolist())

    def load(self, protocol: str, payload: Payload, concurrency: int, seconds: float) -> Measurement:
        """Measures it under load.

        Raises:
            Unavailable: It does not answer any more.
        """
        try:
            return self._load(protocol, payload, concurrency, seconds)
        except OSError as error:
            raise Unavailable(f"{error}\n{self.process.end_of_log()}") from None

    def _load(self, protocol: str, payload: Payload, concurrency: int, seconds: float) -> Measurement:
        before = self.process.cpu_seconds()
        if protocol == REST:
            seen = rest_load(self.rest_url, payload.json_file, concurrency, seconds)
        else:
            url, size = f"http://{self.grpc_address}{self._method(payload)}", self.answer_bytes[payload.rows]
            seen = grpc_load(url, payload.grpc_file, concurrency, seconds, size)
        used = self.process.cpu_seconds() - before
        return Measurement(**{**vars(seen), "cpu": used / max(seen.requests, 1) * 1e6})

    def _method(self, payload: Payload) -> str:
        return f"/{SERVICE}/{self.answer_bytes[payload.rows]}" if self.name == ECHO else _PREDICT

    def _compare(self, protocol: str, payload: Payload, given: list[float]) -> None:
        same = len(given) == payload.rows and np.allclose(given, payload.expected, rtol=0, atol=_TOLERANCE)
        if not same:
            raise Unavailable(f"{self.name} answers {payload.rows} rows over {protocol} with {given}")


def start(name: str, model: Path, base_path: Path, folder: Path, answer_bytes: dict[int, int]) -> System:
    """Installs and starts a server.

    Args:
        name: One of `OURS`, `LOGGING`, `BARE`, `ECHO` and `PEERS`.
        model: The SavedModel.
        base_path: A folder with the SavedModel as a version, for the server that looks for new ones.
        folder: For logs and files.
        answer_bytes: The sizes of the answers of the server that only echoes, by rows.

    Raises:
        Unavailable: It could not be installed.
    """
    port, grpc_port = free_port(), free_port()
    log = folder / f"{name}.log"
    address = f"127.0.0.1:{grpc_port}"
    run: Callable[..., ServerProcess] = partial(ServerProcess, log=log)
    if name in (OURS, LOGGING):
        request_log = str(folder / "requests") if name == LOGGING else ""
        flags = [f"--port={grpc_port}", f"--rest_api_port={port}", f"--model_base_path={base_path}"]
        flags += [f"--request_log_path={request_log}"]  # never into the pipeline's own
        process = run([sys.executable, "-m", "pipeline", "serve", MODEL_NAME, *flags], environment={})
        return System(name, process, f"http://127.0.0.1:{port}/v1/models/{MODEL_NAME}:predict", address)
    if name == BARE:
        command = [sys.executable, "-m", "benchmarks.model_server.bare", str(model), str(port)]
        return System(name, run(command, environment={}), f"http://127.0.0.1:{port}/")
    if name == ECHO:
        command = [sys.executable, "-m", "benchmarks.model_server.echo", str(grpc_port)]
        return System(name, run(command, environment={}), grpc_address=address, answer_bytes=answer_bytes)
    return _start_peer(name, model, port, folder, run)


def _start_peer(name: str, model: Path, port: int, folder: Path, run: Callable[..., ServerProcess]) -> System:
    """Each as its own documentation starts it, with one worker and without a log line for each request."""
    programs = _install(name)
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    python = str(programs / "python")
    if name == "mlflow":
        written = folder / "mlflow-model"
        _must([python, str(_PEERS / "mlflow_model.py"), str(model), str(written)], environment)
        command = [str(programs / "mlflow"), "models", "serve", "--model-uri", str(written), "--host", "127.0.0.1"]
        command += ["--port", str(port), "--env-manager", "local", "--workers", "1"]
        environment["UVICORN_ACCESS_LOG"] = "false"
        return System(name, run(command, environment=environment), f"http://127.0.0.1:{port}/invocations")
    if name == "kserve":
        command = [python, str(_PEERS / "kserve_server.py"), str(model), f"--http_port={port}"]
        command += ["--workers=1", "--enable_grpc=false", "--enable_latency_logging=false"]
        command += ["--configure_logging=false"]
        process = run(command, environment=environment)
        return System(name, process, f"http://127.0.0.1:{port}/v1/models/{MODEL_NAME}:predict")
    command = [str(programs / "bentoml"), "serve", "bentoml_service:Flights", f"--working-dir={_PEERS}"]
    command += ["--host=127.0.0.1", f"--port={port}"]
    environment |= {"SAVED_MODEL": str(model), "BENTOML_DO_NOT_TRACK": "true"}
    return System(name, run(command, environment=environment), f"http://127.0.0.1:{port}/predict")


def wait(system: System, payloads: list[Payload]) -> None:
    """Until a server answers, and rightly.

    Raises:
        Unavailable: It does not.
    """
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            for payload in payloads:
                system.check(payload)
            return
        except (OSError, grpc.RpcError) as error:
            told = f"{system.name} does not answer: {error}\n{system.process.end_of_log()}"
            if system.process.has_ended or not wait_until(deadline):
                raise Unavailable(told) from None


def _install(name: str) -> Path:
    """A virtual environment of the peer's own; its folder of programs."""
    folder = (_CACHE / name).resolve()
    installed, wanted = folder / "installed", "\n".join(_REQUIREMENTS[name])
    if not installed.is_file() or installed.read_text() != wanted:
        uv = shutil.which("uv") or str(Path(".cache", "uv", "bin", "uv").resolve())
        environment = {"UV_COMPILE_BYTECODE": "1"}
        _must([uv, "venv", "--quiet", "--clear", "--python", _PYTHON, str(folder)], environment)
        install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
        _must([*install, *_REQUIREMENTS[name]], environment)
        installed.write_text(wanted)
    return folder / "bin"


def _must(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error}") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def _ask_rest(url: str, payload: Payload) -> list[float]:
    request = urllib.request.Request(url, payload.json, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as response:
            return np.ravel(json.load(response)["predictions"]).tolist()
    except urllib.error.HTTPError as error:
        raise OSError(f"{error}: {error.read(1000)!r}") from None


def _ask_grpc(address: str, method: str, payload: Payload) -> bytes:
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(method)(payload.proto, timeout=_REQUEST_SECONDS)
    return answer
