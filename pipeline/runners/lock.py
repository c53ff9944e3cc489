"""One run at a time on one pipeline's metadata, and a clean start after a run that was killed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from upath import UPath

from pipeline.metadata import History
from pipeline.metadata_config import MetadataConfig, MysqlMetadata, ServerMetadata, SqliteMetadata
from pipeline.metadata_server import session
from pipeline.runners.report import OTHERS_RUN
from schema.errors import LockedError
from storage.folders import remove_folder

_LOCK_FILE = "lock"


@contextmanager
def run_lock(home: Path) -> Iterator[None]:
    """Holds the pipeline for one run on this machine. The kernel frees the lock when the process ends, however it ends.

    Raises:
        LockedError: Another run holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    handle = os.open(home / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(home) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "since": time.time()}).encode(), 0)
        os.set_inheritable(handle, False)
        yield
    finally:
        os.close(handle)


def _locked(home: Path) -> LockedError:
    try:
        holder = json.loads((home / _LOCK_FILE).read_text())
        who = f"process {holder['pid']}, since {time.strftime('%H:%M:%S', time.localtime(holder['since']))}"
    except (ValueError, KeyError, OSError):
        who = "another process"
    return LockedError(
        "Another run of this pipeline is under way",
        where=str(home),
        received=f"held by {who}",
        mend="Wait for it to end, or stop it, and run the same command again.",
    )


@contextmanager
def shared_lock(metadata: MetadataConfig, pipeline: str) -> Iterator[Callable[[], None]]:
    """Holds the pipeline for one run among all machines that share its metadata; nothing to do if it is SQLite.

    The lock belongs to a session at the database: the server frees it when the session ends, however it ends
    (PostgreSQL notices within a minute and a half that a machine is gone; MySQL when its own TCP keepalive does). It
    may end while the run goes on: the server is started anew, or the network is cut.

    Args:
        metadata: Which database.
        pipeline: The pipeline's name.

    Yields:
        Raises `LockedError` if the lock was lost. Not to be called in a forked process: it uses the session.

    Raises:
        LockedError: A run on another machine holds it.
        MetadataError: The server cannot be reached or refuses.
    """
    if isinstance(metadata, SqliteMetadata):
        yield lambda: None
        return
    name = f"headrace/{metadata.database}/{pipeline}"
    with session(metadata) as connection, closing(connection.cursor()) as cursor:
        lock = _lock_mysql if isinstance(metadata, MysqlMetadata) else _lock_postgresql
        holder = lock(cursor, name)
        if holder is not None:
            raise LockedError(
                "Another run of this pipeline is under way",
                where=metadata.where,
                received=f"held by {holder}",
                mend="Wait for it to end, or stop it there, and run the same command again.",
            )
        yield lambda: _confirm(metadata, cursor, name)


def _confirm(metadata: ServerMetadata, cursor: Any, name: str) -> None:
    """Asks the session for its own lock.

    Raises:
        LockedError: The session has ended, or has lost the lock.
    """
    is_held = _holds_mysql if isinstance(metadata, MysqlMetadata) else _holds_postgresql
    try:
        if is_held(cursor, name):
            return
        received = "the session has no lock any more"
    except Exception as error:  # each driver has its own classes
        received = " ".join(str(error).split())[:300]
    raise LockedError(
        "The lock was lost: another machine may be running this pipeline by now",
        where=metadata.where,
        received=received,
        mend="Run the same command again; finished nodes are kept.",
    )


def _lock_postgresql(cursor: Any, name: str) -> str | None:
    """Takes the advisory lock of a name for this session; who has it otherwise.

    Source: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
    """
    for setting, value in _SESSION_SETTINGS.items():
        cursor.execute("SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s", (value, setting))
    cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
    if cursor.fetchone()[0]:
        return None
    cursor.execute(_POSTGRESQL_HOLDER, (name,))
    found = cursor.fetchone()
    return found[0] if found and found[0] else "another session"


def _holds_postgresql(cursor: Any, name: str) -> bool:
    cursor.execute(_POSTGRESQL_HOLDER, (name,))
    found = cursor.fetchone()
    return found is not None and bool(found[1])


def _lock_mysql(cursor: Any, name: str) -> str | None:
    """Takes the user-level lock of a name for this session; who has it otherwise.

    Source: https://dev.mysql.com/doc/refman/8.0/en/locking-functions.html
    """
    name = _mysql_name(name)
    cursor.execute("SET SESSION wait_timeout = %s", (_YEAR_SECONDS,))
    cursor.execute("SELECT GET_LOCK(%s, 0)", (name,))
    if cursor.fetchone()[0]:
        return None
    cursor.execute("SELECT host FROM information_schema.processlist WHERE id = IS_USED_LOCK(%s)", (name,))
    found = cursor.fetchone()
    return found[0] if found else "another session"


def _holds_mysql(cursor: Any, name: str) -> bool:
    cursor.execute("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", (_mysql_name(name),))
    return bool(cursor.fetchone()[0])


def _mysql_name(name: str) -> str:
    """A lock's name has at most 64 characters."""
    return hashlib.sha256(name.encode()).hexdigest()


_SESSION_SETTINGS = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "6",
    "idle_session_timeout": "0",
}
"""A server of an older version may lack one."""

_POSTGRESQL_HOLDER = """
SELECT application_name, pid = pg_backend_pid() FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(%s, 0)
"""
"""Who has the lock, and whether it is this session."""
_YEAR_SECONDS = 31_536_000


def recover(history: History, artifacts: UPath) -> list[str]:
    """Closes what a killed run left open, on whichever machine; its half-written outputs go.

    Call it under both locks only: else it would close what another machine is doing. What another orchestrator runs is
    left to it.

    Args:
        history: Of the pipeline.
        artifacts: The pipeline root, as TFX calls it.

    Returns:
        The nodes that had been interrupted.
    """
    unfinished = [each for each in history.unfinished() if not history.run_of(each.id).startswith(OTHERS_RUN)]
    nodes = [history.node_of(execution.id) for execution in unfinished]
    for node, execution in zip(nodes, unfinished, strict=True):
        for pattern in (f"*/{execution.id}", f".system/*/{execution.id}"):
            for remains in (artifacts / node).glob(pattern):
                with suppress(OSError):
                    remove_folder(remains)
    history.cancel(unfinished)
    return nodes
