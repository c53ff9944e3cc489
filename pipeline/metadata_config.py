"""The `metadata:` section of a pipeline's YAML: which database ML Metadata keeps its records in.

The TLS options are those that ML Metadata's ConnectionConfig has (ml_metadata/proto/metadata_store.proto).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from schema.errors import MetadataError
from schema.strict import Strict

Name = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]


class SqliteMetadata(Strict):
    """A file in the pipeline's folder: for one machine."""

    kind: Literal["sqlite"] = "sqlite"


class PostgresqlTls(Strict):
    """TLS to PostgreSQL, in libpq's words.

    Source: https://www.postgresql.org/docs/current/libpq-ssl.html
    """

    mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "verify-full"
    root_certificate: Path | None = None
    """Of the authority that signed the server's certificate; None: libpq's own place, ~/.postgresql/root.crt."""
    certificate: Path | None = None
    """This client's, if the server asks for one."""
    key: Path | None = None
    """Of `certificate`."""
    key_password_file: Path | None = None
    """A file whose content is the password of `key`."""


class MysqlTls(Strict):
    """TLS to MySQL, in the words of its C client.

    Source: https://dev.mysql.com/doc/c-api/8.0/en/mysql-ssl-set.html
    """

    root_certificate: Path | None = None
    """Of the authority that signed the server's certificate."""
    root_certificates: Path | None = None
    """A folder of such files."""
    certificate: Path | None = None
    """This client's, if the server asks for one."""
    key: Path | None = None
    """Of `certificate`."""
    cipher: Name | None = None
    verify_server: bool = True
    """Whether the server's certificate has to be of its host."""


class Server(Strict):
    """What all databases that are reached over a network have in common.

    The database has to exist: a name that is misspelt must not begin an empty history. Its tables are made by the first
    that opens it.
    """

    host: Name
    database: Name
    user: Name
    port: Port
    password_file: Path | None = None
    """A file whose content is the user's password; None: the server asks for none."""

    @property
    def where(self) -> str:
        """The database in one line, without the password."""
        return f"{self.user}@{self.host}:{self.port}/{self.database}"

    def password(self) -> str:
        """The content of `password_file`; empty if none is named.

        Raises:
            MetadataError: The file cannot be read.
        """
        return read_secret(self.password_file, "metadata.password_file")


class PostgresqlMetadata(Server):
    """A PostgreSQL database, version 11 or newer.

    The lock of a run belongs to its session (see `pipeline.runners.lock`), so between here and the server there must
    be no pooler that shares a session among clients, such as PgBouncer in any mode but `session`.
    """

    kind: Literal["postgresql"]
    port: Port = 5432
    tls: PostgresqlTls | None = None
    """None: encrypted if the server can, unverified (libpq's `prefer`)."""


class MysqlMetadata(Server):
    """A MySQL 5.7 or 8 or MariaDB database.

    ML Metadata's client knows the authentication `mysql_native_password` only: MySQL 8 has to be told so for its user.
    """

    kind: Literal["mysql"]
    port: Port = 3306
    tls: MysqlTls | None = None


ServerMetadata = PostgresqlMetadata | MysqlMetadata
MetadataConfig = Annotated[SqliteMetadata | PostgresqlMetadata | MysqlMetadata, Field(discriminator="kind")]
Section = TypeVar("Section", bound=Strict)


def with_absolute_files(section: Section, root: Path) -> Section:
    """The same section with every file that it names below `root`, unless it is absolute already."""
    changed: dict[str, Path | Strict] = {}
    for name, value in section:
        if isinstance(value, Path):
            changed[name] = root / value
        elif isinstance(value, Strict):
            changed[name] = with_absolute_files(value, root)
    return section.model_copy(update=changed)


def read_secret(path: Path | None, key: str) -> str:
    """What a file with a secret holds, without the end of its line; empty if no file is named.

    Args:
        path: The file.
        key: The key of the configuration that names it.

    Raises:
        MetadataError: The file cannot be read, or is empty.
    """
    if path is None:
        return ""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise MetadataError(
            "A file with a password cannot be read",
            where=f"{key}: {path}",
            expected="a file that this user can read, whose content is the password",
            received=reason,
        ) from None
    if not secret:
        raise MetadataError(
            "A file with a password is empty", where=f"{key}: {path}", mend=f"Write it, or leave {key} out."
        )
    return secret
