"""One run at a time, and a clean start after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.metadata import History, open_store
from pipeline.runners.lock import recover, run_lock
from pipeline.runners.report import NodeReport, RunReport, State, close_killed, load_reports, run_folder
from schema.errors import LockedError, MetadataError


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


def test_recover_cancels_what_was_running_and_removes_its_outputs(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    types = {name: store.put_context_type(pb.ContextType(name=name)) for name in ("pipeline", "node", "pipeline_run")}
    kind = store.put_execution_type(pb.ExecutionType(name="Trainer"))
    contexts = [
        pb.Context(type_id=types["pipeline"], name="flights"),
        pb.Context(type_id=types["node"], name="flights.Trainer"),
        pb.Context(type_id=types["pipeline_run"], name="1"),
    ]
    ids = [
        store.put_execution(pb.Execution(type_id=kind, last_known_state=state), [], contexts, True)[0]
        for state in (pb.Execution.COMPLETE, pb.Execution.RUNNING)
    ]
    outputs = [tmp_path / "artifacts" / "Trainer" / "model" / str(each) for each in ids]
    for output in outputs:
        output.mkdir(parents=True)
    history = History(store, "flights")
    assert recover(history, tmp_path / "artifacts") == ["Trainer"]
    assert [output.exists() for output in outputs] == [True, False]
    states = [each.last_known_state for each in history.executions_of_node("Trainer")]
    assert states == [pb.Execution.COMPLETE, pb.Execution.CANCELED]
    assert recover(history, tmp_path / "artifacts") == []


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
