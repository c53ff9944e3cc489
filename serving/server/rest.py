"""TensorFlow Serving's REST API as an ASGI application (`model_servers/http_rest_api_handler.cc`, `http_server.cc`)."""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from serving.server import inference, json_examples, json_request, json_response
from serving.server.batch import Answer, Request, Tensors
from serving.server.core import Core
from serving.server.log_messages import classify_messages, predict_messages, regress_messages
from serving.server.model_service import metadata_json, status_json
from serving.server.servable import DEFAULT_SIGNATURE, Servable, Signature
from serving.server.status import HTTP_STATUS, Code, StatusError, invalid_argument

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

log = logging.getLogger(__name__)

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"

_API = re.compile(r"/v1/.*", re.I | re.S)
_POST = re.compile(
    r"/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)", re.I | re.A
)
_GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?", re.I | re.A)
_JSON = [(b"content-type", b"application/json")]
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
_NOT_FOUND_PAGE = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_TOO_LARGE = 413
_LARGEST_VERSION = (1 << 63) - 1
_LONGEST_VERSION = 1000
"""Digits, with zeros in front; Python refuses to read thousands."""
_GZIP = zlib.MAX_WBITS | 16
_GZIP_SLICE = 1 << 12
_MOST_GZIP_MEMBERS = 1000


class Disconnected(Exception):
    """The client went away before its request was whole."""


class TooLarge(StatusError):
    """The body exceeds the limit; HTTP has a status of its own for that."""


@dataclass(frozen=True)
class Target:
    """What a URL names."""

    name: str
    version: int | None
    label: str | None
    verb: str
    """`predict`, `classify`, `regress`, `metadata`, or empty for the status."""


class RestApi:
    """The application.

    Args:
        core: The server's state.
        most_bytes: The largest body, compressed or not.
        allows_cors: Whether to send CORS headers.
        metrics_path: Where Prometheus reads; None for nowhere.
        timeout_seconds: The most that a call may take.
    """

    def __init__(
        self, core: Core, most_bytes: int, allows_cors: bool, metrics_path: str | None, timeout_seconds: float
    ) -> None:
        self.requests: Collection[object] = ()
        """Those that have arrived and are not answered yet: the HTTP server's own, once it runs."""
        self._core = core
        self._most_bytes = most_bytes
        self._headers = [*_JSON, *_CORS] if allows_cors else _JSON
        self._metrics_path = metrics_path
        self._timeout = timeout_seconds
        self._answer = {"predict": self._predict, "classify": self._classify, "regress": self._regress}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        path = scope["raw_path"].decode("latin-1")
        if path == self._metrics_path and scope["method"] == "GET":
            await _reply(send, 200, [(b"content-type", b"text/plain")], self._core.metrics.page().encode())
        elif _API.fullmatch(path):
            await self._serve(scope, path, receive, send)
        else:
            await _reply(send, 404, [(b"content-type", b"text/html")], _NOT_FOUND_PAGE)

    async def _serve(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        method, target, code = scope["method"], None, Code.OK
        headers = self._headers
        try:
            body = await _read(scope, receive, self._most_bytes)
            if method == "OPTIONS":
                content, status = _preflight(scope), 200
            else:
                target = parse_target(method, path)
                content, status = await self._content(target, body), 200
        except Disconnected:
            return
        except StatusError as error:
            code, content = error.code, json_response.error(error.message)
            status = _TOO_LARGE if isinstance(error, TooLarge) else HTTP_STATUS[code]
            if status == _TOO_LARGE:  # what is left of the body is not read
                headers = [*headers, (b"connection", b"close")]
        except Exception:  # a bug of ours must look neither like a hang nor like the client's mistake
            log.exception("A request failed")
            code, content, status = Code.INTERNAL, json_response.error("Internal error"), 500
        api = target.verb if target is not None and target.verb in self._answer else ""
        self._core.count(target.name if target else "", code, api, "REST", started)
        await _reply(send, status, headers, content)

    async def _content(self, target: Target, body: bytes) -> bytes:
        answer = self._answer.get(target.verb)
        if answer is None:
            if target.verb == "metadata":
                return metadata_json(self._core.repository.find(target.name, target.version, target.label))
            return status_json(self._core.repository.versions(target.name, target.version))
        servable = self._core.repository.find(target.name, target.version, target.label)
        self._core.begin(servable)
        try:
            return await answer(servable, json_request.parse(body))
        finally:
            self._core.end(servable)

    async def _predict(self, servable: Servable, document: dict[str, Any]) -> bytes:
        name = json_request.signature_name(document)
        signature = servable.signature(name)
        if signature is None:
            raise invalid_argument(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
        if not signature.inputs:
            raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
        rows = json_request.instances(document, signature)
        request = rows or Tensors(json_request.columns(document, signature))
        answer = await self._run(signature, request)
        outputs = dict(zip(signature.outputs, answer.outputs, strict=True))
        content = json_response.predictions(outputs) if rows else json_response.columns(outputs)
        self._core.log(servable, "predict_log", signature.name, predict_messages(servable, signature, answer))
        return content

    async def _run(self, signature: Signature, request: Request) -> Answer:
        is_alone = len(self.requests) == 1
        return await self._core.runner.run(signature, request, is_alone=is_alone, timeout_seconds=self._timeout)

    async def _classify(self, servable: Servable, document: dict[str, Any]) -> bytes:
        name = json_request.signature_name(document)
        examples = json_examples.examples(document)
        signature = inference.classify_signature(servable, name)
        answer = await self._run(signature, Tensors([inference.example_array(signature, examples)]))
        self._core.count_examples(servable.name, len(examples))
        content = json_response.classifications(*inference.classes_and_scores(signature, answer.outputs, len(examples)))
        self._core.log(
            servable, "classify_log", signature.name, classify_messages(servable, signature, examples, answer.outputs)
        )
        return content

    async def _regress(self, servable: Servable, document: dict[str, Any]) -> bytes:
        name = json_request.signature_name(document)
        examples = json_examples.examples(document)
        signature = inference.regress_signature(servable, name)
        answer = await self._run(signature, Tensors([inference.example_array(signature, examples)]))
        self._core.count_examples(servable.name, len(examples))
        content = json_response.regressions(inference.regression_values(answer.outputs, len(examples)))
        self._core.log(
            servable, "regress_log", signature.name, regress_messages(servable, signature, examples, answer.outputs)
        )
        return content


@lru_cache(maxsize=1024)
def parse_target(method: str, path: str) -> Target:
    """What a URL names.

    Raises:
        StatusError: It names nothing.
    """
    pattern = {"POST": _POST, "GET": _GET}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise invalid_argument(f"Malformed request: {method} {path}")
    name, version, label, verb = match.groups()
    if version is not None and (len(version) > _LONGEST_VERSION or int(version) > _LARGEST_VERSION):
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    if method == "GET":
        verb = "metadata" if verb == "metadata" else ""  # `METADATA` matches and then means nothing
        if not name:
            raise invalid_argument("Missing model name in request.")
    if verb != verb.lower():
        raise invalid_argument(f"Malformed request: {method} {path}")
    return Target(_decoded(name), int(version) if version else None, _decoded(label) if label else None, verb)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


async def _read(scope: Scope, receive: Receive, most_bytes: int) -> bytes:
    """The body, uncompressed.

    Raises:
        StatusError: It is too large, or no gzip though it says so.
        Disconnected: The client went away.
    """
    message = await receive()
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most_bytes:
            raise _too_large(most_bytes)
        chunks.append(chunk)
        if not message.get("more_body"):
            break
        message = await receive()
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    for name, value in scope["headers"]:
        if name == b"content-encoding" and b"gzip" in value.lower():
            return _gunzip(body, most_bytes)
    return body


def _gunzip(body: bytes, most_bytes: int) -> bytes:
    """In slices, since each member's end copies what is left of its input."""
    plain, members = bytearray(), 1
    stream = zlib.decompressobj(wbits=_GZIP)
    for start in range(0, len(body), _GZIP_SLICE):
        part = body[start : start + _GZIP_SLICE]
        while part:
            if stream.eof:
                stream, members = zlib.decompressobj(wbits=_GZIP), members + 1
            if members > _MOST_GZIP_MEMBERS:
                told = f"it has more than {_MOST_GZIP_MEMBERS} members"
                raise invalid_argument(f"Failed to uncompress the gzip body: {told}")
            try:
                plain += stream.decompress(part, most_bytes + 1 - len(plain))
            except zlib.error as error:
                raise invalid_argument(f"Failed to uncompress the gzip body: {error}") from None
            if len(plain) > most_bytes:
                raise _too_large(most_bytes)
            part = stream.unused_data
    if body and not stream.eof:
        raise invalid_argument("Failed to uncompress the gzip body: it is cut off")
    return bytes(plain)


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(Code.RESOURCE_EXHAUSTED, f"The request is larger than {most_bytes} bytes")


def _preflight(scope: Scope) -> bytes:
    origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
    if not re.search(rb"https?://", origin):
        raise StatusError(Code.FAILED_PRECONDITION, "Origin header is missing in CORS preflight")
    return b""


async def _reply(send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})
