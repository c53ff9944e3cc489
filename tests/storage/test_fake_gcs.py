"""The server of Cloud Storage's protocol that the tests use."""

from __future__ import annotations

import http.server
import threading

import fake_gcs
import pytest


def test_another_port_is_tried_if_somebody_took_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends as soon as it finds its port taken."""
    real, ports = fake_gcs._run, []

    def run(port: int) -> object:
        ports.append(taken.server_port if not ports else port)
        return real(ports[-1])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as taken:
        serving = threading.Thread(target=taken.serve_forever, args=(0.01,))
        serving.start()
        try:
            monkeypatch.setattr(fake_gcs, "_run", run)
            with fake_gcs.object_store("bucket") as store:
                store.write("gs://bucket/a", b"1")
                assert store.names("bucket") == ["a"]
        finally:
            taken.shutdown()
            serving.join()
    assert len(ports) == 2
