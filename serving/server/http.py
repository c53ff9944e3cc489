"""uvicorn, without what it does to signals and to the terminal, and without patience for slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.server.rest import RestApi

_MOST_CONNECTIONS_WAITING = 2048
_KEEP_ALIVE_SECONDS = 60
_MOST_HEAD_BYTES = 1 << 20


class _Protocol(HttpToolsProtocol):
    """A connection that knows since when it has been waiting for the rest of a request."""

    waits_since: float | None = None
    _without_body = 0
    """Bytes since the request began, or since the last of its body: head or trailer, which httptools piles up."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.waits_since = self.loop.time()

    def on_message_begin(self) -> None:
        self.waits_since = self.loop.time()
        self._without_body = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.waits_since = None
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self.waits_since is not None:
            self._without_body += len(data)
            if self._without_body > _MOST_HEAD_BYTES:
                self.send_400_response("Invalid HTTP request received.")

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Reads a request as if it offered no other protocol, as Java's and curl's offer h2c: else its body is lost."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self.send_400_response("Invalid HTTP request received.")
            return
        headers = b"".join(b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%s %s HTTP/%s\r\n%s\r\n%s" % (method, self.url, version, headers, rest))

    @property
    def is_forgotten(self) -> bool:
        """Whether nothing is being answered or timed: blank lines after a request stop uvicorn's own timer."""
        is_idle = self.cycle is None or self.cycle.response_complete
        return is_idle and self.waits_since is None and self.timeout_keep_alive_task is None


class HttpServer(uvicorn.Server):
    """The REST server; the process's signals belong to whoever runs it.

    Args:
        app: The API.
        seconds_for_request: The most that a client may take to send a request.
        drain_seconds: The most to wait for requests that are being answered, at the end.
    """

    def __init__(self, app: RestApi, seconds_for_request: float, drain_seconds: float) -> None:
        self._patience = seconds_for_request
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                access_log=False,
                log_config=None,
                server_header=False,
                backlog=_MOST_CONNECTIONS_WAITING,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(drain_seconds)),
            )
        )

        app.requests = self.server_state.tasks

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals alone."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Closes the connections of slow clients; uvicorn calls this ten times a second."""
        now = asyncio.get_running_loop().time()
        oldest = now - self._patience
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Protocol) and connection.is_forgotten:
                connection.waits_since = now
            if isinstance(connection, _Protocol) and (connection.waits_since or oldest) < oldest:
                connection.transport.close()
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections.

    Raises:
        OSError: The address is in use, or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_MOST_CONNECTIONS_WAITING)
