"""InfraValidator without Docker: the candidate is loaded by a separate process, as it will be served, and asked.

TFX's InfraValidator needs a Docker engine or a Kubernetes cluster. This one starts `serving.check`, which runs the
SavedModel in a Session as TensorFlow Serving does, and compares every answer with the trainer's own Keras model.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import predict_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import path_utils

from data.spans import EVAL
from models.features import Feature
from models.signatures import SERVE_EXAMPLES, raw_dtype
from models.trainer import load_keras_model
from pipeline.gates.config import InfraGateConfig
from pipeline.gates.infra import check_model, save_report
from pipeline.gates.verdict import Outcome
from schema.errors import DataError
from storage.places import at


class InfraValidatorExecutor(base_executor.BaseExecutor):
    """Asks the candidate real requests and reports what it answered."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Leaves a report in the blessing, and marks it as TFX's InfraValidator does."""
        config = InfraGateConfig.model_validate_json(exec_properties["config"])
        features = [Feature.from_json(raw) for raw in json.loads(exec_properties["features"])]
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        folder = at(blessing.uri)
        examples = _first_examples(artifact_utils.get_split_uri(input_dict["examples"], EVAL), config.examples)
        requests = build_requests(examples, features, exec_properties["task"])

        def expected() -> np.ndarray:
            return trainer_predictions(
                load_keras_model(at(artifact_utils.get_single_uri(input_dict["model_run"]))),
                tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"])),
                examples,
                exec_properties["task"],
            )

        findings = check_model(at(path_utils.serving_model_path(model.uri)), requests, expected, config, folder)
        save_report(findings, folder)
        blessed = all(finding.outcome is Outcome.PASSED for finding in findings)
        blessing.set_int_custom_property("blessed", int(blessed))
        (folder / ("INFRA_BLESSED" if blessed else "INFRA_NOT_BLESSED")).write_bytes(b"")


class InfraValidatorSpec(component_spec.ComponentSpec):
    """What InfraValidator takes and gives."""

    PARAMETERS = {name: component_spec.ExecutionParameter(type=str) for name in ("config", "features", "task", "code")}
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
    }
    OUTPUTS = {"blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing)}


class InfraValidator(base_component.BaseComponent):
    """See the module. The inputs are named as the specification names them."""

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(InfraValidatorExecutor)

    def __init__(self, **inputs_and_parameters: Any) -> None:
        blessing = types.Channel(type=standard_artifacts.InfraBlessing)
        super().__init__(InfraValidatorSpec(blessing=blessing, **inputs_and_parameters))


def trainer_predictions(
    model: keras.Model, transform: tft.TFTransformOutput, examples: list[bytes], task: str
) -> np.ndarray:
    """The Keras model's own predictions, run eagerly on the transformed examples: float32 [batch]."""
    names = {layer.name for layer in model.inputs}
    transformed = transform.transform_features_layer()(tf.io.parse_example(examples, transform.raw_feature_spec()))
    output = model({name: value for name, value in transformed.items() if name in names}, training=False)
    return np.asarray(keras.ops.sigmoid(output) if task == "binary" else output, np.float32)


def build_requests(examples: list[bytes], features: list[Feature], task: str) -> list[predict_pb2.PredictRequest]:
    """The same examples through every signature that answers predictions; see `models.signatures`."""
    raw = _request("serving_default", _raw_inputs(examples, features))
    serialized = np.array(examples, object)
    requests = [raw, _request(SERVE_EXAMPLES, {"examples": serialized}), _request("regress", {"inputs": serialized})]
    return requests + ([_request("classify", {"inputs": serialized})] if task == "binary" else [])


def _first_examples(split_uri: str, number: int) -> list[bytes]:
    files = sorted(tf.io.gfile.glob(f"{split_uri}/*"))
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
    examples = list(itertools.islice(dataset.as_numpy_iterator(), number))
    if not examples:
        raise DataError("There is no example to ask the candidate with", where=split_uri)
    return examples


def _raw_inputs(examples: list[bytes], features: list[Feature]) -> dict[str, np.ndarray]:
    """The examples as the columns of a request, missing values as NaN or an empty string."""
    parsed = [tf.train.Example.FromString(example).features.feature for example in examples]
    inputs = {}
    for feature in features:
        dtype = raw_dtype(feature).as_numpy_dtype
        missing: Any = b"" if dtype is object else 0 if np.issubdtype(dtype, np.integer) else np.nan
        inputs[feature.name] = np.array([_value(example.get(feature.name), missing) for example in parsed], dtype)
    return inputs


def _value(feature: tf.train.Feature | None, missing: Any) -> Any:
    kind = feature.WhichOneof("kind") if feature is not None else None
    values = getattr(feature, kind).value if kind else ()
    return values[0] if values else missing


def _request(signature: str, inputs: dict[str, np.ndarray]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "candidate"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request
