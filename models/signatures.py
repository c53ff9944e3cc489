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
DT_DOUBLE, since neither JSON nor a tensor has a null: NaN is missing, and so is the empty string. What follows the
point of such a number is dropped.

The model is exported as a plain `tf.Module` that holds its variables: a Keras 3 model given to
`tf.saved_model.save` loads eagerly but not in TensorFlow Serving (tensorflow/serving#2250).
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow.core.protobuf import saved_model_pb2
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
        self._model = functools.partial(model, training=False)
        self._input_names = {layer.name for layer in model.inputs}
        self._features = features
        names = {feature.name for feature in features}
        self._raw_spec = {name: spec for name, spec in transform.raw_feature_spec().items() if name in names}
        self._task = task

    def save(self, path: str) -> None:
        """Writes the SavedModel."""
        tf.saved_model.save(self, path, signatures=self.signatures())
        _let_inline(path)

    def signatures(self) -> dict[str, Any]:
        """The concrete functions by signature name.

        Without autograph: there is no branch to convert, and Keras and TFT have much source. What several signatures
        do with examples is traced once.
        """
        transform = _of_examples(self._transform_examples, "examples")
        predict = _of_examples(lambda examples: self._predict(transform(examples)), "examples")
        raw = {feature.name: tf.TensorSpec([None], raw_dtype(feature), name=feature.name) for feature in self._features}
        signatures = {
            "serving_default": tf.function(self._serve_raw, autograph=False).get_concrete_function(raw),
            SERVE_EXAMPLES: _of_examples(lambda examples: {output_name(self._task): predict(examples)}, "examples"),
            "regress": _of_examples(lambda inputs: {"outputs": predict(inputs)}, "inputs"),
            TRANSFORM_FEATURES: transform,
        }
        if self._task == "binary":
            signatures["classify"] = _of_examples(lambda inputs: _as_classes(predict(inputs)), "inputs")
        return signatures

    def _serve_raw(self, raw: Tensors) -> Tensors:
        return {output_name(self._task): self._predict(self._transform(self._as_parsed(raw)))}

    def _transform_examples(self, examples: tf.Tensor) -> Tensors:
        return self._transform(tf.io.parse_example(examples, self._raw_spec))

    def _transform(self, raw: dict[str, tf.Tensor | tf.SparseTensor]) -> Tensors:
        # Not called as a layer, since saving then traces the layer once more, as a Keras model, which nothing reads.
        transformed = self._transform_layer.call(raw)
        return {name: value for name, value in transformed.items() if name in self._input_names}

    def _predict(self, inputs: Tensors) -> tf.Tensor:
        output = self._model(inputs)
        return tf.sigmoid(output) if self._task == "binary" else output

    def _as_parsed(self, raw: Tensors) -> dict[str, tf.Tensor | tf.SparseTensor]:
        """A request's tensors in the form that parsed tf.Examples have.

        A missing FLOAT stays NaN and a missing BYTES stays empty: the transform graph takes both for absent. An INT
        can be neither, so what is missing is left out.
        """
        parsed: dict[str, tf.Tensor | tf.SparseTensor] = {}
        shape = tf.stack([tf.size(next(iter(raw.values())), tf.int64), 1])
        every_row = tf.where(tf.fill(shape, True))
        doubles: dict[str, tf.Tensor] = {}
        for feature in self._features:
            values, spec, dtype = raw[feature.name], self._raw_spec[feature.name], _DTYPES[feature.type]
            if isinstance(spec, tf.io.FixedLenFeature):
                parsed[feature.name] = tf.reshape(tf.cast(values, dtype), [-1, *spec.shape])
            elif values.dtype == dtype:
                parsed[feature.name] = tf.SparseTensor(every_row, values, shape)
            else:
                doubles[feature.name] = values
        if doubles:
            parsed.update(zip(doubles, _integers(list(doubles.values()), shape), strict=True))
        return parsed


def raw_dtype(feature: Feature) -> tf.DType:
    """The dtype of a raw feature in `serving_default`."""
    if feature.type == schema_pb2.INT and not feature.required:
        return tf.float64
    return _DTYPES[feature.type]


def _as_classes(positive: tf.Tensor) -> Tensors:
    classes = tf.tile(tf.constant([CLASSES]), [tf.size(positive), 1])
    return {"classes": classes, "scores": tf.stack([1.0 - positive, positive], axis=1)}


def _of_examples(function: Any, name: str) -> Any:
    examples = tf.TensorSpec([None], tf.string, name=name)
    return tf.function(function, autograph=False).get_concrete_function(examples)


def _integers(doubles: list[tf.Tensor], shape: tf.Tensor) -> list[tf.SparseTensor]:
    """Each of some [batch], without its NaNs, as a sparse [batch, 1] of integers."""
    columns = tf.stack(doubles)[..., tf.newaxis]
    there = ~tf.math.is_nan(columns)
    where = tf.where(there)
    values = tf.cast(tf.gather_nd(columns, where), tf.int64)
    counts = tf.math.count_nonzero(there, axis=[1, 2])
    pieces = zip(tf.split(where[:, 1:], counts), tf.split(values, counts), strict=True)
    return [tf.SparseTensor(rows, integers, shape) for rows, integers in pieces]


def _let_inline(path: str) -> None:
    """Names each look-up in a table as a side effect of its function, in a SavedModel.

    TensorFlow takes look-ups for side effects and does not inline a function that may lose one. TFT's function names
    none of its own; as a call it would cost a third of the time of a small request.
    """
    file = f"{path}/{tf.saved_model.SAVED_MODEL_FILENAME_PB}"
    with tf.io.gfile.GFile(file, "rb") as stream:
        saved = saved_model_pb2.SavedModel.FromString(stream.read())
    for meta_graph in saved.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if node.op.startswith("LookupTable") and node.name not in function.control_ret.values():
                    function.control_ret[node.name] = node.name
                    function.signature.control_output.append(node.name)
    with tf.io.gfile.GFile(file, "wb") as stream:
        stream.write(saved.SerializeToString())
