"""From the `metadata:` section to ML Metadata's ConnectionConfig; what stands in the way is told."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from psycopg.conninfo import conninfo_to_dict

from pipeline.gates.verdict import GateName, Outcome, Verdict
from pipeline.metadata import METADATA_FILE, History, connection_config, open_store, quoted
from pipeline.metadata_config import MysqlMetadata, PostgresqlMetadata, SqliteMetadata
from schema.errors import MetadataError
from storage.places import at

SERVER = {"host": "db", "database": "mlmd", "user": "headrace"}


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return path


def test_sqlite_is_a_file_in_the_folder(tmp_path: Path) -> None:
    config = connection_config(SqliteMetadata(), tmp_path / "flights")
    assert config.sqlite.filename_uri == str(tmp_path / "flights" / METADATA_FILE)
    assert open_store(tmp_path / "flights").get_contexts() == []


def test_postgresql_gets_every_option(tmp_path: Path, password_file: Path) -> None:
    tls = {"root_certificate": "/ca", "certificate": "/cert", "key": "/key", "key_password_file": password_file}
    metadata = PostgresqlMetadata(kind="postgresql", **SERVER, port=5433, password_file=password_file, tls=tls)
    config = connection_config(metadata, tmp_path).postgresql
    assert (config.host, config.port, config.dbname, config.user) == ("'db'", "5433", "'mlmd'", "'headrace'")
    assert config.password == "'s3cret'"
    assert config.skip_db_creation
    expected = pb.PostgreSQLDatabaseConfig.SSLOptions(
        sslmode="'verify-full'", sslrootcert="'/ca'", sslcert="'/cert'", sslkey="'/key'", sslpassword="'s3cret'"
    )
    assert config.ssloption == expected
    plain = connection_config(PostgresqlMetadata(kind="postgresql", **SERVER), tmp_path).postgresql
    assert not plain.HasField("password")
    assert not plain.HasField("ssloption")


def test_mysql_gets_every_option(tmp_path: Path, password_file: Path) -> None:
    tls = {
        "root_certificate": "/ca",
        "root_certificates": "/certs",
        "certificate": "/cert",
        "key": "/key",
        "cipher": "AES",
        "verify_server": False,
    }
    metadata = MysqlMetadata(kind="mysql", **SERVER, password_file=password_file, tls=tls)
    expected = pb.MySQLDatabaseConfig(
        host="db", port=3306, database="mlmd", user="headrace", password="s3cret", skip_db_creation=True
    )
    options = pb.MySQLDatabaseConfig.SSLOptions(
        ca="/ca", capath="/certs", cert="/cert", key="/key", cipher="AES", verify_server_cert=False
    )
    expected.ssl_options.CopyFrom(options)
    assert connection_config(metadata, tmp_path).mysql == expected
    assert not connection_config(MysqlMetadata(kind="mysql", **SERVER), tmp_path).mysql.HasField("ssl_options")


@pytest.mark.parametrize("value", ["plain", "it's", r"back\slash", "a b=c", r"\'", "' host='evil", "", "é"])
def test_a_value_stays_one_value_in_libpqs_connection_string(value: str) -> None:
    assert conninfo_to_dict(f"host=db password={quoted(value)}") == {"host": "db", "password": value}


def servers(port: int, password_file: Path) -> list[PostgresqlMetadata | MysqlMetadata]:
    place = {**SERVER, "host": "127.0.0.1", "port": port, "password_file": password_file}
    return [PostgresqlMetadata(kind="postgresql", **place), MysqlMetadata(kind="mysql", **place)]


@pytest.mark.parametrize("which", [0, 1])
def test_a_server_that_is_not_there_is_told(
    tmp_path: Path, password_file: Path, which: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        metadata = servers(taken.getsockname()[1], password_file)[which]
        with pytest.raises(MetadataError, match="cannot be reached") as caught:
            open_store(tmp_path, metadata)
    assert caught.value.where == metadata.where
    assert "refused" in str(caught.value)
    assert "s3cret" not in str(caught.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(("which", "package"), [(0, "psycopg"), (1, "pymysql")])
def test_a_driver_that_is_not_installed_is_told(
    tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch, which: int, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    metadata = servers(1, password_file)[which]
    with pytest.raises(MetadataError, match=rf"pip install 'headrace\[{metadata.kind}\]'"):
        open_store(tmp_path, metadata)


def test_a_certificate_that_is_not_there_is_told(tmp_path: Path) -> None:
    metadata = MysqlMetadata(
        kind="mysql", **{**SERVER, "host": "127.0.0.1"}, port=1, tls={"root_certificate": tmp_path / "ca.pem"}
    )
    with pytest.raises(MetadataError, match=r"No such file"):
        open_store(tmp_path, metadata)


def test_verdicts_are_read_from_where_artifacts_are(tmp_path: Path) -> None:
    """Also from a store that is no folder of this machine."""
    store = open_store(tmp_path)
    run = pb.Context(type_id=store.put_context_type(pb.ContextType(name="pipeline_run")), name="1")
    node = pb.Context(type_id=store.put_context_type(pb.ContextType(name="node")), name="flights.DataGate")
    uri = "memory://verdicts/DataGate/verdict/1"
    at(uri).mkdir(parents=True)
    verdict = Verdict(gate=GateName.DATA, outcome=Outcome.PASSED, summary="fine", findings=())
    verdict.save(at(uri))
    artifact = pb.Artifact(type_id=store.put_artifact_type(pb.ArtifactType(name="GateVerdict")), uri=uri)
    event = pb.Event(type=pb.Event.OUTPUT)
    event.path.steps.add().key = "verdict"
    kind = store.put_execution_type(pb.ExecutionType(name="DataGate"))
    execution = pb.Execution(type_id=kind, last_known_state=pb.Execution.COMPLETE)
    store.put_execution(execution, [(artifact, event)], [run, node], True)
    assert History(store, "flights").verdicts_of_run("1") == [verdict]
