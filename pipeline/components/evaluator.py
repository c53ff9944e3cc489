"""Evaluator: TFX's, with the model in a Session as it is served, and batches from the file to the metrics.

TFMA's own computations, validation and files, for every configuration that `pipeline.components.evaluation` can give
batches; TFX's executor for every other. The artifacts are the stock component's.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util
from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as evaluator_executor
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types import standard_component_specs as specs
from tfx.types.component_spec import ExecutionParameter
from tfx.utils import io_utils, json_utils, path_utils, proto_utils

from pipeline.components.evaluation import batch_extractor, files_as_inputs, with_batch_metrics

Artifacts = dict[str, list[types.Artifact]]


class EvaluatorExecutor(evaluator_executor.Executor):
    """Evaluates the candidate, and the baseline if there is one, on batches of examples."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Leaves TFMA's evaluation and, if there are bounds, TFX's blessing."""
        config = _configuration(input_dict, exec_properties) if _is_plain(input_dict, exec_properties) else None
        batched = with_batch_metrics(config) if config else None
        models = _models(input_dict, config) if batched else []
        if config is None or batched is None or any(model.model_type != tfma.TF_GENERIC for model in models):
            super().Do(input_dict, output_dict, exec_properties)
            return
        files = _files(input_dict, exec_properties)
        evaluation = artifact_utils.get_single_uri(output_dict[specs.EVALUATION_KEY])
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(files_as_inputs(files), reshuffle=True)
                | "ExtractEvaluateAndWriteResults"
                >> tfma.ExtractEvaluateAndWriteResults(
                    eval_shared_model=models if len(models) > 1 else models[0],
                    eval_config=config,
                    extractors=[batch_extractor({model.model_name: model.model_path for model in models}, config)],
                    evaluators=tfma.default_evaluators(eval_shared_model=models, eval_config=batched),
                    output_path=evaluation,
                )
            )
        if tfma.metrics.metric_thresholds_from_metrics_specs(config.metrics_specs, eval_config=config):
            is_good = tfma.load_validation_result(evaluation).validation_ok
            _bless(is_good, input_dict, output_dict, exec_properties)


class EvaluatorSpec(specs.EvaluatorSpec):
    """What TFX's Evaluator takes and gives, and the fingerprint of the code that evaluates."""

    PARAMETERS = {**specs.EvaluatorSpec.PARAMETERS, "code": ExecutionParameter(type=str)}


class Evaluator(base_beam_component.BaseBeamComponent):
    """See the module. The inputs and parameters are named as the specification names them.

    Args:
        example_splits: The splits to evaluate on.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)

    def __init__(self, *, example_splits: list[str], **inputs_and_parameters: Any) -> None:
        spec = EvaluatorSpec(
            example_splits=json_utils.dumps(example_splits),
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            **inputs_and_parameters,
        )
        super().__init__(spec=spec)


def _is_plain(inputs: Artifacts, properties: dict[str, Any]) -> bool:
    """Whether one model is evaluated on gzipped tf.Examples as a configuration says, without code of the user's."""
    known = {specs.EVAL_CONFIG_KEY, specs.EXAMPLE_SPLITS_KEY, specs.FAIRNESS_INDICATOR_THRESHOLDS_KEY}
    given = {key for key, value in properties.items() if value and key in specs.EvaluatorSpec.PARAMETERS}
    if specs.EVAL_CONFIG_KEY not in given or not given <= known or len(inputs.get(specs.MODEL_KEY, ())) != 1:
        return False
    if inputs.get(specs.SCHEMA_KEY):  # by which TFX would decode
        return False
    formats = {examples_utils.get_payload_format(each) for each in inputs[specs.EXAMPLES_KEY]}
    files = _files(inputs, properties)
    return formats == {example_gen_pb2.FORMAT_TF_EXAMPLE} and all(path.endswith(".gz") for path in files)


def _configuration(inputs: Artifacts, properties: dict[str, Any]) -> config_pb2.EvalConfig:
    """What is asked for, as TFX completes it."""
    config = config_pb2.EvalConfig()
    proto_utils.json_to_proto(properties[specs.EVAL_CONFIG_KEY], config)
    has_baseline = bool(inputs.get(specs.BASELINE_MODEL_KEY))
    config = config_util.update_eval_config_with_defaults(config, has_baseline=has_baseline, rubber_stamp=True)
    config_util.verify_eval_config(config)
    return config


def _models(inputs: Artifacts, config: config_pb2.EvalConfig) -> list[tfma.EvalSharedModel]:
    keys = {spec.name: specs.BASELINE_MODEL_KEY if spec.is_baseline else specs.MODEL_KEY for spec in config.model_specs}
    artifacts = {name: artifact_utils.get_single_instance(inputs[key]) for name, key in keys.items()}
    return [
        tfma.default_eval_shared_model(
            eval_saved_model_path=path_utils.serving_model_path(
                artifact.uri, path_utils.is_old_model_artifact(artifact)
            ),
            model_name=name,
            eval_config=config,
        )
        for name, artifact in artifacts.items()
    ]


def _files(inputs: Artifacts, properties: dict[str, Any]) -> list[str]:
    """The shards of the splits to evaluate on."""
    splits = json_utils.loads(properties.get(specs.EXAMPLE_SPLITS_KEY) or "null") or ["eval"]
    folders = [uri for split in splits for uri in artifact_utils.get_split_uris(inputs[specs.EXAMPLES_KEY], split)]
    return sorted(path for folder in folders for path in fileio.glob(f"{folder}/*"))


def _bless(is_good: bool, inputs: Artifacts, outputs: Artifacts, properties: dict[str, Any]) -> None:
    """What TFX says of the model: a file by the decision's name, and properties."""
    blessing = artifact_utils.get_single_instance(outputs[specs.BLESSING_KEY])
    said = [
        (specs.MODEL_KEY, constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY,
         constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY),
        (specs.BASELINE_MODEL_KEY, constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY,
         constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY),
    ]  # fmt: skip
    for key, uri, number in said:
        for model in inputs.get(key, ())[:1]:
            blessing.set_string_custom_property(uri, model.uri)
            blessing.set_int_custom_property(number, model.id)
    if "current_component_id" in properties:
        blessing.set_string_custom_property("component_id", properties["current_component_id"])
    name = constants.BLESSED_FILE_NAME if is_good else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(f"{blessing.uri}/{name}", "")
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.BLESSED_VALUE if is_good else constants.NOT_BLESSED_VALUE
    )
