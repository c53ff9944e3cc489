"""ReferenceGen: what the model will be compared with once it serves: its window's profile, its answers, its quality."""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from data.spans import EVAL
from models.config import LabelConfig
from monitoring.neighbours import AddNeighbours
from monitoring.profile import Profile, block_rows
from monitoring.scoring import ScoreExamples, ScoringPlan, save_reference
from pipeline.components.artifacts import ExampleProfile, ModelReference
from pipeline.components.example_gen import COUNTS
from pipeline.components.examples_files import examples_files
from storage.places import at

_IMPORTANCE_ROWS = 4000


class ReferenceGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Scores the window's examples (those that train, a sample of them) and puts the reference together."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Leaves the reference."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        profile = artifact_utils.get_single_uri(input_dict["profile"])
        label = LabelConfig.model_validate_json(exec_properties["label"])
        counts = json.loads(examples.get_string_custom_property(COUNTS))["examples"]
        plan = ScoringPlan(
            model_path=path_utils.serving_model_path(model.uri),
            task=label.task,
            label=label.name,
            features=Profile.load(at(profile)).features,
            slices=tuple(json.loads(exec_properties["slices"])),
            block_rows=block_rows(sum(counts.values())),
            sampled_share=min(1.0, _IMPORTANCE_ROWS / max(counts[EVAL], 1)),
        )
        reference = artifact_utils.get_single_uri(output_dict["reference"])
        files = examples_files(examples)
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(files, reshuffle=True)
                | "Score" >> beam.ParDo(ScoreExamples(plan))
                | "Gather" >> AddNeighbours(files)
                | "Save" >> beam.Map(save_reference, plan, profile, reference)
            )


class ReferenceGenSpec(component_spec.ComponentSpec):
    """What ReferenceGen takes and gives."""

    PARAMETERS = {name: component_spec.ExecutionParameter(type=str) for name in ("label", "slices", "code")}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "profile": component_spec.ChannelParameter(type=ExampleProfile),
    }
    OUTPUTS = {"reference": component_spec.ChannelParameter(type=ModelReference)}


class ReferenceGen(base_beam_component.BaseBeamComponent):
    """See the module. The inputs are named as the specification names them."""

    SPEC_CLASS = ReferenceGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ReferenceGenExecutor)

    def __init__(self, **inputs_and_parameters: Any) -> None:
        super().__init__(ReferenceGenSpec(reference=types.Channel(type=ModelReference), **inputs_and_parameters))
