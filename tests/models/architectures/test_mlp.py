"""The MLP's sizes are the configuration's."""

import numpy as np
import pytest

from models.architectures import mlp
from models.config import MlpConfig


def test_hidden_layers_have_the_configured_units(inputs):
    model = mlp.build(MlpConfig(architecture="mlp", units=(32, 8, 4)), inputs)
    widths = [model.get_layer(f"hidden_{index}").units for index in range(3)]
    assert widths == [32, 8, 4]


@pytest.mark.parametrize(("widest", "expected"), [(16, {"origin": 3, "tailnum": 16}), (2, {"origin": 2, "tailnum": 2})])
def test_an_embedding_is_as_wide_as_its_values_need_up_to_the_widest(inputs, widest, expected):
    # The square root of 5 and of 300 ids, rounded up, is 3 and 18.
    model = mlp.build(MlpConfig(architecture="mlp", embedding_dimension=widest), inputs)
    assert {name: model.get_layer(f"embed_{name}").output_dim for name in expected} == expected


def test_dropout_is_for_training_only(inputs, batch):
    model = mlp.build(MlpConfig(architecture="mlp", units=(64,), dropout=0.5), inputs)
    values = batch(16)
    np.testing.assert_array_equal(model(values, training=False), model(values, training=False))
    assert np.abs(np.asarray(model(values, training=True)) - np.asarray(model(values, training=True))).max() > 1e-6


def test_it_can_learn_what_a_linear_model_cannot(inputs, batch):
    model = mlp.build(MlpConfig(architecture="mlp", units=(16,), dropout=0), inputs)
    values = batch(6)
    temps = [{**values, "temp": np.full(6, temp, np.float32)} for temp in (-2.0, 0.0, 2.0)]
    low, middle, high = (np.asarray(model(each, training=False)) for each in temps)
    assert np.abs(low + high - 2 * middle).max() > 1e-4
