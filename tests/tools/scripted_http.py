"""An HTTP server that misbehaves as it is told: it hangs, drips, cuts off, redirects."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

HANG = b"hang"
DRIP = b"drip"
"""A byte of the header at a time, for ever."""


@dataclass
class ScriptedServer:
    """Answers the first request with the first of `answers`, and so on; with the last from then on."""

    answers: tuple[bytes, ...]
    url: str = ""
    received: list[bytes] = field(default_factory=list)
    """Whole requests."""
    connections_ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once for each connection on which no more can be sent."""


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    """An answer's bytes."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.contextmanager
def serving(*answers: bytes) -> Iterator[ScriptedServer]:
    """Serves until the end of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = ScriptedServer(answers, f"http://127.0.0.1:{listener.getsockname()[1]}/services/T0/SECRET?token=SECRET")
    over = threading.Event()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            server.received.append(_request(connection))
            said = server.answers[min(len(server.received), len(server.answers)) - 1]
            if said == HANG:
                connection.recv(1)  # until the client goes
            elif said == DRIP:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not over.wait(0.02):
                    connection.sendall(b"x")
            else:
                connection.sendall(said)
        server.connections_ended.release()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _request(connection: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    head = read.split(b"\r\n\r\n")[0].lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
    while len(read) < len(head) + 4 + length:
        read += connection.recv(65536)
    return read
