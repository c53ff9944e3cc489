"""Described inputs of each kind, and values for them."""

import keras
import numpy as np
import pytest

from models.architectures.inputs import ModelInput

INPUTS = [
    ModelInput("temp"),
    ModelInput("temp_missing"),
    ModelInput("origin", (), 5),
    ModelInput("departure", (11,)),
    ModelInput("tailnum", (), 300),
]


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(1)


@pytest.fixture
def inputs():
    return list(INPUTS)


@pytest.fixture
def batch():
    """Random values for `inputs`."""

    def make(rows, seed=1):
        random = np.random.default_rng(seed)
        return {
            each.name: random.integers(0, each.id_count, rows)
            if each.id_count
            else random.normal(size=(rows, *each.shape)).astype(np.float32)
            for each in INPUTS
        }

    return make
