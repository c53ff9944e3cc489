# No `from __future__ import annotations` here: TFX reads the annotations of component functions as objects.
"""The three gates as components. Each reads evidence and leaves a GateVerdict; none raises when it fails.

What stands behind a gate runs under `Passed(gate)`, a standard TFX condition, so a failed gate stops it under every
orchestrator.
"""

import json

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME as SCHEMA_FILE
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.experimental.conditionals import conditional
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    Examples,
    InfraBlessing,
    Model,
    ModelEvaluation,
    Schema,
)

from data.quarantine import FOLDER as QUARANTINE
from pipeline.components.artifacts import GateVerdict
from pipeline.components.distribution_validator import load_checks
from pipeline.components.example_gen import COUNTS
from pipeline.gates.config import DataGateConfig, GatesConfig
from pipeline.gates.data import data_findings
from pipeline.gates.drift import drift_findings
from pipeline.gates.infra import load_report
from pipeline.gates.quality import quality_findings
from pipeline.gates.verdict import GateName, Verdict, decide
from schema.contract import load_schema
from storage.places import Place, at

MODEL_ID = "model_id"
EXAMPLES_ID = "examples_id"


class Passed(conditional.Cond):
    """What is defined under it runs only if the gate passed."""

    def __init__(self, gate: BaseComponent) -> None:
        super().__init__(gate.outputs["verdict"].future()[0].custom_property("passed") == 1)


@component
def DataGate(
    examples: InputArtifact[Examples],
    anomalies: InputArtifact[ExampleAnomalies],
    drift: InputArtifact[ExampleAnomalies],
    schema: InputArtifact[Schema],
    verdict: OutputArtifact[GateVerdict],
    config: Parameter[str],
    accepted: Parameter[str],
    code: Parameter[str],
) -> None:
    """Judges the anomalies of every split, how many examples there are, and how the newest span has drifted."""
    del code  # part of the cache key only
    by_split = {
        split: _read_anomalies(at(anomalies.uri) / f"Split-{split}")
        for split in artifact_utils.decode_split_names(anomalies.split_names)
    }
    bounds = DataGateConfig.model_validate_json(config)
    findings = data_findings(
        by_split,
        load_schema(at(schema.uri) / SCHEMA_FILE),
        json.loads(examples.get_string_custom_property(COUNTS)),
        bounds,
        f"{examples.uri}/{QUARANTINE}",
    )
    findings += drift_findings(load_checks(at(drift.uri)), bounds)
    _publish(decide(GateName.DATA, findings, json.loads(accepted)), verdict)
    verdict.set_int_custom_property(EXAMPLES_ID, examples.id)


@component
def QualityGate(
    evaluation: InputArtifact[ModelEvaluation],
    model: InputArtifact[Model],
    verdict: OutputArtifact[GateVerdict],
    config: Parameter[str],
    accepted: Parameter[str],
    code: Parameter[str],
) -> None:
    """Judges the candidate's metrics against fixed bounds and against the last blessed model."""
    del code
    findings, note = quality_findings(evaluation.uri, GatesConfig.model_validate_json(config).quality)
    _publish(decide(GateName.QUALITY, findings, json.loads(accepted), note), verdict, model)


@component
def InfraGate(
    blessing: InputArtifact[InfraBlessing],
    model: InputArtifact[Model],
    verdict: OutputArtifact[GateVerdict],
    accepted: Parameter[str],
    code: Parameter[str],
) -> None:
    """Judges what InfraValidator measured."""
    del code
    findings = load_report(at(blessing.uri))
    _publish(decide(GateName.INFRA, findings, json.loads(accepted)), verdict, model)


def _read_anomalies(folder: Place) -> anomalies_pb2.Anomalies:
    return anomalies_pb2.Anomalies.FromString((folder / "SchemaDiff.pb").read_bytes())


def _publish(decision: Verdict, artifact: types.Artifact, model: types.Artifact | None = None) -> None:
    decision.save(at(artifact.uri))
    artifact.set_string_custom_property("gate", decision.gate.value)
    artifact.set_string_custom_property("outcome", decision.outcome.value)
    artifact.set_int_custom_property("passed", int(decision.passed))
    artifact.set_string_custom_property("accepted", json.dumps(decision.accepted))
    if model is not None:
        artifact.set_int_custom_property(MODEL_ID, model.id)
