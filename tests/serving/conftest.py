"""A SavedModel small enough to know its answers by heart."""

import pytest
import tensorflow as tf


class HalfPlusTwo(tf.Module):
    """y = x / 2 + 2; and a greeting, for text in and text out."""

    def __init__(self):
        super().__init__()
        self.slope = tf.Variable(0.5)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x):
        return {"y": self.slope * x + 2.0}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="name"), tf.TensorSpec([None], tf.int64, name="age")]
    )
    def greet(self, name, age):
        return {"greeting": tf.strings.join([name, tf.strings.as_string(age)], " is "), "next_age": age + 1}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def refuse_negative(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x is negative")]):
            return {"y": tf.sqrt(x)}


@pytest.fixture(scope="session")
def half_plus_two(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("half_plus_two") / "saved")
    module = HalfPlusTwo()
    signatures = {"serving_default": module.predict, "greet": module.greet, "root": module.refuse_negative}
    tf.saved_model.save(module, path, signatures=signatures)
    return path
