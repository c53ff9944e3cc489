"""What every architecture promises: described inputs by name → one float for each row."""

import keras
import numpy as np
import pytest

from models.architectures import build
from models.architectures.inputs import ModelInput
from models.config import LinearConfig, MlpConfig

CONFIGS = [
    LinearConfig(architecture="linear"),
    MlpConfig(architecture="mlp", units=(8, 4), dropout=0.5),
    MlpConfig(architecture="mlp", units=(), dropout=0),
]

pytestmark = pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda config: "-".join(map(str, config.model_dump().values()))
)


def test_the_output_is_one_float_for_each_row(config, inputs, batch):
    model = build(config, inputs)
    assert model.output_shape == (None,)
    for rows in (1, 7):
        output = model(batch(rows), training=False)
        assert tuple(output.shape) == (rows,)
        assert keras.backend.standardize_dtype(output.dtype) == "float32"


def test_the_inputs_are_read_by_name(config, inputs, batch):
    model = build(config, inputs)
    assert {layer.name: layer.dtype for layer in model.inputs} == {
        each.name: "float32" if each.id_count is None else "int64" for each in inputs
    }
    values = batch(3)
    turned_round = dict(reversed(values.items()))
    np.testing.assert_array_equal(model(values, training=False), model(turned_round, training=False))


def test_each_row_is_answered_by_itself(config, inputs, batch):
    model = build(config, inputs)
    values = batch(5)
    alone = [model({name: value[row : row + 1] for name, value in values.items()}, training=False) for row in range(5)]
    np.testing.assert_allclose(model(values, training=False), np.concatenate(alone), atol=1e-6)


def test_every_input_counts(config, inputs, batch):
    model = build(config, inputs)
    values, other = batch(64, seed=1), batch(64, seed=2)
    before = np.asarray(model(values, training=False))
    for each in inputs:
        after = np.asarray(model({**values, each.name: other[each.name]}, training=False))
        assert np.abs(after - before).max() > 1e-6, each.name


def test_a_saved_model_predicts_the_same(config, inputs, batch, tmp_path):
    model = build(config, inputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded(batch(9), training=False), model(batch(9), training=False))


@pytest.mark.parametrize(
    "only", [ModelInput("x"), ModelInput("x", (3,)), ModelInput("x", (), 4)], ids=["number", "vector", "id"]
)
def test_one_input_is_enough(config, only):
    model = build(config, [only])
    values = np.array([0, 3, 1]) if only.id_count else np.ones((3, *only.shape), np.float32)
    assert tuple(model({"x": values}, training=False).shape) == (3,)


def test_the_same_seed_makes_the_same_model(config, inputs, batch):
    outputs = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        outputs.append(np.asarray(build(config, inputs)(batch(9), training=False)))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-6
