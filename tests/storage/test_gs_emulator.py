"""The emulator that the tests of gs:// stand on: TensorFlow, fsspec and Beam agree about it, as they are shipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gs_clients
import pytest
from gs_emulator import GsEmulator, gs_emulator

CLIENTS = Path(gs_clients.__file__)


@pytest.fixture(scope="module")
def emulator() -> Iterator[GsEmulator]:
    with gs_emulator("bucket", "closed") as emulator:
        emulator.forbidden.add("closed")
        yield emulator


@pytest.fixture(scope="module")
def answers(emulator: GsEmulator) -> dict[str, list[Any]]:
    """One process for all clients: importing them takes longer than asking."""
    result = _run(emulator.environment(), str(CLIENTS), "gs://bucket/folder")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_tensorflow_keeps_files(answers: dict[str, list[Any]]) -> None:
    assert answers["tensorflow_files"] == ["hello", ["/c/b/moved"], True, False, 5, []]


def test_tensorflow_reads_compressed_records(answers: dict[str, list[Any]], emulator: GsEmulator) -> None:
    assert answers["tensorflow_records"] == [100, 1_000_000]
    assert len(emulator.store.read("gs://bucket/folder/records.gz")) > 900_000


def test_tensorflow_keeps_models(answers: dict[str, list[Any]]) -> None:
    assert answers["tensorflow_model"] == [6.0, 8.0, 2.0]


def test_fsspec_beam_and_tensorflow_see_the_same(answers: dict[str, list[Any]]) -> None:
    agree, read, listed, left = answers["fsspec_and_beam"]
    assert agree
    assert read == ["by Beam", "by fsspec", "by TensorFlow"]
    assert listed == ["/shared/beam", "/shared/fsspec", "/shared/tensorflow"]
    assert left == []


def test_tensorflow_is_told_what_it_may_not(answers: dict[str, list[Any]]) -> None:
    assert answers["refusals"] == ["NotFoundError", "PermissionDeniedError"]


def test_tensorflow_itself_asked(answers: dict[str, list[Any]], emulator: GsEmulator) -> None:
    """Through its own client and with a token that it fetched, not by a detour."""
    assert "POST /oauth2/v3/token" in emulator.requests
    assert any(request.startswith("PUT /upload/storage/v1/b/bucket/o") for request in emulator.requests)


def test_credentials_that_have_expired_are_refused(emulator: GsEmulator) -> None:
    client = "import tensorflow as tf; file = tf.io.gfile.GFile('gs://bucket/file', 'w'); file.write('a'); file.close()"
    result = _run(emulator.environment(refresh_token="expired"), "-c", client)
    assert result.returncode != 0
    assert "HTTP response code 401" in result.stderr


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
