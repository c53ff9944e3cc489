"""A session of our own at the server that keeps the metadata: for the run's lock, and to tell why it refuses.

ML Metadata has no locks, and does not hand on what a server answers. The drivers are extras of the package:
`headrace[postgresql]` and `headrace[mysql]`.
"""

from __future__ import annotations

import importlib
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from pipeline.metadata_config import (
    MysqlMetadata,
    MysqlTls,
    PostgresqlMetadata,
    PostgresqlTls,
    ServerMetadata,
    read_secret,
)
from schema.errors import MetadataError

_PATIENCE_SECONDS = 10
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
"""A machine that is gone is noticed within a minute and a half, and idle sessions are not forgotten on the way."""

_SILENCE_SECONDS = 90
"""How long an answer may take. The kernel would send a question again for a quarter of an hour."""


@contextmanager
def session(metadata: ServerMetadata) -> Iterator[Any]:
    """A DB-API connection in which every statement is its own transaction.

    Raises:
        MetadataError: The server cannot be reached or refuses, or the driver is not installed.
    """
    password = metadata.password()
    driver = _driver("psycopg" if isinstance(metadata, PostgresqlMetadata) else "pymysql", metadata.kind)
    try:
        arguments = (
            _postgresql_arguments(metadata) if isinstance(metadata, PostgresqlMetadata) else _mysql_arguments(metadata)
        )
        connection = driver.connect(**arguments, password=password, autocommit=True)
    except (driver.Error, OSError) as error:  # of the server; of a file with a certificate
        raise _explain(error, metadata) from None
    with closing(connection):
        yield connection


def postgresql_tls(tls: PostgresqlTls | None) -> dict[str, str]:
    """The TLS options in libpq's words; without one for what is not configured.

    Raises:
        MetadataError: A file with a password cannot be read.
    """
    if tls is None:
        return {}
    named = {
        "sslmode": tls.mode,
        "sslrootcert": tls.root_certificate,
        "sslcert": tls.certificate,
        "sslkey": tls.key,
        "sslpassword": read_secret(tls.key_password_file, "metadata.tls.key_password_file"),
    }
    return {name: str(value) for name, value in named.items() if value}


def _postgresql_arguments(metadata: PostgresqlMetadata) -> dict[str, Any]:
    return {
        "host": metadata.host,
        "port": metadata.port,
        "dbname": metadata.database,
        "user": metadata.user,
        "connect_timeout": _PATIENCE_SECONDS,
        "application_name": f"headrace on {socket.gethostname()[:30]}, process {os.getpid()}",
        **_KEEPALIVE,
        "tcp_user_timeout": _SILENCE_SECONDS * 1000,
        **postgresql_tls(metadata.tls),
    }


def _mysql_arguments(metadata: MysqlMetadata) -> dict[str, Any]:
    return {
        "host": metadata.host,
        "port": metadata.port,
        "database": metadata.database,
        "user": metadata.user,
        "connect_timeout": _PATIENCE_SECONDS,
        "read_timeout": _SILENCE_SECONDS,
        "write_timeout": _SILENCE_SECONDS,
        "program_name": "headrace",
        **_mysql_tls(metadata.tls),
    }


def _mysql_tls(tls: MysqlTls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    context = ssl.create_default_context(cafile=tls.root_certificate, capath=tls.root_certificates)
    context.check_hostname = tls.verify_server
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify_server else ssl.CERT_NONE
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    if tls.cipher is not None:
        context.set_ciphers(tls.cipher)
    return {"ssl": context}


def _driver(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MetadataError(
            f"The driver for {extra} is not installed",
            where=f"metadata.kind: {extra}",
            expected=f"the package {module}",
            mend=f"Install it: pip install 'headrace[{extra}]'.",
        ) from None


def _explain(error: Exception, metadata: ServerMetadata) -> MetadataError:
    received = " ".join(str(error).split())[:300]
    what, mend = next(
        ((what, mend) for words, what, mend in _REFUSALS if any(word in received for word in words)), _UNREACHABLE
    )
    return MetadataError(what, where=metadata.where, received=received, mend=mend)


_REFUSALS = (
    (
        ("does not exist", "Unknown database", "to database"),
        "The metadata server has no such database for this user",
        "Let the server's administrator create it and grant it, or correct metadata.database and metadata.user.",
    ),
    (
        ("authentication failed", "Access denied", "no password supplied", "authentication plugin", "pg_hba.conf"),
        "The metadata server refuses the user or the password",
        "Correct metadata.user, or what the file of metadata.password_file holds.",
    ),
    (
        ("SSL", "certificate"),
        "The metadata server and this machine do not agree on TLS",
        "Correct metadata.tls, or the server's certificate.",
    ),
)
_UNREACHABLE = (
    "The metadata server cannot be reached",
    "Start it, or correct metadata.host and metadata.port; a firewall may be in between.",
)
