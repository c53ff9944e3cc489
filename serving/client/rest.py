"""REST over persistent connections. Imports no TensorFlow.

Rows are sent as columns (`inputs`): a name once for a request, not once for a row.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from serving.client.errors import DEADLINE_EXCEEDED, FAILED_PRECONDITION, UNAVAILABLE, UNKNOWN, Failure
from serving.client.signature import DTYPES, Metadata, Signature, VersionStatus, metadata_of
from serving.client.transport import Address, Certificates, Examples, Reply, Target, classification, texts

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: UNAVAILABLE,  # a gateway without its server
    503: UNAVAILABLE,
    504: DEADLINE_EXCEEDED,
}
_OK = 200
_BLOCK = 1 << 16
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_LONGEST_QUOTE = 200


class RestTransport:
    """See `Transport`. May be used by many threads, each of which has its own connection meanwhile."""

    def __init__(self, address: Address, certificates: Certificates, headers: Mapping[str, str]) -> None:
        self._address = address
        self._headers = {**headers, "Content-Type": "application/json"}
        self._context = _context(certificates) if address.is_secure else None
        self._idle: deque[http.client.HTTPConnection] = deque()

    def predict(self, target: Target, signature: Signature, inputs: Mapping[str, np.ndarray], timeout: float) -> Reply:
        """The outputs of a signature."""
        columns = b",".join(orjson.dumps(name) + b":" + _values(array) for name, array in inputs.items())
        body = b'{"signature_name":%b,"inputs":{%b}}' % (orjson.dumps(target.signature_name), columns)
        document = self._ask("POST", _path(target, ":predict"), body, timeout)
        try:
            found = document["outputs"]
            if len(signature.outputs) == 1:
                found = {next(iter(signature.outputs)): found}
            return Reply({name: _array(found[name], name, spec.dtype) for name, spec in signature.outputs.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(document, error) from None

    def classify(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """Classes and scores."""
        document = self._ask("POST", _path(target, ":classify"), _examples_body(target, examples), timeout)
        try:
            return Reply(classification(document["results"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(document, error) from None

    def regress(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """Values."""
        document = self._ask("POST", _path(target, ":regress"), _examples_body(target, examples), timeout)
        try:
            return Reply({"outputs": np.array(document["results"], np.float32)})
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(document, error) from None

    def metadata(self, target: Target, timeout: float) -> Metadata:
        """Signatures."""
        document = self._ask("GET", _path(target, "/metadata"), None, timeout)
        try:
            return metadata_of(document)
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(document, error) from None

    def status(self, target: Target, timeout: float) -> list[VersionStatus]:
        """Versions."""
        document = self._ask("GET", _path(target, ""), None, timeout)
        try:
            return [
                VersionStatus(
                    int(each["version"]),
                    each["state"],
                    each["status"].get("error_code", "OK"),
                    each["status"].get("error_message", ""),
                )
                for each in document["model_version_status"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(document, error) from None

    def close(self) -> None:
        """Ends all connections."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        end = time.monotonic() + timeout
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connection()
            was_idle = connection.sock is not None
            try:
                status, content = self._exchange(connection, method, path, body, end)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                connection.close()
                if was_idle:  # servers end connections that are idle for long: no fault, and no attempt
                    continue
                raise Failure(UNAVAILABLE, f"The connection was cut: {error}") from None
            except TimeoutError:
                connection.close()
                raise Failure(DEADLINE_EXCEEDED, f"There was no answer within {timeout:.3g} s") from None
            except ssl.SSLCertVerificationError as error:
                connection.close()
                told = f"The server's certificate is not trusted: {error.verify_message}"
                raise Failure(UNAVAILABLE, told, may_pass=False) from None
            except (OSError, http.client.IncompleteRead) as error:
                connection.close()
                raise Failure(UNAVAILABLE, getattr(error, "strerror", None) or str(error)) from None
            except http.client.HTTPException as error:
                connection.close()
                raise Failure(UNKNOWN, f"What answered does not speak HTTP: {error!r}") from None
            except BaseException:
                connection.close()
                raise
            return _document(status, content)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, end: float
    ) -> tuple[int, bytes]:
        connection.timeout = _left(end)
        if connection.sock is not None:
            connection.sock.settimeout(_left(end))
        connection.request(method, self._address.prefix + path, body, self._headers)
        connection.sock.settimeout(_left(end))
        sock = connection.sock  # an answer that ends the connection takes it away
        response = connection.getresponse()
        blocks = []
        while block := response.read1(_BLOCK):
            blocks.append(block)
            sock.settimeout(_left(end))
        response.close()  # read1 does not notice the end, and only what is at its end may be used again
        content = b"".join(blocks)
        expected = response.headers.get("Content-Length")
        if expected is not None and expected.isdecimal() and len(content) < int(expected):
            raise http.client.IncompleteRead(content, int(expected) - len(content))
        if connection.sock is not None:
            self._idle.append(connection)
        return response.status, content

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is not None:
            return http.client.HTTPSConnection(self._address.host, self._address.port, context=self._context)
        return http.client.HTTPConnection(self._address.host, self._address.port)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.authority)
    if certificates.certificate is not None:
        context.load_cert_chain(certificates.certificate, certificates.key)
    return context


def _path(target: Target, verb: str) -> str:
    chosen = ""
    if target.version is not None:
        chosen = f"/versions/{target.version}"
    elif target.label is not None:
        chosen = f"/labels/{quote(target.label, safe='')}"
    return f"/v1/models/{quote(target.model, safe='')}{chosen}{verb}"


def _document(status: int, content: bytes) -> Any:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            document = json.loads(content.decode("utf-8", "surrogateescape"))  # NaN, or text that is not UTF-8
        except ValueError:
            document = None
    if status == _OK and isinstance(document, dict):
        return document
    told = document.get("error") if isinstance(document, dict) else None
    quoted = content[:_LONGEST_QUOTE].decode("utf-8", "replace")
    message = str(told) if told else f"HTTP {status} and no answer of TensorFlow Serving's: {quoted!r}"
    code = _CODES.get(status, UNKNOWN)
    if code == "NOT_FOUND" and not told:
        code = FAILED_PRECONDITION  # there is a web server, but no model server
    raise Failure(code, message)


def _unreadable(document: Any, error: Exception) -> Failure:
    return Failure(UNKNOWN, f"The answer has not the form of TensorFlow Serving's: {error!r} in {document!r:.200}")


def _values(array: np.ndarray) -> bytes:
    """JSON of a tensor. TensorFlow Serving reads NaN and Infinity, which orjson writes as null."""
    if array.dtype == object:
        return orjson.dumps(_texts(array.tolist()))
    if np.isfinite(array).all():
        return orjson.dumps(array.tolist() if not array.ndim else np.ascontiguousarray(array), option=_NUMPY)
    if array.ndim == 0 or np.isinf(array).any():
        return json.dumps(array.tolist()).encode()
    return orjson.dumps(np.ascontiguousarray(array), option=_NUMPY).replace(b"null", b"NaN")


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(each) for each in value]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _array(value: Any, name: str, dtype: str) -> np.ndarray:
    wanted = DTYPES.get(dtype)
    if wanted is None:
        raise ValueError(f"the output {name!r} is {dtype}")
    array = np.array(value, wanted)
    if wanted.kind != "O":
        return array
    plain = np.empty(array.shape, object)
    plain.ravel()[:] = [_bytes(each) for each in array.ravel()]
    return texts(plain, name)


def _bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    if not isinstance(value, str):
        raise ValueError(f"expected text, received {value!r:.80}")
    return value.encode("utf-8", "surrogateescape")


def _examples_body(target: Target, examples: Examples) -> bytes:
    """The numbers are finite or Infinity: what is NaN is missing, and left out."""
    rows = [{name: _feature(values) for name, values in example.items()} for example in examples]
    document = {"signature_name": target.signature_name, "examples": rows}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _feature(values: list[Any]) -> Any:
    made = [_texts(value) if isinstance(value, bytes) else value for value in values]
    return made[0] if len(made) == 1 else made
