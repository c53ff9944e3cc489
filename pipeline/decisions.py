"""Decisions in ML Metadata: an execution that read the pushed model and left the decision with its evidence."""

from __future__ import annotations

from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from monitoring.report import Report
from pipeline.config import PipelineConfig
from pipeline.metadata import History, open_store

_DECISION = "MonitorDecision"
_MONITOR = "Monitor"
_PIPELINE = "pipeline"


def record(config: PipelineConfig, report: Report, folder: Path) -> None:
    """Records a look's decision, beside the runs of its pipeline.

    Args:
        config: The pipeline.
        report: What was found and decided.
        folder: Holds the report.

    Raises:
        MetadataError: The metadata store cannot be opened.
    """
    store = open_store(config.home, config.metadata)
    properties = {"action": pb.STRING, "headline": pb.STRING, "version": pb.INT}
    artifact_type = store.put_artifact_type(pb.ArtifactType(name=_DECISION, properties=properties))
    execution_type = store.put_execution_type(pb.ExecutionType(name=_MONITOR))
    context_type = store.put_context_type(pb.ContextType(name=_PIPELINE))
    decision = pb.Artifact(type_id=artifact_type, uri=str(folder), state=pb.Artifact.LIVE)
    decision.properties["action"].string_value = report.decision.action.value
    decision.properties["headline"].string_value = report.decision.headline
    decision.properties["version"].int_value = report.version
    execution = pb.Execution(type_id=execution_type, last_known_state=pb.Execution.COMPLETE)
    pushed = [
        artifact
        for artifact in History(store, config.name).pushed()
        if artifact.custom_properties["pushed_version"].string_value == str(report.version)
    ]
    inputs = [(artifact, _event(pb.Event.INPUT, "pushed_model")) for artifact in pushed[-1:]]
    context = pb.Context(type_id=context_type, name=config.name)
    store.put_execution(
        execution,
        [*inputs, (decision, _event(pb.Event.OUTPUT, "decision"))],
        [context],
        reuse_context_if_already_exist=True,
    )


def _event(kind: int, key: str) -> pb.Event:
    event = pb.Event(type=kind)
    event.path.steps.add().key = key
    return event
