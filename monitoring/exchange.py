"""One HTTP exchange that ends in time, whatever the other side does, and tells a failure in words without secrets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class NoAnswerError(Exception):
    """Why there is none, in words that hold neither a path nor a password."""


def origin(url: str) -> str:
    """Scheme, host and port of an address: what may be shown, as the rest of a webhook's is its secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def exchange(method: str, url: str, seconds: float, *, body: bytes | None = None, most_bytes: int = 0) -> Answer:
    """Asks once, follows no redirect, and is back within `seconds`.

    A timeout of requests counts from byte to byte, and a name's look-up has none: the exchange therefore runs in a
    thread, and when its time is over its socket is shut, so that the thread ends as well.

    Args:
        method: `GET` or `POST`.
        url: Whom to ask.
        seconds: For all of it, from the look-up of the name to the last byte.
        body: JSON to send.
        most_bytes: An answer's body may have; 0 does not read it.

    Raises:
        NoAnswerError: There was none in time, or it is larger than `most_bytes`.
    """
    adapter = _Abortable()
    outcome: list[Answer | NoAnswerError] = []

    def run() -> None:
        try:
            outcome.append(_ask(adapter, method, url, seconds, body, most_bytes))
        except NoAnswerError as error:
            outcome.append(error)
        except Exception as error:  # whatever a library below throws, it is the answer that is missing
            outcome.append(NoAnswerError(_words(error, seconds)))
        finally:
            adapter.close()

    thread = threading.Thread(target=run, name="http-exchange", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        adapter.abort()
        raise NoAnswerError(_too_late(seconds))
    if isinstance(outcome[0], NoAnswerError):
        raise outcome[0]
    return outcome[0]


class _Abortable(HTTPAdapter):
    """Keeps a second handle of each socket, by which another thread can end what waits on it."""

    def __init__(self) -> None:
        super().__init__()
        self._sockets: list[socket.socket] = []
        self._is_over = False

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """The pool of connections that requests takes one from."""
        pool = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _watched(pool.ConnectionCls, self._keep)
        return pool

    def _keep(self, connected: socket.socket) -> None:
        self._sockets.append(connected.dup())
        if self._is_over:  # the name was looked up too late
            self.abort()

    def abort(self) -> None:
        """Ends all reading and writing, now and later."""
        self._is_over = True
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes all that is open."""
        super().close()
        for each in self._sockets:
            each.close()


def _watched(kind: type[Any], keep: Callable[[socket.socket], None]) -> type[Any]:
    """A class of connections that shows its sockets; under TLS this is before the handshake, which can hang too."""

    class Watched(kind):
        def _new_conn(self) -> socket.socket:
            connected: socket.socket = super()._new_conn()
            keep(connected)
            return connected

    return Watched


def _ask(adapter: _Abortable, method: str, url: str, seconds: float, body: bytes | None, most_bytes: int) -> Answer:
    headers = {"Accept-Encoding": "identity"} | ({"Content-Type": "application/json; charset=utf-8"} if body else {})
    with requests.Session() as session:
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        with session.request(
            method, url, data=body, headers=headers, timeout=seconds, stream=True, allow_redirects=False
        ) as response:
            read = bytearray()
            for chunk in response.iter_content(_CHUNK) if most_bytes else ():
                read += chunk
                if len(read) > most_bytes:
                    raise NoAnswerError(f"the answer is larger than {most_bytes:,} bytes")
            return Answer(response.status_code, response.headers, bytes(read))


def _words(error: BaseException, seconds: float) -> str:
    if isinstance(error, requests.Timeout):
        return _too_late(seconds)
    known = (each.strerror for each in _causes(error) if isinstance(each, OSError) and each.strerror)
    return next(known, type(error).__name__)  # never str(error): it holds the path


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _too_late(seconds: float) -> str:
    return f"no answer within {seconds:g} s"
