"""TFX's handle on SQLite's metadata: one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.metadata import connection_config, open_store
from pipeline.metadata_config import SqliteMetadata
from pipeline.runners.tfx_metadata import Metadata


def handle_on(home: Path) -> Metadata:
    return Metadata(connection_config(SqliteMetadata(), home))


@pytest.fixture
def home(tmp_path) -> Path:
    open_store(tmp_path)
    return tmp_path


def test_another_waits_until_the_first_has_ended(home) -> None:
    order = []

    def other() -> None:
        with handle_on(home):
            order.append("other")

    thread = threading.Thread(target=other)
    with handle_on(home) as first:
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        first.store.put_execution_type(pb.ExecutionType(name="Node"))
        order.append("first")
    thread.join(30)
    assert order == ["first", "other"]


def test_one_handle_may_be_entered_again(home) -> None:
    handle, entered = handle_on(home), threading.Event()

    def other() -> None:
        with handle_on(home):
            entered.set()

    thread = threading.Thread(target=other)
    with handle as outer:
        with handle as inner:
            assert inner.store is outer.store
        thread.start()
        assert not entered.wait(0.3)  # the inner end is no end
    assert entered.wait(30)
    thread.join()


def test_a_store_that_does_not_open_keeps_nobody_waiting(tmp_path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"this is no SQLite file, by any means" * 100)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not a database"), handle_on(tmp_path):
            pytest.fail("it is no database")
