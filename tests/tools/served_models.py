"""SavedModels that tests serve: small enough to know their answers by heart."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def _takes(*specs: tuple[str, list[int | None], tf.DType]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in specs]


class HalfPlusTwo(tf.Module):
    """y = x / 2 + 2, as in TensorFlow Serving's own tests: Predict, Classify and Regress."""

    def __init__(self, slope: float = 0.5, offset: float = 2.0):
        super().__init__()
        self.slope = tf.Variable(slope)
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=_takes(("x", [None], tf.float32)))
    def predict(self, x):
        return {"y": self.slope * x + self.offset}

    @tf.function(input_signature=_takes(("inputs", [None], tf.string)))
    def regress(self, inputs):
        return {"outputs": self.slope * self._x(inputs) + self.offset}

    @tf.function(input_signature=_takes(("inputs", [None], tf.string)))
    def classify(self, inputs):
        score = self.slope * self._x(inputs) + self.offset
        labels = tf.repeat(tf.constant([["low", "high"]]), tf.shape(score)[0], axis=0)
        return {"classes": labels, "scores": tf.stack([-score, score], axis=1)}

    @tf.function(input_signature=_takes(("inputs", [None], tf.string)))
    def scores_only(self, inputs):
        return {"scores": self._x(inputs)[:, None]}

    @tf.function(input_signature=_takes(("inputs", [None], tf.string)))
    def classes_only(self, inputs):
        return {"classes": tf.strings.as_string(self._x(inputs))[:, None]}

    @staticmethod
    def _x(serialized):
        features = {"x": tf.io.FixedLenFeature([], tf.float32, default_value=0.0)}
        return tf.io.parse_example(serialized, features)["x"]


class Zoo(tf.Module):
    """A signature for each thing that a server must get right."""

    def __init__(self):
        super().__init__()
        self.count = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=_takes(("value", [], tf.int64)))
    def counter(self, value):
        """Stateful: adds up all it was given."""
        return {"total": self.count.assign_add(value)}

    @tf.function(input_signature=_takes(("x", [None], tf.float32)))
    def fail(self, x):
        """Fails if a value is negative."""
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x is negative")]):
            return {"y": tf.sqrt(x)}

    @tf.function(input_signature=_takes(("steps", [None], tf.int64)))
    def slow(self, steps):
        """Takes some 3 ms for each 1,000 of its largest step."""
        most = tf.reduce_max(tf.concat([steps, [0]], 0))
        done = tf.while_loop(
            lambda i, _: i < most, lambda i, total: (i + 1, tf.sin(total)), (tf.constant(0, tf.int64), 1.0)
        )
        return {"done": steps + tf.cast(tf.math.floor(done[1] * 0.0), tf.int64)}

    @tf.function(input_signature=_takes(("text", [None], tf.string), ("number", [None], tf.int64)))
    def greet(self, text, number):
        """Text in, text and bytes and a number out."""
        said = tf.strings.join([text, tf.strings.as_string(number)], " is ")
        return {"greeting": said, "greeting_bytes": said, "next": number + 1}

    @tf.function(input_signature=_takes(("text", [None], tf.string)))
    def echo_bytes(self, text):
        return {"text_bytes": text}

    @tf.function(input_signature=_takes(("text", [None], tf.string)))
    def echo_text(self, text):
        return {"text": text}

    @tf.function(input_signature=_takes(("v", [None, 3], tf.float32)))
    def vectors(self, v):
        return {"total": tf.reduce_sum(v, axis=1), "doubled": v * 2}

    @tf.function(input_signature=_takes(("v", [None, None], tf.float32)))
    def ragged(self, v):
        """Any width: pad_variable_length_inputs shows."""
        return {"v": v, "first": v[:, 0]}

    @tf.function(input_signature=_takes(("x", [], tf.float32)))
    def scalar(self, x):
        return {"y": x + 1.0}

    @tf.function(input_signature=_takes(("x", [None], tf.float32)))
    def to_scalar(self, x):
        return {"total": tf.reduce_sum(x)}

    @tf.function(input_signature=_takes(("text", [None], tf.string)))
    def to_scalar_text(self, text):
        return {"joined": tf.strings.reduce_join(text)}

    @tf.function(input_signature=_takes(("text", [None], tf.string)))
    def to_number(self, text):
        """Fails with a message that quotes the text."""
        return {"number": tf.strings.to_number(text)}

    @tf.function(input_signature=_takes(("x", [None], tf.float32)))
    def uneven(self, x):
        """Two outputs of different first dimensions."""
        return {"a": x, "b": tf.concat([x, x], 0)}

    @tf.function(input_signature=_takes(("x", [None], tf.float32)))
    def size(self, x):
        """How many rows the run had."""
        return {"x": x, "rows": tf.fill([tf.shape(x)[0]], tf.shape(x)[0])}

    @tf.function(input_signature=_takes(("x", [None], tf.float32)))
    def half_precision(self, x):
        return {"y": tf.cast(x, tf.float16)}


_ECHOED = (
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "float16",
)


def _echo(dtype: tf.DType):
    return tf.function(lambda x: {"y": tf.identity(x)}, input_signature=_takes(("x", [None], dtype)))


def save_half_plus_two(base_path: Path, version: int = 1, slope: float = 0.5, offset: float = 2.0) -> Path:
    """Writes a version into the model's folder, and gives that folder."""
    module = HalfPlusTwo(slope, offset)
    signatures = {
        "serving_default": module.predict,
        "classify": module.classify,
        "regress": module.regress,
        "scores_only": module.scores_only,
        "classes_only": module.classes_only,
    }
    tf.saved_model.save(module, str(base_path / str(version)), signatures=signatures)
    return base_path


def save_zoo(base_path: Path, version: int = 1) -> Path:
    """Writes a version into the model's folder, and gives that folder."""
    module = Zoo()
    names = ("counter", "fail", "slow", "greet", "echo_bytes", "echo_text", "vectors", "ragged", "scalar")
    names += ("to_scalar", "to_scalar_text", "to_number", "uneven", "size", "half_precision")
    signatures = {name: getattr(module, name) for name in names}
    for dtype in _ECHOED:
        function = _echo(tf.as_dtype(dtype))
        setattr(module, f"echo_{dtype}", function)
        signatures[f"echo_{dtype}"] = function
    tf.saved_model.save(module, str(base_path / str(version)), signatures=signatures)
    return base_path
