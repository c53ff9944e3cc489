"""The share of the training time that steps waited for data."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.input_bound import INPUT_BOUND, InputBound, StopWatch, TimedModel

BATCHES = 12


@pytest.fixture
def plain():
    layer = keras.Input((4,), name="x")
    return keras.Model({"x": layer}, keras.layers.Dense(1, name="dense")(layer))


def fit(model, seconds, steps_per_execution, epochs=2):
    """The share in each epoch, of batches that take so long to come."""

    def wait(number):
        time.sleep(seconds)
        return np.float32(number)

    def batch(number):
        slow = tf.numpy_function(wait, [number], tf.float32) if seconds else tf.cast(number, tf.float32)
        return {"x": tf.fill([2, 4], slow)}, tf.zeros([2])

    timed = TimedModel(model)
    timed.compile("sgd", "mse", steps_per_execution=steps_per_execution, jit_compile=False)
    history = timed.fit(tf.data.Dataset.range(BATCHES).map(batch), epochs=epochs, verbose=0, callbacks=[InputBound()])
    return history.history[INPUT_BOUND]


@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_waiting_for_slow_batches_is_most_of_the_time(plain, steps_per_execution):
    assert all(0.5 < share < 1 for share in fit(plain, 0.02, steps_per_execution))


def test_the_share_is_between_none_and_all(plain):
    assert all(0 <= share < 1 for share in fit(plain, 0, 4))


def test_the_layers_are_those_of_the_model(plain):
    before = plain.get_weights()
    fit(plain, 0, 4, epochs=1)
    assert any(not np.array_equal(one, other) for one, other in zip(before, plain.get_weights(), strict=True))


def test_the_watch_sums_up_both_kinds_of_time(monkeypatch):
    now = iter([10.0, 11.0, 14.0, 20.0, 20.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    watch = StopWatch()
    watch.arrived()  # the first does not count: nobody knows since when it was waited for
    watch.computed()
    watch.arrived()
    assert watch.take() == (3.0, 1.0)
    watch.start()
    watch.arrived()
    assert watch.take() == (0.5, 0.0)
