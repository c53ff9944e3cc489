"""Models and servers that tests of the client ask."""

from __future__ import annotations

import contextlib
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

METADATA = (
    b'{"model_spec": {"name": "m", "signature_name": "", "version": "1"}, "metadata": {"signature_def": '
    b'{"signature_def": {"serving_default": {"inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": '
    b'[{"size": "-1", "name": ""}], "unknown_rank": false}, "name": "x:0"}}, "outputs": {"y": {"dtype": "DT_FLOAT", '
    b'"tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": false}, "name": "y:0"}}, '
    b'"method_name": ""}}}}}'
)
ANSWER = b'{"outputs": [2.5]}'


class Person(tf.Module):
    """Inputs of the types that pushed models have; the outputs are what arrived."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="name"),
            tf.TensorSpec([None], tf.int64, name="age"),
            tf.TensorSpec([None], tf.float32, name="height"),
            tf.TensorSpec([None], tf.float64, name="seen"),
        ]
    )
    def predict(self, name, age, height, seen):
        return {"name_is": name, "age_is": age, "height_is": height, "seen_is": seen}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        """Fails unless each feature has the type of its input above."""
        features = {
            "name": tf.io.FixedLenFeature([], tf.string, ""),
            "age": tf.io.FixedLenFeature([], tf.int64, -1),
            "height": tf.io.FixedLenFeature([], tf.float32, -1.0),
            "seen": tf.io.FixedLenFeature([], tf.int64, -1),
        }
        parsed = tf.io.parse_example(inputs, features)
        lengths = tf.cast(tf.strings.length(parsed["name"]), tf.float32)
        whole = tf.cast(parsed["age"], tf.float32) + 1000.0 * tf.cast(parsed["seen"], tf.float32)
        return {"outputs": lengths + whole + parsed["height"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples):
        return {"size": tf.strings.length(examples)}


def save_person(base_path: Path) -> Path:
    module = Person()
    signatures = {"serving_default": module.predict, "regress": module.regress, "serve_examples": module.serve_examples}
    tf.saved_model.save(module, str(base_path / "1"), signatures=signatures)
    return base_path


def http_answer(body: bytes, status: int = 200, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


@dataclass
class FakeServer:
    """Answers metadata well, and the N-th other request with `script[N]`; the last one again and again."""

    script: list[bytes | Callable[[socketserver.BaseRequestHandler], None]]
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    connections: int = 0


@contextlib.contextmanager
def fake_server(*script: bytes | Callable[[socketserver.BaseRequestHandler], None]) -> Iterator[FakeServer]:
    fake = FakeServer(list(script))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            fake.connections += 1
            while line := self.rfile.readline():
                length = 0
                while (header := self.rfile.readline()) not in (b"\r\n", b""):
                    fake.headers.append(header)
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                self.rfile.read(length)
                if b"/metadata" in line:
                    self.wfile.write(http_answer(METADATA))
                    continue
                fake.asked.append(line)
                answer = fake.script[min(len(fake.asked), len(fake.script)) - 1]
                if isinstance(answer, bytes):
                    self.wfile.write(answer)
                else:
                    answer(self)
                    return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield fake
        server.shutdown()


def hang(handler: socketserver.StreamRequestHandler) -> None:
    """Reads and says nothing."""
    time.sleep(5)


def trickle(handler: socketserver.StreamRequestHandler) -> None:
    """A byte now and then, so that no single wait is long."""
    with contextlib.suppress(OSError):
        handler.wfile.write(http_answer(b"", length=10_000))
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.05)


def cut(handler: socketserver.StreamRequestHandler) -> None:
    """Ends the connection in the middle of the answer."""
    handler.wfile.write(http_answer(ANSWER[:5], length=len(ANSWER)))


def answer_and_close(handler: socketserver.StreamRequestHandler) -> None:
    """A whole answer, and then no connection, of which nothing was said."""
    handler.wfile.write(http_answer(ANSWER))


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
