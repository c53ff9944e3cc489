"""TFX's entry point is given what the platforms leave out."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils import parse_raw_artifact_dict
from tfx.types.standard_artifacts import Examples

from pipeline.components.artifacts import GateVerdict
from pipeline.runners.container import completed

EXAMPLES = {"instanceSchema": "title: tfx.Examples\ntype: object\n"}
VERDICT = {"instanceSchema": "title: headrace.GateVerdict\ntype: object\n"}
DECLARED = {"artifacts": {"examples": {"artifactType": EXAMPLES}, "verdict": {"artifactType": VERDICT}}}
NOT_SAID: dict[str, Any] = {"instanceSchema": ""}


def read(inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The artifacts as TFX's entry point understands them, from the types that the platform gives."""
    invocation = {
        "inputs": {
            "artifacts": {key: {"artifacts": [{"uri": "gs://b", "type": each}]} for key, each in inputs.items()}
        },
        "outputs": {
            "artifacts": {key: {"artifacts": [{"uri": "gs://b", "type": each}]} for key, each in outputs.items()}
        },
        "ofANewerPlatform": True,
    }
    given = ["--executor_class_path", "a.B", "--json_serialized_invocation_args", json.dumps(invocation)]
    given += ["--json_serialized_inputs_spec_args", json.dumps(DECLARED), "--runner=some"]
    arguments = completed(given)
    assert arguments[-3:] == ["--executor_class_path", "a.B", "--runner=some"]
    parsed = json_format.Parse(arguments[1], pb.ExecutorInput())
    return parse_raw_artifact_dict(parsed.inputs.artifacts), parse_raw_artifact_dict(parsed.outputs.artifacts)


def test_inputs_without_a_type_have_the_declared_one() -> None:
    inputs, _ = read({"examples": NOT_SAID, "verdict": NOT_SAID}, {})
    assert isinstance(inputs["examples"][0], Examples)
    assert isinstance(inputs["verdict"][0], GateVerdict)


def test_types_that_the_platform_gives_are_kept() -> None:
    inputs, outputs = read({"examples": EXAMPLES, "verdict": VERDICT}, {"made": {"schemaTitle": "tfx.Examples"}})
    assert isinstance(inputs["examples"][0], Examples)
    assert isinstance(inputs["verdict"][0], GateVerdict)
    assert isinstance(outputs["made"][0], Examples)


def test_an_output_of_the_platform_s_own_is_left_alone() -> None:
    _, outputs = read({}, {"verdict": VERDICT, "executor-logs": {"schemaTitle": "system.Artifact"}})
    assert set(outputs) == {"verdict"}
