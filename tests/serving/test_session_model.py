"""A SavedModel answers here exactly if it would answer in TensorFlow Serving."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from memory_places import new_place, remote

from serving.session_model import SessionModel


@pytest.fixture(scope="module")
def model(half_plus_two):
    loaded = SessionModel(half_plus_two)
    yield loaded
    loaded.close()


def test_it_answers_a_signature(model):
    answer = model.run("serving_default", {"x": np.array([1.0, 2.0, 5.0], np.float32)})
    assert list(answer) == ["y"]
    assert answer["y"].dtype == np.float32
    assert answer["y"].tolist() == [2.5, 3.0, 4.5]


def test_it_answers_text_and_several_outputs(model):
    answer = model.run("greet", {"name": np.array([b"Ada", b"Max"], object), "age": np.array([36, 7])})
    assert answer["greeting"].tolist() == [b"Ada is 36", b"Max is 7"]
    assert answer["next_age"].tolist() == [37, 8]


def test_it_lists_its_signatures(model):
    assert {"serving_default", "greet", "root"} <= set(model.signatures)
    assert set(model.signatures["greet"].inputs) == {"name", "age"}


def test_an_unknown_signature_is_a_key_error(model):
    with pytest.raises(KeyError, match="clasify"):
        model.run("clasify", {"x": np.zeros(1, np.float32)})


@pytest.mark.parametrize("names", [["name"], [], ["name", "age", "size"], ["name", "Age"]], ids=str)
def test_inputs_that_are_not_exactly_the_signatures_are_refused_by_name(model, names):
    inputs = {name: np.array([1]) for name in names}
    with pytest.raises(ValueError, match=r"expected the inputs \['age', 'name'\], received"):
        model.run("greet", inputs)


def test_an_input_of_the_wrong_type_is_an_error(model):
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.run("serving_default", {"x": np.array([b"one"], object)})
    assert model.run("serving_default", {"x": np.array([4.0], np.float32)})["y"].tolist() == [4.0]


def test_a_graph_that_fails_is_an_error_and_answers_the_next_request(model):
    with pytest.raises(tf.errors.InvalidArgumentError, match="x is negative"):
        model.run("root", {"x": np.array([-1.0], np.float32)})
    assert model.run("root", {"x": np.array([4.0], np.float32)})["y"].tolist() == [2.0]


def test_a_folder_without_a_model_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)):
        SessionModel(str(tmp_path))


def test_a_closed_model_answers_no_more(half_plus_two):
    model = SessionModel(half_plus_two)
    model.close()
    with pytest.raises(tf.errors.CancelledError, match="closed"):
        model.run("serving_default", {"x": np.zeros(1, np.float32)})


def test_two_versions_do_not_share_their_variables(half_plus_two, tmp_path):
    class Constant(tf.Module):
        def __init__(self):
            super().__init__()
            self.slope = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def predict(self, x):
            return {"y": self.slope * x}

    other = Constant()
    tf.saved_model.save(other, str(tmp_path / "other"), signatures=other.predict)
    one, two = SessionModel(half_plus_two), SessionModel(str(tmp_path / "other"))
    x = {"x": np.array([2.0], np.float32)}
    assert (one.run("serving_default", x)["y"], two.run("serving_default", x)["y"]) == ([3.0], [6.0])
    one.close()
    assert two.run("serving_default", x)["y"] == [6.0]
    two.close()


def test_a_keras_3_model_saved_naively_answers_eagerly_but_not_here(tmp_path):
    """Why models are exported as a tf.Module: https://github.com/tensorflow/serving/issues/2250.

    If this test fails because nothing is raised, that bug is mended, and `models.signatures` may become simpler.
    """
    inputs = keras.Input((2,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    path = str(tmp_path / "naive")
    tf.saved_model.save(model, path, signatures=serve)
    x = np.array([[1.0, 2.0]], np.float32)

    eager = tf.saved_model.load(path).signatures["serving_default"](x=tf.constant(x))
    np.testing.assert_allclose(eager["y"], model(x), atol=1e-6)

    with pytest.raises(tf.errors.FailedPreconditionError, match="Could not find variable"):
        SessionModel(path).run("serving_default", {"x": x})


def test_a_model_in_an_object_store(half_plus_two):
    model = SessionModel.load(remote(Path(half_plus_two)))
    assert model.run("serving_default", {"x": np.array([1.0], np.float32)})["y"].tolist() == [2.5]
    model.close()


def test_a_model_that_is_not_in_the_object_store_is_an_os_error():
    with pytest.raises(FileNotFoundError):
        SessionModel.load(new_place())
