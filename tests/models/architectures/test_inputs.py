"""The inputs side by side: numbers as they are, ids embedded."""

import keras
import numpy as np

from models.architectures.inputs import ModelInput, concatenate, layers_of, scalar


def test_columns_are_in_the_order_of_the_inputs_and_ids_are_embedded():
    inputs = [ModelInput("b"), ModelInput("id", (), 3), ModelInput("a", (2,))]
    layers = layers_of(inputs)
    columns = keras.Model(layers, concatenate(inputs, layers, dimension=lambda count: count - 1))
    columns.get_layer("embed_id").set_weights([np.array([[0, 0], [10, 11], [20, 21]], np.float32)])
    output = columns({"a": np.array([[2.0, 3.0]]), "b": np.array([1.0]), "id": np.array([2])})
    assert np.asarray(output).tolist() == [[1.0, 20.0, 21.0, 2.0, 3.0]]


def test_a_scalar_has_no_width():
    layer = keras.Input((1,))
    output = keras.Model(layer, scalar(layer))(np.array([[1.0], [2.0]]))
    assert np.asarray(output).tolist() == [1.0, 2.0]
