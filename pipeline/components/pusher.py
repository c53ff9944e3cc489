"""Pusher: atomic, with strictly increasing versions, and with what the model came from.

TFX's Pusher copies file by file into the folder that a server polls and numbers versions by unix seconds. This one
publishes through `serving.push`, with warm-up requests for the server. It stands behind the gates, so it asks for no
blessing itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tensorflow_serving.apis import predict_pb2
from tfx import types
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME as SCHEMA_FILE
from tfx.components.statistics_gen.executor import DEFAULT_FILE_NAME as STATISTICS_FILE
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from data.spans import TRAIN
from monitoring.reference import REFERENCE
from pipeline.components.artifacts import GateVerdict, ModelReference
from pipeline.gates.infra import REQUESTS_FILE
from pipeline.gates.verdict import VERDICT_FILE
from serving.canary import configure
from serving.push import push
from serving.records import read_records
from serving.warmup import write_warmup
from storage.places import at, local_copy

_VERDICTS = ("data_verdict", "quality_verdict", "infra_verdict")
_BLESSING = "infra_blessing"
_KEPT = ("schema", "statistics", "evaluation", "reference", _BLESSING, *_VERDICTS)
"""The inputs of which something is kept with the model."""


class PusherExecutor(base_executor.BaseExecutor):
    """Publishes the model (as a candidate, with `monitor.canary`), or finds it published, or rolled back, before."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes, and records the version in the PushedModel artifact.

        Its custom properties: `pushed_version`, `pushed_destination`, `is_new`, `is_candidate`, and `pushed`, which is
        0 if the model was rolled back before and is not published again; then `refused` is why it was rolled back.

        Raises:
            LockedError: Another process is changing the versions in an object store.
            OSError: The disk is full or cannot be written to; nothing is published then.
        """
        model, examples = (artifact_utils.get_single_instance(input_dict[key]) for key in ("model", "examples"))
        base_path = at(exec_properties["path"])
        is_tried = json.loads(exec_properties["config"])["monitor"]["canary"] is not None
        with ExitStack() as copies:
            saved_model = copies.enter_context(local_copy(at(path_utils.serving_model_dir(model.uri))))
            kept = {key: copies.enter_context(local_copy(at(input_dict[key][0].uri))) for key in _KEPT}
            pushed = push(
                saved_model,
                base_path,
                {**_provenance(kept), "config.json": exec_properties["config"]},
                {
                    "pipeline": exec_properties["pipeline"],
                    "model_uri": model.uri,
                    "model_id": model.id,
                    "window": examples.get_string_custom_property("window"),
                    "span": examples.get_int_custom_property(SPAN_PROPERTY_NAME),
                },
                lambda folder: write_warmup(folder, _requests(kept[_BLESSING]), exec_properties["pipeline"]),
                as_candidate=is_tried,
            )
        if is_tried:
            configure(base_path, exec_properties["pipeline"])
        artifact = artifact_utils.get_single_instance(output_dict["pushed_model"])
        artifact.set_string_custom_property("pushed_destination", str(pushed.path))
        artifact.set_string_custom_property("pushed_version", str(pushed.version))
        artifact.set_int_custom_property("pushed", int(pushed.refused is None))
        artifact.set_int_custom_property("is_new", int(pushed.is_new))
        artifact.set_int_custom_property("is_candidate", int(pushed.is_candidate))
        if pushed.refused is not None:
            artifact.set_string_custom_property("refused", pushed.refused.reason)


def _provenance(kept: Mapping[str, Path]) -> dict[str, Path | str]:
    return {
        SCHEMA_FILE: kept["schema"] / SCHEMA_FILE,
        f"statistics/{STATISTICS_FILE}": kept["statistics"] / f"Split-{TRAIN}" / STATISTICS_FILE,
        "evaluation": kept["evaluation"],
        str(REFERENCE): kept["reference"],
        **{f"verdicts/{key}.json": kept[key] / VERDICT_FILE for key in _VERDICTS},
    }


def _requests(blessing: Path) -> list[predict_pb2.PredictRequest]:
    """What the infra check asked the model: real examples through every signature."""
    return [predict_pb2.PredictRequest.FromString(record) for record in read_records(str(blessing / REQUESTS_FILE))]


class PusherSpec(component_spec.ComponentSpec):
    """What Pusher takes and gives."""

    PARAMETERS = {name: component_spec.ExecutionParameter(type=str) for name in ("pipeline", "path", "config", "code")}
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "reference": component_spec.ChannelParameter(type=ModelReference),
        _BLESSING: component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        **{key: component_spec.ChannelParameter(type=GateVerdict) for key in _VERDICTS},
    }
    OUTPUTS = {"pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel)}


class Pusher(base_component.BaseComponent):
    """See the module. The inputs are named as the specification names them."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)

    def __init__(self, **inputs_and_parameters: Any) -> None:
        pushed_model = types.Channel(type=standard_artifacts.PushedModel)
        super().__init__(PusherSpec(pushed_model=pushed_model, **inputs_and_parameters))
