"""One run at a time, and a clean start after a kill."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.metadata import History, open_store
from pipeline.metadata_config import MysqlMetadata, SqliteMetadata
from pipeline.runners.lock import recover, run_lock, shared_lock
from pipeline.runners.report import (
    OTHERS_RUN,
    NodeReport,
    RunReport,
    State,
    close_killed,
    load_reports,
    run_folder,
)
from schema.errors import LockedError, MetadataError
from storage.places import at, files_below


def test_second_run_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(LockedError, match=f"held by process {os.getpid()}"), run_lock(tmp_path):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with run_lock(tmp_path):
            os.write(writing, b"locked")
            signal.pause()
    os.read(reading, 6)
    with pytest.raises(LockedError), run_lock(tmp_path):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with run_lock(tmp_path):
        pass


def put_executions(home: Path, run: str, *states: pb.Execution.State) -> tuple[History, list[int]]:
    """Executions of a Trainer, as TFX records them."""
    store = open_store(home)
    types = {name: store.put_context_type(pb.ContextType(name=name)) for name in ("pipeline", "node", "pipeline_run")}
    kind = store.put_execution_type(pb.ExecutionType(name="Trainer"))
    contexts = [
        pb.Context(type_id=types["pipeline"], name="flights"),
        pb.Context(type_id=types["node"], name="flights.Trainer"),
        pb.Context(type_id=types["pipeline_run"], name=run),
    ]
    ids = [
        store.put_execution(pb.Execution(type_id=kind, last_known_state=state), [], contexts, True)[0]
        for state in states
    ]
    return History(store, "flights"), ids


@pytest.mark.parametrize("scheme", ["", "memory:/"])
def test_recover_cancels_what_was_running_and_removes_its_outputs(tmp_path: Path, scheme: str) -> None:
    history, ids = put_executions(tmp_path, "1", pb.Execution.COMPLETE, pb.Execution.RUNNING)
    artifacts = at(f"{scheme}{tmp_path}/artifacts")
    for kind in ("model", ".system/executor_execution"):
        for each in ids:
            (artifacts / "Trainer" / kind / str(each)).mkdir(parents=True)
            (artifacts / "Trainer" / kind / str(each) / "file").write_text("half")
    assert recover(history, artifacts) == ["Trainer"]
    left = sorted(path.removesuffix("/file") for path in files_below(artifacts))
    assert left == [f"Trainer/.system/executor_execution/{ids[0]}", f"Trainer/model/{ids[0]}"]
    states = [each.last_known_state for each in history.executions_of_node("Trainer")]
    assert states == [pb.Execution.COMPLETE, pb.Execution.CANCELED]
    assert recover(history, artifacts) == []


def test_recover_leaves_what_another_orchestrator_runs(tmp_path: Path) -> None:
    history, [running] = put_executions(tmp_path, f"{OTHERS_RUN}scheduled", pb.Execution.RUNNING)
    output = tmp_path / "artifacts" / "Trainer" / "model" / str(running)
    output.mkdir(parents=True)
    assert recover(history, at(tmp_path / "artifacts")) == []
    assert output.is_dir()
    assert [each.id for each in history.unfinished()] == [running]


def test_report_of_a_killed_run_is_closed(tmp_path: Path) -> None:
    run_folder(tmp_path, "1").mkdir(parents=True)
    nodes = {"Trainer": NodeReport("Trainer", State.RUNNING), "Transform": NodeReport("Transform", State.DONE)}
    RunReport("1", "flights", nodes, started=1.0).save(tmp_path)
    close_killed(tmp_path)
    [report] = load_reports(tmp_path)
    assert report.outcome == "killed"
    assert report.nodes["Trainer"].state is State.CANCELLED
    assert report.nodes["Transform"].state is State.DONE


def test_what_is_no_metadata_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "metadata.db").write_bytes(b"this is no SQLite file, by any means" * 100)
    with pytest.raises(MetadataError, match="cannot be opened"):
        open_store(tmp_path)


def test_run_of_another_orchestrator_is_not_closed(tmp_path: Path) -> None:
    run_id = f"{OTHERS_RUN}scheduled"
    run_folder(tmp_path, run_id).mkdir(parents=True)
    RunReport(run_id, "flights", {"Trainer": NodeReport("Trainer", State.RUNNING)}, started=1.0).save(tmp_path)
    close_killed(tmp_path)
    [report] = load_reports(tmp_path)
    assert (report.outcome, report.nodes["Trainer"].state) == ("running", State.RUNNING)


class Mysql:
    """A connection to a MySQL server that knows the two locks' functions, for what one session asks."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.error: Exception | None = None
        self._answer: tuple[int | None, ...] = ()

    def cursor(self) -> Mysql:
        return self

    def close(self) -> None:
        """Nothing to close."""

    def execute(self, statement: str, values: tuple[object, ...]) -> None:
        if self.error is not None:
            raise self.error
        name = str(values[0])
        if "GET_LOCK" in statement:
            self.held.add(name)
            self._answer = (1,)
        elif statement == "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()":
            self._answer = (1 if name in self.held else None,)

    def fetchone(self) -> tuple[int | None, ...]:
        return self._answer


def test_lost_lock_of_mysql_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Mysql()
    monkeypatch.setattr("pipeline.runners.lock.session", lambda metadata: nullcontext(server))
    with shared_lock(MysqlMetadata(kind="mysql", host="db", database="mlmd", user="ml"), "flights") as confirm:
        confirm()
        server.held.clear()
        with pytest.raises(LockedError, match="The lock was lost"):
            confirm()
        server.error = OSError("Lost connection to MySQL server during query")
        with pytest.raises(LockedError, match="Lost connection"):
            confirm()


def test_metadata_of_one_machine_has_no_lock_to_lose() -> None:
    with shared_lock(SqliteMetadata(), "flights") as confirm:
        confirm()
