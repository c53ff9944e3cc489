"""Reads ML Metadata: runs, executions, verdicts, pushed models. Imports neither TFX nor TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.gates.verdict import GateName, Verdict
from pipeline.metadata_config import MetadataConfig, MysqlMetadata, PostgresqlMetadata, SqliteMetadata
from pipeline.metadata_postgresql import PostgresqlStore
from pipeline.metadata_server import postgresql_tls, session
from schema.errors import MetadataError
from storage.places import at

METADATA_FILE = "metadata.db"
_SQLITE = SqliteMetadata()
VERDICT_TYPE = "headrace.GateVerdict"
FINISHED = (pb.Execution.COMPLETE, pb.Execution.CACHED)
_RUN = "pipeline_run"
_NODE = "node"


def connection_config(metadata: MetadataConfig, home: Path) -> pb.ConnectionConfig:
    """How ML Metadata reaches a pipeline's records: the one answer for our readers and for TFX.

    It holds the password: it must not be printed or written.

    Args:
        metadata: Which database.
        home: The pipeline's folder, where SQLite's file is; made if need be.

    Raises:
        MetadataError: A file with a password cannot be read.
    """
    config = pb.ConnectionConfig()
    if isinstance(metadata, PostgresqlMetadata):
        _set_postgresql(config.postgresql, metadata)
    elif isinstance(metadata, MysqlMetadata):
        _set_mysql(config.mysql, metadata)
    else:
        home.mkdir(parents=True, exist_ok=True)
        config.sqlite.filename_uri = str(home / METADATA_FILE)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def connect(config: pb.ConnectionConfig) -> mlmd.MetadataStore:
    """A store of ML Metadata itself, mended where it has to be.

    Raises:
        Exception: ML Metadata's own, of whatever class.
    """
    return PostgresqlStore(config) if config.HasField("postgresql") else mlmd.MetadataStore(config)


def open_store(home: Path, metadata: MetadataConfig = _SQLITE) -> mlmd.MetadataStore:
    """Opens a pipeline's metadata, making its tables if need be.

    Args:
        home: The pipeline's folder.
        metadata: Which database.

    Raises:
        MetadataError: The database cannot be reached or opened, or is not an ML Metadata store.
    """
    config = connection_config(metadata, home)
    try:
        return connect(config)
    except Exception as error:  # MLMD raises a different class for each status code
        received = " ".join(str(error).split())[:300]
    if not isinstance(metadata, SqliteMetadata):
        with session(metadata):  # ML Metadata writes the server's answer to stderr only: ask again, to tell it
            pass
    raise MetadataError(
        "The metadata store cannot be opened",
        where=str(home / METADATA_FILE) if isinstance(metadata, SqliteMetadata) else metadata.where,
        expected="a database that ML Metadata wrote, with the version that is installed here",
        received=received,
        mend="Restore it from a backup, or begin another one: move the pipeline's folder away, or name an empty "
        "database in metadata.database.",
    )


def _set_postgresql(config: pb.PostgreSQLDatabaseConfig, metadata: PostgresqlMetadata) -> None:
    config.host, config.port = quoted(metadata.host), str(metadata.port)
    config.dbname, config.user = quoted(metadata.database), quoted(metadata.user)
    if metadata.password_file is not None:
        config.password = quoted(metadata.password())
    config.skip_db_creation = True
    for name, value in postgresql_tls(metadata.tls).items():
        setattr(config.ssloption, name, quoted(value))


def _set_mysql(config: pb.MySQLDatabaseConfig, metadata: MysqlMetadata) -> None:
    config.host, config.port = metadata.host, metadata.port
    config.database, config.user, config.password = metadata.database, metadata.user, metadata.password()
    config.skip_db_creation = True
    if metadata.tls is not None:
        files = {
            "ca": metadata.tls.root_certificate,
            "capath": metadata.tls.root_certificates,
            "cert": metadata.tls.certificate,
            "key": metadata.tls.key,
            "cipher": metadata.tls.cipher,
        }
        for name, value in files.items():
            setattr(config.ssl_options, name, str(value or ""))
        config.ssl_options.verify_server_cert = metadata.tls.verify_server


def quoted(value: str) -> str:
    """A value as libpq's connection string has it, which ML Metadata puts together without quoting.

    Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
    """
    escaped = value.replace("\\", r"\\").replace("'", r"\'")
    return f"'{escaped}'"


class History:
    """What one pipeline's store holds.

    Args:
        store: See `open_store`.
        pipeline: The pipeline's name.
    """

    def __init__(self, store: mlmd.MetadataStore, pipeline: str) -> None:
        self.store = store
        self.pipeline = pipeline

    def executions_of_run(self, run_id: str) -> dict[str, pb.Execution]:
        """The last execution of each node in a run, by node id."""
        context = self._context(_RUN, run_id)
        executions = self.store.get_executions_by_context(context.id) if context else []
        by_node: dict[str, pb.Execution] = {}
        for execution in sorted(executions, key=lambda each: each.id):
            by_node[self.node_of(execution.id)] = execution
        return by_node

    def executions_of_node(self, node: str) -> list[pb.Execution]:
        """All executions of a node, oldest first."""
        context = self._context(_NODE, f"{self.pipeline}.{node}")
        executions = self.store.get_executions_by_context(context.id) if context else []
        return sorted(executions, key=lambda each: each.id)

    def unfinished(self) -> list[pb.Execution]:
        """Executions that are recorded as running: of the run under way, or of one that was killed."""
        context = self._context("pipeline", self.pipeline)
        executions = self.store.get_executions_by_context(context.id) if context else []
        return [each for each in executions if each.last_known_state in (pb.Execution.NEW, pb.Execution.RUNNING)]

    def node_of(self, execution_id: int) -> str:
        """The node that an execution is of."""
        return self._named(execution_id, _NODE).removeprefix(f"{self.pipeline}.")

    def run_of(self, execution_id: int) -> str:
        """The run that an execution belongs to."""
        return self._named(execution_id, _RUN)

    def artifacts(self, execution_id: int, kind: int) -> dict[str, list[pb.Artifact]]:
        """The artifacts that an execution read (`pb.Event.INPUT`) or wrote (`pb.Event.OUTPUT`), by key."""
        events = [event for event in self.store.get_events_by_execution_ids([execution_id]) if event.type == kind]
        by_id = {each.id: each for each in self.store.get_artifacts_by_id([event.artifact_id for event in events])}
        found: dict[str, list[pb.Artifact]] = {}
        for event in events:
            found.setdefault(event.path.steps[0].key, []).append(by_id[event.artifact_id])
        return found

    def producer(self, artifact_id: int) -> int | None:
        """The execution that first wrote an artifact."""
        events = self.store.get_events_by_artifact_ids([artifact_id])
        writers = [event.execution_id for event in events if event.type == pb.Event.OUTPUT]
        return min(writers, default=None)

    def verdicts_of_run(self, run_id: str) -> list[Verdict]:
        """The verdicts that a run reached (or took from the cache), in the order of the gates."""
        found = [
            Verdict.load(at(artifact.uri))
            for execution in self.executions_of_run(run_id).values()
            if execution.last_known_state in FINISHED
            for artifact in self.artifacts(execution.id, pb.Event.OUTPUT).get("verdict", [])
            if at(artifact.uri).is_dir()
        ]
        return sorted(found, key=lambda verdict: list(GateName).index(verdict.gate))

    def accepted(self) -> dict[GateName, dict[str, str]]:
        """Every finding that a person ever accepted, by gate: its key and the reason."""
        accepted: dict[GateName, dict[str, str]] = {}
        for artifact in self._artifacts_of_type(VERDICT_TYPE):
            reasons = json.loads(artifact.custom_properties["accepted"].string_value or "{}")
            if reasons:
                accepted.setdefault(GateName(artifact.custom_properties["gate"].string_value), {}).update(reasons)
        return accepted

    def pushed(self) -> list[pb.Artifact]:
        """All PushedModel artifacts, oldest first."""
        return sorted(self._artifacts_of_type("PushedModel"), key=lambda artifact: artifact.id)

    def cancel(self, executions: Iterable[pb.Execution]) -> None:
        """Records that executions ended without a result."""
        for execution in executions:
            execution.last_known_state = pb.Execution.CANCELED
        self.store.put_executions(list(executions))

    def _artifacts_of_type(self, name: str) -> list[pb.Artifact]:
        try:
            artifacts = self.store.get_artifacts_by_type(name)
        except mlmd.errors.NotFoundError:
            return []
        return [artifact for artifact in artifacts if artifact.state == pb.Artifact.LIVE]

    def _context(self, kind: str, name: str) -> pb.Context | None:
        try:
            return self.store.get_context_by_type_and_name(kind, name)
        except mlmd.errors.NotFoundError:
            return None

    def _named(self, execution_id: int, kind: str) -> str:
        contexts = self.store.get_contexts_by_execution(execution_id)
        return next((context.name for context in contexts if context.type == kind), "")
