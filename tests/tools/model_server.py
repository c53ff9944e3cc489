"""Starts real model servers (`python -m serving.server`) and talks to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import predict_pb2

ROOT = Path(__file__).parents[2]
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """What a server answered over REST."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningServer:
    """A server that runs; its log may be read at any time."""

    rest: tuple[str, int]
    grpc: str
    """`host:port`, as `grpc.insecure_channel` takes it."""
    process: subprocess.Popen[bytes]
    log_path: Path
    url: str = ""

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def request(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One REST call; `path` is sent as it is."""
        connection = http.client.HTTPConnection(*self.rest, timeout=30)
        try:
            content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            return Reply(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """One REST call with a JSON document, or with bytes or a text as they are."""
        body = document if isinstance(document, (bytes, str)) else json.dumps(document)
        return self.request("POST", path, body, headers)

    def predict(self, model: str, document: Any) -> Reply:
        return self.post(f"/v1/models/{model}:predict", document)

    def raw(self, sent: bytes, seconds: float = 10) -> bytes:
        """Everything the server answers to these bytes until it closes the connection."""
        with socket.create_connection(self.rest, timeout=seconds) as connection:
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                connection.sendall(sent)
                while chunk := connection.recv(1 << 16):
                    received += chunk
            return received

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Ends the process, and gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


@contextlib.contextmanager
def start_server(
    flags: Sequence[str] = (),
    *,
    log_path: Path,
    ready_seconds: float = 60.0,
    may_trace: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """A model server with these flags on free ports, ready to answer.

    Args:
        flags: For `python -m serving.server`; the ports are added unless they are given.
        log_path: Where the process' stdout and stderr go.
        ready_seconds: The most to wait until it answers.
        may_trace: Whether a traceback in the log is no failure.
        environment: Variables for the process beside the test's own.

    Raises:
        AssertionError: It did not become ready, left a traceback in its log, or did not end when told to.
    """
    grpc_port, rest_port = free_ports(2)
    own = [f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    own = [each for each in own if not any(flag.startswith(each.split("=")[0] + "=") for flag in flags)]
    process = spawn([*own, *flags], log_path, environment)
    server = RunningServer(
        rest=("127.0.0.1", rest_port), grpc=f"127.0.0.1:{grpc_port}", process=process, log_path=log_path
    )
    server.url = f"http://127.0.0.1:{rest_port}"
    try:
        wait_until_ready(server, ready_seconds)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"The server did not end; its log:\n{server.log()[-5000:]}") from None
    if not may_trace:
        assert not _TRACEBACK.search(server.log()), f"The server's log has a traceback:\n{server.log()[-8000:]}"


def spawn(
    flags: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """The server's process, which may not be ready, or may never be."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **(environment or {})}
    with log_path.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "serving.server", *flags],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def wait_until_ready(server: RunningServer, seconds: float) -> None:
    """As TensorFlow Serving's own test waits: until Predict on an unknown model is NOT_FOUND, and REST answers."""
    deadline = time.monotonic() + seconds
    told = "it accepts no connections"
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise AssertionError(f"The server ended with {server.process.returncode}; its log:\n{server.log()}")
        if _accepts(server.rest):  # gRPC is up by then; asking it earlier makes its client back off
            told = _answer_for_unknown(server.grpc)
            if told.startswith("NOT_FOUND: Servable not found for request: Latest("):
                return
        time.sleep(0.05)
    raise AssertionError(f"The server is not ready after {seconds} s ({told}); its log:\n{server.log()[-8000:]}")


def _answer_for_unknown(address: str) -> str:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "no_such_model_for_readiness"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(_PREDICT, request_serializer=predict_pb2.PredictRequest.SerializeToString)
        try:
            call(request, timeout=2)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def _accepts(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def model_config(models: Mapping[str, Path | str], labels: Mapping[str, Mapping[str, int]] | None = None) -> str:
    """The text of a ModelServerConfig: model → base path, model → label → version."""
    blocks = []
    for name, path in models.items():
        marks = "".join(
            f'    version_labels {{ key: "{label}" value: {version} }}\n'
            for label, version in (labels or {}).get(name, {}).items()
        )
        blocks.append(
            f'  config {{\n    name: "{name}"\n    base_path: "{path}"\n    model_platform: "tensorflow"\n'
            f"    model_version_policy {{ all {{}} }}\n{marks}  }}\n"
        )
    return "model_config_list {\n" + "".join(blocks) + "}\n"
