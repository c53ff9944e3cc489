"""ML Metadata in a real PostgreSQL: opened, refused, and used by forked processes at once."""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from postgres import PASSWORD, Postgres, running_postgres

from pipeline.config import find_config, load_config
from pipeline.metadata import open_store
from pipeline.metadata_config import PostgresqlTls, ServerMetadata
from pipeline.metadata_server import session
from pipeline.runners.claim import claim_root
from pipeline.runners.lock import shared_lock
from schema.errors import LockedError, MetadataError


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


def test_store_is_made_and_kept(postgres: Postgres, tmp_path: Path) -> None:
    metadata = postgres.database("kept")
    open_store(tmp_path, metadata).put_context_type(pb.ContextType(name="pipeline"))
    assert [each.name for each in open_store(tmp_path, metadata).get_context_types()] == ["pipeline"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_password_is_told_and_not_shown(
    postgres: Postgres, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("not the pass=word")
    metadata = postgres.metadata("postgres").model_copy(update={"password_file": wrong})
    with pytest.raises(MetadataError, match="refuses the user or the password"):
        open_store(tmp_path, metadata)
    assert "pass=word" not in "".join(capfd.readouterr())


def test_absent_database_is_told_and_not_made(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r'no such database.*"misspelt" does not exist'):
        open_store(tmp_path, postgres.metadata("misspelt"))
    assert postgres.execute("SELECT count(*) FROM pg_database WHERE datname = 'misspelt'").strip() == "0"


def test_server_without_tls_is_refused_where_tls_is_asked_for(postgres: Postgres, tmp_path: Path) -> None:
    metadata = postgres.metadata("postgres").model_copy(update={"tls": PostgresqlTls(mode="require")})
    with pytest.raises(MetadataError, match="do not agree on TLS"):
        open_store(tmp_path, metadata)


def test_database_of_another_version_is_told(postgres: Postgres, tmp_path: Path) -> None:
    metadata = postgres.database("newer")
    open_store(tmp_path, metadata)
    postgres.execute("UPDATE mlmdenv SET schema_version = 99", database="newer")
    with pytest.raises(MetadataError, match="version 99 is greater than library version") as caught:
        open_store(tmp_path, metadata)
    assert caught.value.where == metadata.where


def test_database_of_something_else_is_told(postgres: Postgres, tmp_path: Path) -> None:
    metadata = postgres.database("other")
    postgres.execute("CREATE TABLE type (x int)", database="other")
    with pytest.raises(MetadataError, match="cannot be opened"):
        open_store(tmp_path, metadata)


def test_what_is_asked_for_by_id_comes_in_order(postgres: Postgres, tmp_path: Path) -> None:
    """A row that was changed is the last one to PostgreSQL; TFX's cache relies on the order."""
    store = open_store(tmp_path, postgres.database("ordered"))
    kinds = [store.put_artifact_type(pb.ArtifactType(name=name)) for name in ("Examples", "Model", "Schema")]
    ids = store.put_artifacts([pb.Artifact(type_id=kind, uri=f"of {kind}") for kind in kinds])
    store.put_artifacts([pb.Artifact(id=ids[0], type_id=kinds[0], uri="changed")])
    for wanted in (ids, ids[::-1], [ids[1], ids[0]]):
        assert [each.id for each in store.get_artifacts_by_id(wanted)] == wanted
    repeated = [kinds[2], kinds[0], kinds[2]]
    assert [each.id for each in store.get_artifact_types_by_id(repeated)] == repeated
    assert store.get_artifacts_by_id([]) == []


@pytest.mark.parametrize(
    "text", ["back\\slash", "\\", '{"a": "\\"b\\""}', "\\', 1); DROP TABLE context; --", "it's", "é {\n}"]
)
def test_any_text_is_stored(postgres: Postgres, tmp_path: Path, text: str) -> None:
    """ML Metadata itself reads what follows a backslash as SQL."""
    store = open_store(tmp_path, postgres.database(f"text_{zlib.crc32(text.encode())}"))
    kind = store.put_context_type(pb.ContextType(name="run", properties={"known": pb.STRING}))
    context = pb.Context(type_id=kind, name=text)
    context.properties["known"].string_value = text
    context.custom_properties["free"].string_value = text
    sent = context.SerializeToString(deterministic=True)
    store.put_contexts([context])
    assert context.SerializeToString(deterministic=True) == sent
    [found] = store.get_contexts()
    assert found.properties["known"].string_value == found.custom_properties["free"].string_value == found.name == text
    assert store.get_context_by_type_and_name("run", text).id == found.id
    artifact = pb.Artifact(type_id=store.put_artifact_type(pb.ArtifactType(name="Model")), uri=text)
    store.put_artifacts([artifact])
    assert [each.uri for each in store.get_artifacts_by_uri(text)] == [text]


def test_forked_processes_write_at_once_and_leave_the_parents_connection_alone(
    postgres: Postgres, tmp_path: Path
) -> None:
    metadata = postgres.database("forked")
    store = open_store(tmp_path, metadata)
    kind = store.put_context_type(pb.ContextType(name="node"))
    children = []
    with shared_lock(metadata, "flights"):
        for child in range(8):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    own = open_store(tmp_path, metadata)
                    for number in range(10):
                        own.put_contexts([pb.Context(type_id=kind, name=f"{child}.{number}")])
                    code = 0
                finally:
                    os._exit(code)
            children.append(pid)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 8
        assert len(store.get_contexts()) == 80
        with pytest.raises(LockedError), shared_lock(metadata, "flights"):
            pass


def test_lock_admits_one_run_of_a_pipeline_and_tells_by_whom(postgres: Postgres) -> None:
    metadata = postgres.database("locked")
    with shared_lock(metadata, "flights"):
        with pytest.raises(LockedError, match=f"held by headrace on .*, process {os.getpid()}"):
            shared_lock(metadata, "flights").__enter__()
        with shared_lock(metadata, "houses"):
            pass
    with shared_lock(metadata, "flights"):
        pass


def test_lock_of_a_killed_process_is_free(postgres: Postgres) -> None:
    metadata = postgres.database("killed")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with shared_lock(metadata, "flights"):
                os.write(writing, b"locked")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(reading, 6) == b"locked"
    with pytest.raises(LockedError), shared_lock(metadata, "flights"):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    postgres.execute(  # the server notices by itself, and at once; it is not asked before
        "DO $$ BEGIN FOR i IN 1..500 LOOP EXIT WHEN NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'); "
        "PERFORM pg_sleep(0.02); END LOOP; END $$"
    )
    with shared_lock(metadata, "flights"):
        pass


def end_sessions_with_locks(postgres: Postgres) -> None:
    """As if the server had been started anew."""
    postgres.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'")


def test_a_lock_that_was_lost_is_noticed(postgres: Postgres) -> None:
    metadata = postgres.database("lost")
    with shared_lock(metadata, "flights") as confirm:
        confirm()
        end_sessions_with_locks(postgres)
        with shared_lock(metadata, "flights") as confirm_other:  # so another machine takes it, and runs
            for _ in range(2):
                with pytest.raises(LockedError, match="The lock was lost") as caught:
                    confirm()
            confirm_other()
    assert caught.value.where == metadata.where


def test_a_lock_that_the_session_gave_up_is_noticed(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a proxy had given the run another session at the server."""
    metadata, sessions = postgres.database("given_up"), []
    real = session

    @contextmanager
    def seen(metadata: ServerMetadata) -> Iterator[Any]:
        with real(metadata) as connection:
            sessions.append(connection)
            yield connection

    monkeypatch.setattr("pipeline.runners.lock.session", seen)
    with shared_lock(metadata, "flights") as confirm:
        sessions[0].execute("SELECT pg_advisory_unlock_all()")
        with pytest.raises(LockedError, match="no lock any more"):
            confirm()


def test_a_root_is_its_databases_however_that_is_reached(postgres: Postgres, tmp_path: Path) -> None:
    database, other = postgres.database("owner"), postgres.database("stranger")
    flights = load_config(find_config("flights")).model_copy(update={"root": f"memory://{tmp_path.name}/headrace"})
    claim_root(flights.model_copy(update={"metadata": database}))
    claim_root(flights.model_copy(update={"metadata": database.model_copy(update={"host": "localhost"})}))
    with pytest.raises(MetadataError, match="belongs to another metadata store"):
        claim_root(flights.model_copy(update={"metadata": other}))


def test_password_is_no_part_of_what_is_shown(postgres: Postgres) -> None:
    metadata = postgres.metadata("postgres")
    assert PASSWORD not in repr(metadata) + metadata.model_dump_json() + metadata.where
