# No `from __future__ import annotations` here: TFX reads the annotations of component functions as objects.
"""What was pushed before, as artifacts: what resolvers find in ML Metadata, for platforms that have another.

Only versions that a pipeline of ours pushed and nobody rolled back count; a candidate on trial does not. Both nodes
look at the push path, which changes from outside, so a platform must never answer them from its cache.
"""

from typing import Any

from tfx import types
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base import executor_spec
from tfx.types.standard_artifacts import Examples, Model
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY
from tfx.utils import path_utils
from upath import UPath

from pipeline.components import evaluator
from serving.push import digest_of
from serving.versions import look, read_manifest
from storage.places import Place, at, local_copy, upload

VERSION = "pushed_version"
"""Custom property of the baseline: which version it is; without it, nothing is pushed yet."""


@component
def LastPushedExamples(
    candidate: InputArtifact[Examples],
    examples: OutputArtifact[Examples],
    path: Parameter[str],
) -> None:
    """The last good span: the newest that a pushed version was evaluated on, before the candidate's.

    The artifact carries the span's number only, see `DistributionValidator`; 0 while there is none.
    """
    this_span = candidate.get_int_custom_property(SPAN_PROPERTY_NAME)
    spans = (int(manifest.get("span", 0)) for _, manifest in _pushed(at(path)).values())
    last = max((span for span in spans if span < this_span), default=0)
    examples.set_int_custom_property(SPAN_PROPERTY_NAME, last)


@component
def LatestPushedModel(
    candidate: InputArtifact[Model],
    baseline: OutputArtifact[Model],
    path: Parameter[str],
) -> None:
    """The newest pushed model other than the candidate, byte for byte; a repeated run has the same baseline.

    It is copied: the version may be rolled back while it is compared with.
    """
    with local_copy(at(path_utils.serving_model_path(candidate.uri))) as saved_model:
        digest = digest_of(saved_model)
    others = {
        version: folder
        for version, (folder, manifest) in _pushed(at(path)).items()
        if manifest["model_digest"] != digest
    }
    if others:
        version = max(others)
        with local_copy(others[version]) as saved_model:
            upload(saved_model, at(path_utils.serving_model_dir(baseline.uri)))
        baseline.set_string_custom_property(VERSION, str(version))


class EvaluatorExecutor(evaluator.EvaluatorExecutor):
    """Ours, without a baseline as long as nothing is pushed: an artifact always comes, if only an empty one."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates the candidate, and the baseline if there is one."""
        pushed = [each for each in input_dict[BASELINE_MODEL_KEY] if each.get_string_custom_property(VERSION)]
        super().Do({**input_dict, BASELINE_MODEL_KEY: pushed}, output_dict, exec_properties)


class Evaluator(evaluator.Evaluator):
    """Our Evaluator with that executor."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)


def _pushed(base_path: UPath) -> dict[int, tuple[Place, dict[str, Any]]]:
    """The folder of each version that a pipeline of ours pushed, and what is known of it."""
    folders = {version: each.path for version, each in look(base_path).published.items() if not each.is_marked}
    found = {version: (folder, read_manifest(folder)) for version, folder in folders.items()}
    return {version: (folder, manifest) for version, (folder, manifest) in found.items() if "model_digest" in manifest}
