"""Cloud Storage on this machine, for every client that a pipeline has: TensorFlow's C++ file system, fsspec, Beam.

fake-gcs-server keeps the objects. Python's clients find it by STORAGE_EMULATOR_HOST; TensorFlow knows only
https://www.googleapis.com and https://storage.googleapis.com, but goes there with libcurl, which honours `https_proxy`
and, told by TensorFlow, CURL_CA_BUNDLE. So a gateway stands before the store: a proxy that ends the encryption with a
certificate of its own. TensorFlow runs as it is shipped; only a child process's environment differs.

On the way the gateway mends what the store does not understand: TensorFlow's uploads say `Transfer-Encoding: identity`,
or have both a length and chunks; Google's Python client numbers no parts of a batch; the store's upload sessions are at
http; it knows no storageLayout, for which TensorFlow 2.21 asks before it renames. And it refuses what the real service
would: a request without a valid token, a bucket that is closed to it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_gcs import ObjectStore, object_store

_HOSTS = ("www.googleapis.com", "storage.googleapis.com", "oauth2.googleapis.com")
_TOKEN = "token-of-the-emulator"
_USER = {"type": "authorized_user", "client_id": "tests", "client_secret": "none", "quota_project_id": "local"}
_NOT_PASSED_ON = ("transfer-encoding", "content-length", "connection", "expect")


@dataclass
class GsEmulator:
    """A running one."""

    store: ObjectStore
    folder: Path
    port: int
    forbidden: set[str] = field(default_factory=set)
    """Buckets that the credentials are not good for."""
    requests: list[str] = field(default_factory=list)
    """What TensorFlow asked: method and path."""

    def environment(self, refresh_token: str = "valid") -> dict[str, str]:
        """What makes all clients of a child process use this emulator.

        Args:
            refresh_token: Of the user whose credentials they find; any other than the default is refused.
        """
        credentials = self.folder / f"{refresh_token}.json"
        credentials.write_text(json.dumps({**_USER, "refresh_token": refresh_token}))
        return {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{self.port}",
            "https_proxy": f"http://127.0.0.1:{self.port}",
            "CURL_CA_BUNDLE": str(self.folder / "certificate.pem"),
            "REQUESTS_CA_BUNDLE": str(self.folder / "certificate.pem"),
            "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
            "NO_GCE_CHECK": "true",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "2",
            "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "10000",
        }


@contextlib.contextmanager
def gs_emulator(*buckets: str) -> Iterator[GsEmulator]:
    """Runs until the end of the block, with these buckets; this process's environment stays as it is."""
    with object_store(*buckets) as store, tempfile.TemporaryDirectory(prefix="gs-emulator-") as name:
        folder = Path(name)
        _write_certificate(folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
        server.daemon_threads = True
        emulator = GsEmulator(store, folder, server.server_port)
        _Gateway.of[server.server_port] = emulator
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield emulator
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            del _Gateway.of[server.server_port]


class _Gateway(BaseHTTPRequestHandler):
    """One connection: plain, or after CONNECT an encrypted one inside it."""

    of: dict[int, GsEmulator] = {}
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """Or each answer would wait 40 ms for an acknowledgement."""

    @property
    def emulator(self) -> GsEmulator:
        return self.of[self.server.server_port]

    @property
    def is_encrypted(self) -> bool:
        return isinstance(self.request, ssl.SSLSocket)

    def do_CONNECT(self) -> None:
        if self.path.rpartition(":")[0] not in _HOSTS:
            self.send_error(403, "Only Google's storage is emulated")
            return
        self.send_response_only(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.emulator.folder / "certificate.pem", self.emulator.folder / "key.pem")
        try:
            self.request = context.wrap_socket(self.request, server_side=True)
        except OSError:  # the client thought better of it
            self.close_connection = True
            return
        self.setup()
        self.close_connection = False

    def do_any(self) -> None:
        body = self._body()
        if self.is_encrypted:
            self.emulator.requests.append(f"{self.command} {self.path}")
        refused = self._refusal()
        if self.path.split("?")[0].endswith("/token"):
            self._give_token(body)
        elif refused is not None:
            self._answer_error(*refused)
        elif self.path.split("?")[0].endswith("/storageLayout"):
            self._answer(200, b'{"kind": "storage#storageLayout", "hierarchicalNamespace": {"enabled": false}}')
        else:
            self._pass_on(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any

    def log_message(self, format: str, *arguments: object) -> None:
        """Silent."""

    def _body(self) -> bytes:
        """Chunks if there are any: a length beside them may be wrong."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _refusal(self) -> tuple[int, str] | None:
        if self.headers.get("Authorization") != f"Bearer {_TOKEN}":
            return 401, "Anonymous caller does not have storage.objects.get access to the Google Cloud Storage object."
        parts = urllib.parse.unquote(self.path.split("?")[0]).split("/")
        bucket = parts[parts.index("b") + 1] if "b" in parts[:-1] else parts[1]
        if bucket in self.emulator.forbidden:
            return 403, "tests@local does not have storage.objects.get access to the Google Cloud Storage object."
        return None

    def _give_token(self, body: bytes) -> None:
        """As OAuth's server: https://www.rfc-editor.org/rfc/rfc6749#section-6."""
        if dict(urllib.parse.parse_qsl(body.decode())).get("refresh_token") == "valid":
            self._answer(200, json.dumps({"access_token": _TOKEN, "expires_in": 3600, "token_type": "Bearer"}).encode())
        else:
            error = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            self._answer(400, json.dumps(error).encode())

    def _pass_on(self, body: bytes) -> None:
        if self.path.startswith("/batch/"):
            part = b"Content-Type: application/http\n"
            body = body.replace(part, part + b"Content-ID: <1>\n")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.emulator.store.url).netloc)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
            response = connection.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _NOT_PASSED_ON}
            if self.is_encrypted and "Location" in kept:
                kept["Location"] = kept["Location"].replace("http://", "https://")
            self._answer(response.status, response.read(), kept)

    def _answer_error(self, status: int, message: str) -> None:
        self._answer(status, json.dumps({"error": {"code": status, "message": message}}).encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _write_certificate(folder: Path) -> None:
    """For Google's hosts, by nobody that anybody trusts, for a day."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulator")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in _HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
