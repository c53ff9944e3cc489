"""uvicorn, without what it does to signals and to the terminal, and without patience for slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.server.rest import RestApi

_MOST_CONNECTIONS_WAITING = 2048


class HttpServer(uvicorn.Server):
    """The REST server; the process's signals belong to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals alone."""
        yield


def http_server(app: RestApi, seconds_for_request: float, drain_seconds: float) -> HttpServer:
    """A server for the REST API.

    Args:
        app: The API.
        seconds_for_request: The most that a client may take to send a request.
        drain_seconds: The most to wait for requests that are being answered, at the end.
    """
    config = uvicorn.Config(
        app,
        http=_impatient(seconds_for_request),
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=_MOST_CONNECTIONS_WAITING,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=max(1, round(drain_seconds)),
    )
    return HttpServer(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections.

    Raises:
        OSError: The address is in use, or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_MOST_CONNECTIONS_WAITING)


def _impatient(seconds: float) -> type[asyncio.Protocol]:
    """A protocol that closes a connection whose request is not whole after so many seconds."""

    class ImpatientProtocol(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect()

        def on_message_begin(self) -> None:
            self._expect()
            super().on_message_begin()

        def on_message_complete(self) -> None:
            self._expect_no_more()
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_no_more()
            super().connection_lost(exc)

        def _expect(self) -> None:
            self._expect_no_more()
            self._deadline = self.loop.call_later(seconds, self.transport.close)

        def _expect_no_more(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return ImpatientProtocol
