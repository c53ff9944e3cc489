"""What both protocols have in common: whom to ask, how to reach it, what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from serving.client.signature import Metadata, Signature, VersionStatus

BYTES_SUFFIX = "_bytes"
"""Outputs of strings whose names end so are bytes, all others text: TensorFlow Serving's convention for REST."""

_PORTS = {"grpc": 8500, "grpcs": 8500, "http": 80, "https": 443}

Examples = Sequence[Mapping[str, list[Any]]]
"""tf.Examples as plain values: a row's features by name, each a list of bytes, of ints or of floats."""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM format for grpcs:// and https://."""

    authority: str | Path | None = None
    """Who must have signed the server's certificate; None for the authorities that this machine trusts."""
    certificate: str | Path | None = None
    key: str | Path | None = None
    """The client's own, for a server that asks for them."""


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    """Of the path, behind a gateway. REST only."""

    @property
    def is_grpc(self) -> bool:
        """Whether gRPC is spoken there, not REST."""
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in ("grpcs", "https")

    @property
    def netloc(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.prefix}"


def parse_address(text: str) -> Address:
    """`grpc://host:8500`, `grpcs://…`, `http://host:8501`, `https://…`.

    Raises:
        ValueError: It is none of these.
    """
    expected = f"expected grpc://HOST:PORT, grpcs://, http:// or https://, received {text!r}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(expected)
    prefix = parts.path.rstrip("/")
    if prefix and parts.scheme.startswith("grpc"):
        raise ValueError(f"{expected}: gRPC has no path")
    return Address(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], prefix)


@dataclass(frozen=True)
class Target:
    """Whom a request asks."""

    model: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""

    def of(self, signature_name: str) -> Target:
        """The same model by another signature."""
        return replace(self, signature_name=signature_name)

    def pinned(self, version: int) -> Target:
        """This version of it, whatever label or newest version there will be."""
        return replace(self, version=version, label=None)

    def __str__(self) -> str:
        chosen = (
            f" version {self.version}" if self.version is not None else f" label {self.label}" if self.label else ""
        )
        return f"model {self.model}{chosen}"


@dataclass(frozen=True)
class Reply:
    """An answer.

    Over gRPC it tells the version that answered and both messages, serialized, for the request log.
    """

    outputs: dict[str, np.ndarray]
    version: int | None = None
    messages: Callable[[], tuple[bytes, bytes]] | None = None


class Transport(Protocol):
    """A protocol. Each method makes one attempt in `timeout` seconds and raises `Failure` if it fails."""

    def predict(self, target: Target, signature: Signature, inputs: Mapping[str, np.ndarray], timeout: float) -> Reply:
        """The outputs of a signature."""

    def classify(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """`classes`, text [rows, classes], and `scores`, float32 [rows, classes]."""

    def regress(self, target: Target, examples: Examples, timeout: float) -> Reply:
        """`outputs`, float32 [rows]."""

    def metadata(self, target: Target, timeout: float) -> Metadata:
        """The version that would answer, and its signatures."""

    def status(self, target: Target, timeout: float) -> list[VersionStatus]:
        """The versions, newest first."""

    def close(self) -> None:
        """Ends all connections."""


def texts(array: np.ndarray, name: str) -> np.ndarray:
    """An output of strings as text, or as bytes if its name says so."""
    if array.dtype != object or name.endswith(BYTES_SUFFIX):
        return array
    made = np.empty(array.shape, object)
    made.ravel()[:] = [value.decode("utf-8", "surrogateescape") for value in array.ravel()]
    return made


def classification(rows: Sequence[Sequence[tuple[str, float]]]) -> dict[str, np.ndarray]:
    """Labels and scores of each row as arrays."""
    labels = np.empty((len(rows), len(rows[0]) if rows else 0), object)
    for index, row in enumerate(rows):
        labels[index] = [label for label, _ in row]
    return {"classes": labels, "scores": np.array([[score for _, score in row] for row in rows], np.float32)}
