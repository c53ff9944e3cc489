"""Requests as tensors, and several requests as one run: how they are joined, padded, and given their rows back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.server.json_request import Rows, scalar_columns
from serving.server.servable import Signature
from serving.server.status import Code, StatusError


@dataclass(frozen=True)
class BatchingOptions:
    """When and how requests share a run."""

    max_batch_size: int = 1000
    """The most rows of one run; a request of more is refused, or runs by itself if large batches may be split."""
    batch_timeout_micros: int = 0
    """How long a request may wait for others; 0 is until the end of the event loop's turn."""
    max_enqueued_batches: int = 10
    """The most batches that wait for a thread, the one that others may still join among them."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """If given, a batch is padded to the next of these sizes."""
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    num_batch_threads: int = 0
    """0 for one for each core."""

    def allows(self, rows: int) -> bool:
        """Whether a request may have so many rows."""
        return rows <= self.max_batch_size or self.enable_large_batch_splitting

    def may_run_alone(self, rows: int) -> bool:
        """Whether a request of so many rows needs neither to wait nor to be padded or refused."""
        return not self.batch_timeout_micros and not self.allowed_batch_sizes and self.allows(rows)


class Request(Protocol):
    """What is asked of a signature."""

    size: int

    def arrays(self) -> list[np.ndarray]:
        """The tensors in the order of the signature's inputs."""


class Tensors:
    """A request that is tensors already."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self._arrays = arrays
        self.size = len(arrays[0]) if arrays and arrays[0].ndim else 1

    def arrays(self) -> list[np.ndarray]:
        """See `Request`."""
        return self._arrays


@dataclass(frozen=True)
class Answer:
    """What a request was, as tensors, and what the model said."""

    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


@dataclass(eq=False)
class Task:
    """A request, and who waits for its answer."""

    request: Request
    future: asyncio.Future[Answer]
    is_started: bool = False
    """Whether its batch has left the queue."""

    def succeed(self, answer: Answer) -> None:
        """Tells the answer, unless nobody waits any more."""
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: StatusError) -> None:
        """Tells the failure, unless nobody waits any more."""
        if not self.future.done():
            self.future.set_exception(error)


class Batch:
    """Tasks whose inputs agree but for the rows.

    Args:
        tasks: In the order of the rows.
        arrays: Their tensors as one, in the order of the signature's inputs.
        options: Of batching.
    """

    def __init__(self, tasks: list[Task], arrays: list[np.ndarray], options: BatchingOptions) -> None:
        self.tasks = tasks
        self._given = arrays
        self._is_whole = len(tasks) == 1 and not options.allowed_batch_sizes
        self.arrays, self.rows = _padded(arrays, options.allowed_batch_sizes)

    def answer(self, outputs: list[np.ndarray]) -> None:
        """Gives each task its rows.

        Raises:
            StatusError: The model did not answer with a row for each row.
        """
        if self._is_whole:
            self.tasks[0].succeed(Answer(self._given, outputs))
            return
        if any(output.ndim == 0 or len(output) != self.rows for output in outputs):
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
        start = 0
        for task in self.tasks:
            end = start + task.request.size
            task.succeed(Answer([each[start:end] for each in self._given], [each[start:end] for each in outputs]))
            start = end


def batches_of(tasks: Sequence[Task], signature: Signature, options: BatchingOptions) -> list[Batch]:
    """The tasks in as few runs as their shapes allow; those that do not fit the signature are told so."""
    shared = _shared_rows(tasks, signature)
    if shared is not None:
        return [Batch(list(tasks), shared, options)]
    groups: dict[object, list[tuple[Task, list[np.ndarray]]]] = {}
    for task in tasks:
        try:
            arrays = task.request.arrays()
        except StatusError as error:
            task.fail(error)
            continue
        groups.setdefault(_key(task, arrays, options), []).append((task, arrays))
    return [
        Batch([task for task, _ in members], _joined([arrays for _, arrays in members], options), options)
        for members in groups.values()
    ]


def _shared_rows(tasks: Sequence[Task], signature: Signature) -> list[np.ndarray] | None:
    """The tensors of requests that are all rows of plain values, converted together."""
    rows: list[object] = []
    for task in tasks:
        if not isinstance(task.request, Rows):
            return None
        rows += task.request.rows
    return scalar_columns(rows, signature)


def _key(task: Task, arrays: list[np.ndarray], options: BatchingOptions) -> object:
    """Tasks of the same key may share a run."""
    shapes = [array.shape for array in arrays]
    if shapes.count((task.request.size,)) == len(shapes):
        return None  # the usual: a value for each row
    if not all(shape and shape[0] == task.request.size for shape in shapes):
        return task.request  # shares a run with nobody
    if options.pad_variable_length_inputs:
        return tuple(map(len, shapes))
    return tuple(shape[1:] for shape in shapes)


def _joined(members: list[list[np.ndarray]], options: BatchingOptions) -> list[np.ndarray]:
    if len(members) == 1:
        return members[0]
    columns = [list(column) for column in zip(*members, strict=True)]
    if options.pad_variable_length_inputs:
        columns = [_widened(column) for column in columns]
    return [np.concatenate(column) for column in columns]


def _widened(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Pads all but the first side with the array's first value, as TensorFlow Serving does."""
    sides = np.max([array.shape[1:] for array in arrays], axis=0)
    widened = []
    for array in arrays:
        fill = array.flat[0] if array.size else (b"" if array.dtype == object else array.dtype.type(0))
        wide = np.empty((len(array), *sides), array.dtype)  # np.pad would cut the zero bytes off the end of a text
        wide.fill(fill)
        wide[tuple(map(slice, array.shape))] = array
        widened.append(wide)
    return widened


def _padded(arrays: list[np.ndarray], sizes: Sequence[int]) -> tuple[list[np.ndarray], int]:
    """The batch, filled up with copies of its first row to the next of some sizes."""
    rows = len(arrays[0]) if arrays[0].ndim else 1
    size = next((size for size in sizes if size >= rows), rows)
    if rows in (0, size) or not all(array.ndim and len(array) == rows for array in arrays):
        return arrays, rows
    return [np.concatenate([array, np.repeat(array[:1], size - rows, axis=0)]) for array in arrays], size
