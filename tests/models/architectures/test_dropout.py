"""Dropout from random bytes does what Keras's does."""

import keras
import numpy as np
import pytest

from models.architectures.dropout import Dropout

ROWS, WIDTH = 4_000, 7
"""A width that is no whole number of words."""


def dropped(rate, seed=1):
    """Of ones: 0 where dropped."""
    return np.asarray(Dropout(rate, seed=seed)(np.ones((ROWS, WIDTH), np.float32), training=True))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_the_share_and_what_is_left_follow_from_the_rate(rate):
    values, of = dropped(rate), round(rate * 256)
    assert np.mean(values == 0) == pytest.approx(of / 256, abs=4 * 0.5 / np.sqrt(ROWS * WIDTH))
    np.testing.assert_array_equal(np.unique(values), np.array([0, 256 / (256 - of)], np.float32))
    assert values.mean() == pytest.approx(1, abs=0.1)


def test_each_number_is_dropped_by_itself():
    is_zero = (dropped(0.5) == 0).astype(float)
    between_columns = np.corrcoef(is_zero, rowvar=False)[np.triu_indices(WIDTH, 1)]
    assert np.abs(between_columns).max() < 0.1
    assert abs(np.corrcoef(is_zero[1:, 0], is_zero[:-1, 0])[0, 1]) < 0.1


def test_the_same_seed_drops_the_same_and_each_call_others():
    np.testing.assert_array_equal(dropped(0.5), dropped(0.5))
    assert (dropped(0.5) != dropped(0.5, seed=2)).any()
    layer, ones = Dropout(0.5, seed=1), np.ones((ROWS, WIDTH), np.float32)
    assert (np.asarray(layer(ones, training=True)) != np.asarray(layer(ones, training=True))).any()


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.001, True), (0.5, False)])
def test_otherwise_nothing_is_dropped(rate, training):
    ones = np.ones((ROWS, WIDTH), np.float32)
    np.testing.assert_array_equal(Dropout(rate)(ones, training=training), ones)


def test_something_is_always_left():
    assert 0 < np.mean(dropped(0.9999) != 0) < 0.01


def test_it_is_saved_and_loaded(tmp_path):
    layers = [keras.Input((WIDTH,)), Dropout(0.25, seed=3)]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    [layer] = keras.saving.load_model(tmp_path / "model.keras").layers
    assert (type(layer), layer.rate, layer.seed) == (Dropout, 0.25, 3)
