"""How much of the training time steps waited for their data: whether reading or arithmetic is what to make faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

INPUT_BOUND = "input_bound"
"""The share among the logs of an epoch, and so in its history."""


class TimedModel(keras.Model):
    """A model in training, with a stop watch that notes how long its steps wait and how long they compute.

    Keras runs many steps as one graph, which asks for the next batch while a step is computed. So neither what Python
    sees nor how long a batch takes is what a step waits, but the time from the end of the step before to the arrival
    of the batch. It is noted here and not in the data set: where operations are deterministic, TensorFlow reads nothing
    ahead in a data set that calls Python.

    Args:
        model: A functional model, whose layers are trained.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model.input, model.output, name=model.name)
        self.watch = StopWatch()

    def train_step(self, data: Any) -> Any:
        """See `keras.Model`."""
        with tf.control_dependencies(tf.nest.flatten(data)), tf.control_dependencies([_call(self.watch.arrived)]):
            data = tf.nest.map_structure(tf.identity, data)
        logs = super().train_step(data)
        with tf.control_dependencies([weight.value.read_value() for weight in self.trainable_variables]):
            _call(self.watch.computed)
        return logs


class StopWatch:
    """Sums up two kinds of time: those that end in `arrived` and those that end in `computed`."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._waited = 0.0
        self._computed = 0.0

    def start(self) -> None:
        """Begins to wait."""
        self._last = time.perf_counter()

    def arrived(self) -> None:
        """What was waited for is here."""
        self._waited += self._lap()

    def computed(self) -> None:
        """It has been used, and the next is waited for."""
        self._computed += self._lap()

    def take(self) -> tuple[float, float]:
        """The seconds of waiting and of computing since this was asked before."""
        times = self._waited, self._computed
        self._waited = self._computed = 0.0
        return times

    def _lap(self) -> float:
        before, self._last = self._last, time.perf_counter()
        return 0.0 if before is None else self._last - before


class InputBound(keras.callbacks.Callback):
    """Adds the share of waiting to the logs of each epoch of a `TimedModel`, for the callbacks after this one.

    The first batch of all does not count: it is read while the step is traced.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if epoch > 0:
            self.model.watch.start()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        waited, computed = self.model.watch.take()
        share = waited / (waited + computed)
        logging.info("Epoch %d: %.1f s of training, input-bound %.0f%%", epoch + 1, waited + computed, 100 * share)
        if logs is not None:
            logs[INPUT_BOUND] = share


def _call(function: Callable[[], None]) -> tf.Operation:
    """Calls Python from a graph: TensorFlow has a clock of its own, but not where operations are deterministic."""
    return tf.numpy_function(function, [], [])
