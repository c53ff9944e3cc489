"""What the client does when the network, a gateway or the server fails."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import pytest
from client_tools import (
    ANSWER,
    answer_and_close,
    cut,
    fake_server,
    hang,
    http_answer,
    make_certificate,
    trickle,
)
from model_server import free_ports, spawn
from served_models import save_half_plus_two
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2

from serving.client import Certificates, Client, ClientError

BUSY = http_answer(b'{"error": "busy"}', 503)
GOOD = http_answer(ANSWER)
ROWS = [{"x": 1.0}]


def failure(url: str, **options: object) -> tuple[ClientError, float]:
    """How a prediction fails, and after how long."""
    with Client(url, "m", **options) as client:
        client.metadata()
        started = time.monotonic()
        with pytest.raises(ClientError) as caught:
            client.predict(ROWS)
        return caught.value, time.monotonic() - started


def test_one_connection_serves_many_requests() -> None:
    with fake_server(GOOD) as server, Client(server.url, "m") as client:
        for _ in range(20):
            assert client.predict(ROWS)["y"].tolist() == [2.5]
        assert (len(server.asked), server.connections) == (20, 1)


def test_unavailable_is_tried_again_with_growing_pauses() -> None:
    with fake_server(BUSY, BUSY, BUSY, GOOD) as server, Client(server.url, "m") as client:
        started = time.monotonic()
        assert client.predict(ROWS)["y"].tolist() == [2.5]
        assert len(server.asked) == 4
        assert time.monotonic() - started >= 0.5 * (0.1 + 0.2 + 0.4)


def test_retries_end() -> None:
    with fake_server(BUSY) as server:
        error, _ = failure(server.url, retries=2)
        assert (error.code, error.message, error.attempts, len(server.asked)) == ("UNAVAILABLE", "busy", 3, 3)
        assert "3 attempts" in str(error)
        assert server.url in str(error)


def test_retries_stay_within_the_timeout() -> None:
    with fake_server(BUSY) as server:
        error, seconds = failure(server.url, retries=100, timeout=0.6)
        assert error.code == "UNAVAILABLE"
        assert 1 < error.attempts < 6
        assert seconds < 0.8


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (501, "UNIMPLEMENTED"),
        (504, "DEADLINE_EXCEEDED"),
        (418, "UNKNOWN"),
    ],
)
def test_nothing_else_is_tried_again(status: int, code: str) -> None:
    with fake_server(http_answer(b'{"error": "no"}', status)) as server:
        error, _ = failure(server.url)
        assert (error.code, error.message, error.attempts, len(server.asked)) == (code, "no", 1, 1)


@pytest.mark.parametrize("behaviour", [hang, trickle])
def test_a_server_that_does_not_finish(behaviour: object) -> None:
    with fake_server(behaviour) as server:
        error, seconds = failure(server.url, timeout=0.4)
        assert (error.code, error.attempts) == ("DEADLINE_EXCEEDED", 1)
        assert 0.3 < seconds < 0.8


def test_a_client_is_usable_after_a_timeout() -> None:
    with fake_server(hang, GOOD) as server, Client(server.url, "m", timeout=0.3) as client:
        with pytest.raises(ClientError):
            client.predict(ROWS)
        assert client.predict(ROWS)["y"].tolist() == [2.5]


def test_an_answer_that_is_cut_off_is_asked_for_again() -> None:
    with fake_server(cut, GOOD) as server, Client(server.url, "m") as client:
        assert client.predict(ROWS)["y"].tolist() == [2.5]
    with fake_server(cut) as server:
        error, _ = failure(server.url, retries=1)
        assert (error.code, error.attempts) == ("UNAVAILABLE", 2)


def test_a_connection_that_the_server_ended_costs_no_retry() -> None:
    with fake_server(answer_and_close) as server, Client(server.url, "m", retries=0) as client:
        for _ in range(3):
            assert client.predict(ROWS)["y"].tolist() == [2.5]
            time.sleep(0.05)
        assert (len(server.asked), server.connections) == (3, 3)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listens(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"
        with Client(address, "m", retries=1) as client, pytest.raises(ClientError) as caught:
            client.predict(ROWS)
    assert (caught.value.code, caught.value.attempts) == ("UNAVAILABLE", 2)
    assert address in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b"<html>hello</html>"),
        http_answer(b"<html>nothing here</html>", 404),
        http_answer(b'{"result": 1}'),
        http_answer(b'{"outputs": "text"}'),
        http_answer(b"[1]"),
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
def test_what_is_no_model_server(answer: bytes) -> None:
    with fake_server(answer) as server:
        error, _ = failure(server.url)
        assert error.code in ("UNKNOWN", "FAILED_PRECONDITION")
        assert error.attempts == 1


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8500", "tcp://h:1", "http://", "grpc://h:port", "grpc://h:1/path", "http://u:p@h", "http://h?x=1", ""],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="expected grpc://HOST:PORT"):
        Client(address, "m")


@pytest.mark.parametrize("options", [{"version": 1, "label": "a"}, {"timeout": 0}, {"batch_size": 0}, {"retries": -1}])
def test_what_is_no_client(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Client("http://h", "m", **options)


class Scripted(grpc.GenericRpcHandler):
    """Predict fails with each of some codes, then answers."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.codes, self.asked = list(codes), 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        answer = self.metadata if details.method.endswith("/GetModelMetadata") else self.predict
        return grpc.unary_unary_rpc_method_handler(answer)

    def metadata(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.version.value = 1
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for where, name in (("inputs", "x"), ("outputs", "y")):
            tensor = getattr(signatures.signature_def["serving_default"], where)[name]
            tensor.dtype = 1
            tensor.tensor_shape.dim.add().size = -1
        response.metadata["signature_def"].Pack(signatures)
        return response.SerializeToString()

    def predict(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.asked += 1
        if self.codes:
            context.abort(self.codes.pop(0), "as the script says")
        if self.asked == 99:
            time.sleep(1)
        response = predict_pb2.PredictResponse()
        proto = response.outputs["y"]
        proto.dtype = 1
        proto.tensor_shape.dim.add().size = 1
        proto.float_val.append(2.5)
        return response.SerializeToString()


@pytest.fixture
def rpc():
    handler = Scripted()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, f"grpc://127.0.0.1:{port}"
    server.stop(None)


def test_unavailable_is_tried_again_over_grpc(rpc: tuple[Scripted, str]) -> None:
    handler, address = rpc
    handler.codes = [grpc.StatusCode.UNAVAILABLE] * 2
    with Client(address, "m") as client:
        assert client.predict(ROWS)["y"].tolist() == [2.5]
    assert handler.asked == 3


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED], ids=str)
def test_nothing_else_is_tried_again_over_grpc(rpc: tuple[Scripted, str], code: grpc.StatusCode) -> None:
    handler, address = rpc
    handler.codes = [code]
    error, _ = failure(address)
    assert (error.code, error.message, error.attempts) == (code.name, "as the script says", 1)
    assert error.__suppress_context__


def test_a_deadline_over_grpc(rpc: tuple[Scripted, str]) -> None:
    handler, address = rpc
    handler.asked = 98
    error, seconds = failure(address, timeout=0.3)
    assert error.code == "DEADLINE_EXCEEDED"
    assert seconds < 0.8


def test_a_server_that_comes_back_is_found_at_once() -> None:
    """A channel that failed to connect would fail for a second more, and longer each time."""
    [port] = free_ports(1)
    with Client(f"grpc://127.0.0.1:{port}", "m", retries=0) as client:
        with pytest.raises(ClientError):
            client.predict(ROWS)
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Scripted()])
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        assert client.predict(ROWS)["y"].tolist() == [2.5]
        server.stop(None)


def test_tls_over_grpc(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    text = "".join(
        f"server_{name}: {json.dumps(path.read_text())}\n" for name, path in (("key", key), ("cert", certificate))
    )
    (tmp_path / "ssl.config").write_text(text)
    save_half_plus_two(tmp_path / "half")
    with open_tls_server(tmp_path) as address:
        with Client(address, "half", certificates=Certificates(authority=certificate)) as client:
            client.wait_until_available(30)
            assert client.predict(ROWS)["y"].tolist() == [2.5]
        with Client(address, "half", retries=0, timeout=5) as client, pytest.raises(ClientError) as caught:
            client.predict(ROWS)
        assert caught.value.code == "UNAVAILABLE"


@contextlib.contextmanager
def open_tls_server(folder: Path) -> Iterator[str]:
    [port] = free_ports(1)
    flags = ["--model_name=half", f"--model_base_path={folder / 'half'}", f"--ssl_config_file={folder / 'ssl.config'}"]
    process = spawn([*flags, f"--port={port}"], folder / "log")
    try:
        yield f"grpcs://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_tls_over_rest(tmp_path: Path) -> None:
    """A certificate that nobody signed is refused, and not tried again."""
    certificate, key = make_certificate(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.connection.sendall(http_answer(b'{"model_version_status": []}'))

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with Client(url, "m", certificates=Certificates(authority=certificate)) as client:
            assert client.status() == []
        with Client(url, "m") as client, pytest.raises(ClientError, match="not trusted") as caught:
            client.status()
        assert (caught.value.code, caught.value.attempts) == ("UNAVAILABLE", 1)
        server.shutdown()


def test_a_gateway_gets_its_headers_and_its_path() -> None:
    with fake_server(GOOD) as server, Client(f"{server.url}/models/", "a b", headers={"X-Key": "k"}) as client:
        client.predict(ROWS)
        assert server.asked == [b"POST /models/v1/models/a%20b:predict HTTP/1.1\r\n"]
        assert b"X-Key: k\r\n" in server.headers
