"""Linear means linear: one weight for each number, one for each value of each category."""

import numpy as np

from models.architectures import linear
from models.config import LinearConfig

CONFIG = LinearConfig(architecture="linear")


def test_it_has_one_weight_for_each_number_and_each_value(inputs):
    model = linear.build(CONFIG, inputs)
    numbers, values, columns, bias = 1 + 1 + 11, 5 + 300, 1 + 1 + 1 + 11 + 1, 1
    assert model.count_params() == values + columns + bias
    assert columns == numbers + 2  # each category's weight is scaled once more


def test_the_effect_of_a_number_does_not_depend_on_the_rest(inputs, batch):
    model = linear.build(CONFIG, inputs)

    def effect(values, change):
        changed = {**values, "temp": values["temp"] + np.float32(change)}
        return np.asarray(model(changed, training=False)) - np.asarray(model(values, training=False))

    one = effect(batch(6, seed=1), 1.0)
    np.testing.assert_allclose(one, np.full(6, one[0]), atol=1e-5)
    np.testing.assert_allclose(effect(batch(6, seed=2), 2.0), 2 * one, atol=1e-5)
    assert abs(one[0]) > 1e-4
