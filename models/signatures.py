"""What a pushed model answers to.

| signature | takes | gives |
| --- | --- | --- |
| `serving_default` | raw features by name, each [batch] | `probability` or `prediction`, float32 [batch] |
| `serve_examples` | `examples`: serialized tf.Examples, string [batch] | the same |
| `classify` (binary) | `inputs`: serialized tf.Examples | `classes` string [batch, 2], `scores` float32 [batch, 2] |
| `regress` | `inputs`: serialized tf.Examples | `outputs` float32 [batch] |
| `transform_features` | `examples`: serialized tf.Examples | the model's inputs by name |

A binary task answers `probability`, regression answers `prediction`.

A raw feature is DT_STRING for BYTES, DT_FLOAT for FLOAT and DT_INT64 for INT; an INT that may be missing is
DT_DOUBLE, since neither JSON nor a tensor has a null: NaN is missing, and so is the empty string.

The model is exported as a plain `tf.Module` that holds its variables: a Keras 3 model given to
`tf.saved_model.save` loads eagerly but not in TensorFlow Serving (tensorflow/serving#2250).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature

CLASSES = ("0", "1")
SERVE_EXAMPLES = "serve_examples"
TRANSFORM_FEATURES = "transform_features"

_DTYPES = {schema_pb2.BYTES: tf.string, schema_pb2.FLOAT: tf.float32, schema_pb2.INT: tf.int64}

Tensors = dict[str, tf.Tensor]


def output_name(task: str) -> str:
    """The name of the one output of the predict signatures."""
    return "probability" if task == "binary" else "prediction"


class ServedModel(tf.Module):
    """A trained model behind its transform graph, as SavedModel signatures.

    Args:
        model: Inputs by name → float32 [batch].
        transform: Of the Transform component that fed the training.
        features: The raw features that a request carries.
        task: `binary` or `regression`.
    """

    def __init__(
        self, model: keras.Model, transform: tft.TFTransformOutput, features: list[Feature], task: str
    ) -> None:
        super().__init__()
        self._model_variables = [variable.value for variable in model.variables]
        self._transform_layer = transform.transform_features_layer()
        self._model = tf.autograph.experimental.do_not_convert(lambda inputs: model(inputs, training=False))
        self._input_names = {layer.name for layer in model.inputs}
        self._features = features
        names = {feature.name for feature in features}
        self._raw_spec = {name: spec for name, spec in transform.raw_feature_spec().items() if name in names}
        self._task = task

    def save(self, path: str) -> None:
        """Writes the SavedModel."""
        tf.saved_model.save(self, path, signatures=self.signatures())

    def signatures(self) -> dict[str, Any]:
        """The concrete functions by signature name."""
        raw = {feature.name: tf.TensorSpec([None], raw_dtype(feature), name=feature.name) for feature in self._features}
        signatures = {
            "serving_default": tf.function(self._serve_raw).get_concrete_function(raw),
            SERVE_EXAMPLES: _of_examples(self._serve_examples, "examples"),
            "regress": _of_examples(self._regress, "inputs"),
            TRANSFORM_FEATURES: _of_examples(self._transform_examples, "examples"),
        }
        if self._task == "binary":
            signatures["classify"] = _of_examples(self._classify, "inputs")
        return signatures

    def _serve_raw(self, raw: Tensors) -> Tensors:
        parsed = {feature.name: self._as_parsed(feature, raw[feature.name]) for feature in self._features}
        return {output_name(self._task): self._predict(self._transform(parsed))}

    def _serve_examples(self, examples: tf.Tensor) -> Tensors:
        return {output_name(self._task): self._predict(self._transform_examples(examples))}

    def _regress(self, inputs: tf.Tensor) -> Tensors:
        return {"outputs": self._predict(self._transform_examples(inputs))}

    def _classify(self, inputs: tf.Tensor) -> Tensors:
        positive = self._predict(self._transform_examples(inputs))
        classes = tf.tile(tf.constant([CLASSES]), [tf.size(positive), 1])
        return {"classes": classes, "scores": tf.stack([1.0 - positive, positive], axis=1)}

    def _transform_examples(self, examples: tf.Tensor) -> Tensors:
        return self._transform(tf.io.parse_example(examples, self._raw_spec))

    def _transform(self, raw: dict[str, tf.Tensor | tf.SparseTensor]) -> Tensors:
        transformed = self._transform_layer(raw)
        return {name: value for name, value in transformed.items() if name in self._input_names}

    def _predict(self, inputs: Tensors) -> tf.Tensor:
        output = self._model(inputs)
        return tf.sigmoid(output) if self._task == "binary" else output

    def _as_parsed(self, feature: Feature, values: tf.Tensor) -> tf.Tensor | tf.SparseTensor:
        """A request's tensor in the form that a parsed tf.Example has, with missing values left out."""
        if isinstance(self._raw_spec[feature.name], tf.io.FixedLenFeature):
            return tf.reshape(tf.cast(values, _DTYPES[feature.type]), [-1, *self._raw_spec[feature.name].shape])
        if values.dtype.is_floating:
            there = ~tf.math.is_nan(values)
        elif values.dtype == tf.string:
            there = values != ""
        else:
            there = tf.ones_like(values, tf.bool)
        rows = tf.where(there)
        return tf.SparseTensor(
            tf.concat([rows, tf.zeros_like(rows)], axis=1),
            tf.cast(tf.boolean_mask(values, there), _DTYPES[feature.type]),
            [tf.size(values, tf.int64), 1],
        )


def raw_dtype(feature: Feature) -> tf.DType:
    """The dtype of a raw feature in `serving_default`."""
    if feature.type == schema_pb2.INT and not feature.required:
        return tf.float64
    return _DTYPES[feature.type]


def _of_examples(function: Any, name: str) -> Any:
    return tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name=name)]).get_concrete_function()
