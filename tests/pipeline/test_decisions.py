"""Decisions in ML Metadata, beside the runs of the pipeline."""

from __future__ import annotations

from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb
from monitor_reports import report
from version_folders import publish

from monitoring.report import Action, Decision
from pipeline.decisions import record
from pipeline.metadata import History, open_store


def store_with_a_run(home: Path):
    """A store as TFX leaves it: a run of one node that pushed versions 10 and 20."""
    store = open_store(home)
    kinds = {kind: store.put_context_type(pb.ContextType(name=kind)) for kind in ("pipeline", "pipeline_run", "node")}
    names = {"pipeline": "flights", "pipeline_run": "run-1", "node": "flights.Pusher"}
    contexts = [pb.Context(type_id=kinds[kind], name=name) for kind, name in names.items()]
    pushed_type = store.put_artifact_type(pb.ArtifactType(name="PushedModel"))
    node = store.put_execution_type(pb.ExecutionType(name="Pusher"))
    for version in ("10", "20"):
        artifact = pb.Artifact(type_id=pushed_type, uri=f"/models/{version}", state=pb.Artifact.LIVE)
        artifact.custom_properties["pushed_version"].string_value = version
        event = pb.Event(type=pb.Event.OUTPUT)
        event.path.steps.add().key = "pushed_model"
        execution = pb.Execution(type_id=node, last_known_state=pb.Execution.COMPLETE)
        store.put_execution(execution, [(artifact, event)], contexts, reuse_context_if_already_exist=True)
    return store


def test_what_was_decided_of_which_model(tmp_path: Path) -> None:
    it = publish(tmp_path, 10, 20)
    store = store_with_a_run(it.config.home)
    decision = Decision(action=Action.ROLL_BACK, headline="Roll back to version 10: it fails", to_version=10)
    record(it.config, report(version=20, decision=decision), tmp_path / "monitor")
    [artifact] = store.get_artifacts_by_type("MonitorDecision")
    assert artifact.uri == str(tmp_path / "monitor")
    assert artifact.state == pb.Artifact.LIVE
    assert artifact.properties["action"].string_value == "roll_back"
    assert artifact.properties["headline"].string_value == decision.headline
    assert artifact.properties["version"].int_value == 20
    [execution] = store.get_executions_by_type("Monitor")
    history = History(store, "flights")
    [model] = history.artifacts(execution.id, pb.Event.INPUT)["pushed_model"]
    assert model.uri == "/models/20"
    assert history.artifacts(execution.id, pb.Event.OUTPUT)["decision"] == [artifact]
    assert history.producer(artifact.id) == execution.id


def test_the_history_of_runs_is_as_before(tmp_path: Path) -> None:
    it = publish(tmp_path, 10, 20)
    store = store_with_a_run(it.config.home)
    history = History(store, "flights")

    def seen():
        nodes = history.executions_of_run("run-1")
        return (
            {name: each.id for name, each in nodes.items()},
            [each.id for each in history.pushed()],
            history.unfinished(),
        )

    before = seen()
    for _ in range(3):
        record(it.config, report(version=20), tmp_path / "monitor")
    assert seen() == before
    assert history.verdicts_of_run("run-1") == []
    assert history.accepted() == {}
    assert [history.run_of(each.id) for each in store.get_executions_by_type("Monitor")] == ["", "", ""]
    [context] = store.get_contexts_by_type("pipeline")
    assert len(store.get_executions_by_context(context.id)) == 5  # visible beside the runs


def test_before_any_run_and_of_a_model_that_the_store_does_not_know(tmp_path: Path) -> None:
    it = publish(tmp_path, 10)
    record(it.config, report(version=10), tmp_path / "monitor")
    store = open_store(it.config.home)
    [execution] = store.get_executions_by_type("Monitor")
    assert History(store, "flights").artifacts(execution.id, pb.Event.INPUT) == {}
    store_with_a_run(it.config.home)
    record(it.config, report(version=20), tmp_path / "monitor")
    assert len(store.get_executions_by_type("Monitor")) == 2
