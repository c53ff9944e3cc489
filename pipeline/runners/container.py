"""What every container of a compiled pipeline runs: TFX's entry point, given what the platforms leave out.

    python -m pipeline.runners.container --executor_class_path … --json_serialized_invocation_args '{{$}}' …

TFX finds an artifact's class by the type that the platform sends with it. Kubeflow's driver sends inputs without one
(backend/src/v2/metadata/client.go: "figure out how to get schema"), and its launcher adds an output of its own, the
log, of a type that TFX does not know. Types of ours have a title, while TFX looks for an import path.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

PROJECT = Path(__file__).parents[2]
"""Where the project is installed: paths inside it, such as `schema/flights.pbtxt`, are relative to here."""

COMMAND = ("python", "-m", "pipeline.runners.container")
_TFX = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_INVOCATION = "--json_serialized_invocation_args"
_INPUTS = "--json_serialized_inputs_spec_args"
_OURS = "headrace."
_OUR_TYPES = "pipeline.components.artifacts."
_PLATFORMS_OWN = "system."


def complete(executor_input: pb.ExecutorInput, inputs: pb.ComponentInputsSpec) -> None:
    """Gives every artifact a type by which TFX finds its class; drops outputs that are not the component's.

    Args:
        executor_input: What the platform says of this execution; changed in place.
        inputs: What the component declares.
    """
    for name, found in executor_input.inputs.artifacts.items():
        for artifact in found.artifacts:
            title = _title(artifact.type) or _title(inputs.artifacts[name].artifact_type)
            artifact.type.schema_title = _class_of(title)
    outputs = executor_input.outputs.artifacts
    for name in list(outputs):
        titles = [_title(artifact.type) for artifact in outputs[name].artifacts]
        if any(title.startswith(_PLATFORMS_OWN) for title in titles):
            del outputs[name]
            continue
        for artifact, title in zip(outputs[name].artifacts, titles, strict=True):
            artifact.type.schema_title = _class_of(title)


def completed(arguments: Sequence[str]) -> list[str]:
    """TFX's arguments, from those that the platform gave."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument(_INVOCATION, dest="invocation", required=True)
    parser.add_argument(_INPUTS, dest="inputs", required=True)
    given, others = parser.parse_known_args(arguments)
    executor_input, inputs = pb.ExecutorInput(), pb.ComponentInputsSpec()
    json_format.Parse(given.invocation, executor_input, ignore_unknown_fields=True)  # of newer platforms
    json_format.Parse(given.inputs, inputs)
    complete(executor_input, inputs)
    return [_INVOCATION, json_format.MessageToJson(executor_input), _INPUTS, given.inputs, *others]


def _title(schema: pb.ArtifactTypeSchema) -> str:
    """The title of an artifact's type; empty if it is not given."""
    if schema.schema_title:
        return str(schema.schema_title)
    described = yaml.safe_load(schema.instance_schema) or {}
    return str(described.get("title", ""))


def _class_of(title: str) -> str:
    """What TFX takes for an artifact's class: a title of its own, or an import path."""
    return f"{_OUR_TYPES}{title.removeprefix(_OURS)}" if title.startswith(_OURS) else title


def main() -> None:
    """Runs one node's executor, as TFX's entry point does."""
    os.chdir(PROJECT)
    sys.argv[1:] = completed(sys.argv[1:])
    runpy.run_module(_TFX, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
