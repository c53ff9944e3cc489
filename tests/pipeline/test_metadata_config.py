"""The `metadata:` section: what it takes, which files it names, and that a password is never in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.metadata_config import (
    MetadataConfig,
    MysqlMetadata,
    PostgresqlMetadata,
    SqliteMetadata,
    read_secret,
    with_absolute_files,
)
from schema.errors import MetadataError

SECTION: TypeAdapter[MetadataConfig] = TypeAdapter(MetadataConfig)
SERVER = {"host": "db", "database": "mlmd", "user": "headrace"}


def test_kind_chooses_the_database_and_its_port() -> None:
    assert SECTION.validate_python({"kind": "sqlite"}) == SqliteMetadata()
    postgresql = SECTION.validate_python({"kind": "postgresql", **SERVER})
    mysql = SECTION.validate_python({"kind": "mysql", **SERVER})
    assert isinstance(postgresql, PostgresqlMetadata)
    assert isinstance(mysql, MysqlMetadata)
    assert (postgresql.port, mysql.port) == (5432, 3306)
    assert postgresql.where == "headrace@db:5432/mlmd"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "oracle", **SERVER},
        {"kind": "sqlite", "host": "db"},
        {"kind": "postgresql", "host": "db"},
        {"kind": "postgresql", **SERVER, "password": "secret"},
        {"kind": "postgresql", **SERVER, "port": 0},
        {"kind": "postgresql", **SERVER, "tls": {"mode": "on"}},
        {"kind": "mysql", **SERVER, "database": ""},  # ML Metadata would abort the process
        {"kind": "mysql", **SERVER, "tls": {"mode": "require"}},
    ],
)
def test_what_the_section_does_not_know_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SECTION.validate_python(wrong)


def test_files_are_below_the_root_unless_they_are_absolute(tmp_path: Path) -> None:
    metadata = PostgresqlMetadata(
        kind="postgresql", **SERVER, password_file="secret", tls={"root_certificate": "ca.pem", "key": "/etc/key.pem"}
    )
    found = with_absolute_files(metadata, tmp_path)
    assert found.password_file == tmp_path / "secret"
    assert found.tls is not None
    assert (found.tls.root_certificate, found.tls.key) == (tmp_path / "ca.pem", Path("/etc/key.pem"))
    assert found.tls.certificate is None
    assert with_absolute_files(SqliteMetadata(), tmp_path) == SqliteMetadata()


def test_password_is_the_line_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(" it's mine \r\n")
    metadata = MysqlMetadata(kind="mysql", **SERVER, password_file=path)
    assert metadata.password() == " it's mine "
    assert "mine" not in metadata.model_dump_json() + repr(metadata)
    assert MysqlMetadata(kind="mysql", **SERVER).password() == ""


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_password_that_cannot_be_read_is_told_with_its_key(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MetadataError, match=r"metadata\.password_file: .*/password"):
        read_secret(path, "metadata.password_file")
