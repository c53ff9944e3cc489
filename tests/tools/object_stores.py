"""Object stores to push to: in memory, and servers that speak the protocols of Cloud Storage and of S3."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.request import Request, urlopen
from uuid import uuid4

import fsspec
from fake_gcs import object_store
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from storage.leases import Claim
from storage.places import at, files_below

CHANGES = ("put_file", "pipe_file", "cp_file", "rm_file")
"""The methods with which fsspec changes a store."""


class Killed(BaseException):
    """As if the process ended here."""


@contextmanager
def memory() -> Iterator[UPath]:
    """A folder in fsspec's own store in memory."""
    place = at(f"memory://{uuid4().hex}/models")
    try:
        yield place
    finally:
        MemoryFileSystem.store = {
            name: file for name, file in MemoryFileSystem.store.items() if not name.startswith(place.parent.path)
        }


@contextmanager
def google(bucket: str = "bucket") -> Iterator[UPath]:
    """A bucket of a real server of Cloud Storage's protocol, which needs no credentials."""
    with object_store(bucket) as store, _environment({**store.environment, "NO_GCE_CHECK": "true"}):
        yield at(f"gs://{bucket}/models")


@contextmanager
def amazon(bucket: str, enforces: bool = False) -> Iterator[UPath]:
    """A bucket of moto's server of S3's protocol.

    Args:
        bucket: Its name; another one each time, as all servers of a process have the same buckets.
        enforces: Whether the server refuses credentials that it does not know, which these are.
    """
    from moto.server import ThreadedMotoServer  # takes a second

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with _environment(
            {
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "AWS_ACCESS_KEY_ID": "an-id",
                "AWS_SECRET_ACCESS_KEY": "a-secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        ):
            place = at(f"s3://{bucket}/models")
            place.fs.mkdir(bucket)
            if enforces:
                _post(f"http://{host}:{port}/moto-api/reset-auth", b"0")
            yield place
            if enforces:
                _post(f"http://{host}:{port}/moto-api/reset-auth", b"inf")
    finally:
        server.stop()


@contextmanager
def google_that_answers(status: int, message: str) -> Iterator[None]:
    """A server that answers every request of Cloud Storage's clients with an error."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps({"error": {"code": status, "message": message}}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *words: object) -> None:
            """Keeps quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with _environment({"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}", "NO_GCE_CHECK": "true"}):
            yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def watched(after: Callable[[int], None]) -> Iterator[None]:
    """Calls a function with the number of each change to the store in memory, from 1, once it is made.

    The changes of a lock do not count.
    """
    count = 0

    def spy(real: Callable[..., object]) -> Callable[..., object]:
        def change(store: object, *arguments: object, **options: object) -> object:
            nonlocal count
            done = real(store, *arguments, **options)
            if not any(".push.lock" in str(argument) for argument in arguments):
                count += 1
                after(count)
            return done

        return change

    with mock.patch.multiple(MemoryFileSystem, **{name: spy(getattr(MemoryFileSystem, name)) for name in CHANGES}):
        yield


@contextmanager
def killed_before(number: int) -> Iterator[None]:
    """The change to the store in memory with this number, from 1, is not made, nor any after it."""
    count = 0

    def spy(real: Callable[..., object]) -> Callable[..., object]:
        def change(store: object, *arguments: object, **options: object) -> object:
            nonlocal count
            count += not any(".push.lock" in str(argument) for argument in arguments)
            if count >= number:
                raise Killed
            return real(store, *arguments, **options)

        return change

    with mock.patch.multiple(MemoryFileSystem, **{name: spy(getattr(MemoryFileSystem, name)) for name in CHANGES}):
        yield


def let_expire(base_path: UPath) -> None:
    """As if enough time had passed since the holder of the lock was killed."""
    for place in files_below(base_path / ".push.lock").values():
        claim = Claim.model_validate_json(place.read_bytes())
        place.write_bytes(claim.model_copy(update={"until": 1.0}).model_dump_json().encode())


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Clients made before or after do not see these variables."""
    _forget_clients()
    with mock.patch.dict(os.environ, variables):
        yield
    _forget_clients()


def _forget_clients() -> None:
    for protocol in ("gs", "s3"):
        fsspec.get_filesystem_class(protocol).clear_instance_cache()


def _post(url: str, body: bytes) -> None:
    with urlopen(Request(url, data=body, headers={"Content-Type": "text/plain"}, method="POST"), timeout=10):
        pass
