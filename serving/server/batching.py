"""Running requests: at once, in a worker thread if a run is long, or several requests as one run.

Batching needs no timer: everything that arrived in one turn of the event loop becomes one run, so a lone request
waits for nobody, and a busy server spends half the time on each. The meaning of the parameters is TensorFlow
Serving's (`batching/batching_session.h`, `session_bundle_config.proto`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.server.json_request import Rows, scalar_columns
from serving.server.servable import Signature
from serving.server.status import Code, StatusError, invalid_argument

_LONGEST_INLINE_SECONDS = 0.0015
"""A run that is expected to take longer leaves the event loop free."""

_LONGEST_HOLD_SECONDS = 0.002
_PROBE_EVERY = 64


@dataclass(frozen=True)
class BatchingOptions:
    """When and how requests share a run."""

    max_batch_size: int = 1000
    """The most rows of one run; a request of more is refused."""
    batch_timeout_micros: int = 0
    """How long a request may wait for others; 0 is until the end of the event loop's turn."""
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    """If given, a batch is padded to the next of these sizes."""
    pad_variable_length_inputs: bool = False


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


@dataclass
class _Task:
    request: Request
    future: asyncio.Future[Answer]


class Runner:
    """Runs requests on signatures.

    Args:
        options: Of batching; None to run each request by itself.
        threads: For runs that are too long for the event loop.
        timeout_seconds: After which a request that runs in a thread is given up.
    """

    def __init__(self, options: BatchingOptions | None, threads: int, timeout_seconds: float) -> None:
        self._options = options
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._timeout = timeout_seconds
        self._queues: dict[Signature, _Queue] = {}

    async def run(self, signature: Signature, request: Request, may_hold: bool = False) -> Answer:
        """Answers one request.

        Args:
            signature: Of a servable that stays open until the answer.
            request: For that signature.
            may_hold: Whether requests arrive one in each turn of the event loop, as gRPC delivers them: then a batch
                may be held for up to 2 ms, if holding lately made larger batches.

        Raises:
            StatusError: The request does not fit, the model failed, or it took too long.
        """
        if self._options is None or not signature.takes_batches:
            arrays = request.arrays()
            return Answer(arrays, await self.execute(signature, arrays, request.size))
        return await self._queue(signature, self._options).submit(request, may_hold)

    async def execute(self, signature: Signature, arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """One run: here and now if it is short, else in a thread."""
        seconds = signature.seconds(rows)
        if seconds is not None and seconds < _LONGEST_INLINE_SECONDS:
            return signature.run(arrays, rows)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, signature.run, arrays, rows)
        done, _ = await asyncio.wait((running,), timeout=self._timeout)
        if not done:
            running.add_done_callback(_forget)
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        return running.result()

    def forget(self, signatures: Sequence[Signature]) -> None:
        """Drops what is kept for the signatures of a servable that is gone."""
        for signature in signatures:
            self._queues.pop(signature, None)

    def close(self) -> None:
        """Ends the threads once their runs have ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _queue(self, signature: Signature, options: BatchingOptions) -> _Queue:
        queue = self._queues.get(signature)
        if queue is None:
            queue = self._queues[signature] = _Queue(self, signature, options)
        return queue


def _forget(running: asyncio.Future[list[np.ndarray]]) -> None:
    """Takes note of a late error, which nobody waits for any more."""
    if not running.cancelled():
        running.exception()


class _Queue:
    """The requests for one signature that wait for the next batch."""

    def __init__(self, runner: Runner, signature: Signature, options: BatchingOptions) -> None:
        self._runner = runner
        self._signature = signature
        self._options = options
        self._tasks: list[_Task] = []
        self._rows = 0
        self._flush: asyncio.Handle | None = None
        self._running = 0
        self._held_for = 1
        """Requests in the last batch that was held."""
        self._batches = 0
        self._background: set[asyncio.Task[None]] = set()

    async def submit(self, request: Request, may_hold: bool) -> Answer:
        options = self._options
        if request.size > options.max_batch_size:
            raise invalid_argument(
                f"Task size {request.size} is larger than maximum input batch size {options.max_batch_size}"
            )
        if self._running >= options.max_enqueued_batches:
            raise StatusError(
                Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
            )
        if self._rows + request.size > options.max_batch_size:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._tasks.append(_Task(request, future))
        self._rows += request.size
        if self._flush is None:
            delay = self._delay(may_hold)
            self._flush = loop.call_later(delay, self._start) if delay else loop.call_soon(self._start)
        elif may_hold and len(self._tasks) >= self._held_for > 1 and not options.batch_timeout_micros:
            self._start()
        return await future

    def _delay(self, may_hold: bool) -> float:
        if self._options.batch_timeout_micros:
            return self._options.batch_timeout_micros / 1e6
        if may_hold and (self._held_for > 1 or self._batches % _PROBE_EVERY == 0):
            return _LONGEST_HOLD_SECONDS
        return 0.0

    def _start(self) -> None:
        """Runs what has arrived."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        tasks, rows = self._tasks, self._rows
        self._tasks, self._rows = [], 0
        if not tasks:
            return
        self._batches += 1
        self._held_for = len(tasks)
        seconds = self._signature.seconds(rows)
        if seconds is not None and seconds < _LONGEST_INLINE_SECONDS:
            self._run_inline(tasks)
            return
        background = asyncio.get_running_loop().create_task(self._run_in_thread(tasks))
        self._background.add(background)
        background.add_done_callback(self._background.discard)

    def _run_inline(self, tasks: list[_Task]) -> None:
        for group, arrays in self._groups(tasks):
            try:
                outputs = self._signature.run(*self._padded(arrays))
                self._answer(group, arrays, outputs)
            except StatusError as error:
                self._run_singly(group, error)

    def _run_singly(self, tasks: list[_Task], error: StatusError) -> None:
        """One bad request must not fail the others of its batch."""
        for task in tasks:
            if len(tasks) == 1:
                _fail(task, error)
                continue
            try:
                arrays = task.request.arrays()
                self._answer([task], arrays, self._signature.run(arrays, task.request.size))
            except StatusError as own:
                _fail(task, own)

    async def _run_in_thread(self, tasks: list[_Task]) -> None:
        self._running += 1
        try:
            for group, arrays in self._groups(tasks):
                try:
                    padded, rows = self._padded(arrays)
                    self._answer(group, arrays, await self._runner.execute(self._signature, padded, rows))
                except StatusError as error:
                    if error.code is Code.DEADLINE_EXCEEDED or len(group) == 1:
                        for task in group:
                            _fail(task, error)
                    else:
                        for task in group:
                            await self._run_in_thread([task])
        finally:
            self._running -= 1

    def _groups(self, tasks: list[_Task]) -> list[tuple[list[_Task], list[np.ndarray]]]:
        """The tasks that can share a run, with their tensors as one: those whose inputs agree but for the rows."""
        rows = [row for task in tasks if isinstance(task.request, Rows) for row in task.request.rows]
        if len(tasks) > 1 and all(isinstance(task.request, Rows) for task in tasks):
            shared = scalar_columns(rows, self._signature)
            if shared is not None:
                return [(tasks, shared)]
        groups: dict[object, list[tuple[_Task, list[np.ndarray]]]] = {}
        for task in tasks:
            try:
                arrays = task.request.arrays()
            except StatusError as error:
                _fail(task, error)
                continue
            groups.setdefault(self._key(task, arrays), []).append((task, arrays))
        return [
            ([task for task, _ in members], _joined([arrays for _, arrays in members], self._options))
            for members in groups.values()
        ]

    def _key(self, task: _Task, arrays: list[np.ndarray]) -> object:
        if not all(array.ndim and len(array) == task.request.size for array in arrays):
            return task.request  # shares a run with nobody
        if self._options.pad_variable_length_inputs:
            return tuple(array.ndim for array in arrays)
        return tuple(array.shape[1:] for array in arrays)

    def _padded(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
        """The batch, filled up with copies of its first row to an allowed size."""
        rows = len(arrays[0]) if arrays[0].ndim else 1
        size = next((size for size in self._options.allowed_batch_sizes if size >= rows), rows)
        if size == rows or not all(array.ndim and len(array) == rows for array in arrays):
            return arrays, rows
        return [np.concatenate([array, np.repeat(array[:1], size - rows, axis=0)]) for array in arrays], size

    def _answer(self, tasks: list[_Task], arrays: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """Gives each task its rows.

        Raises:
            StatusError: The model did not answer with a row for each row.
        """
        if len(tasks) == 1 and not self._options.allowed_batch_sizes:
            _succeed(tasks[0], Answer(arrays, outputs))
            return
        rows = sum(task.request.size for task in tasks)
        if any(output.ndim == 0 or len(output) < rows for output in outputs):
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
        start = 0
        for task in tasks:
            end = start + task.request.size
            _succeed(task, Answer([each[start:end] for each in arrays], [each[start:end] for each in outputs]))
            start = end


def _succeed(task: _Task, answer: Answer) -> None:
    if not task.future.done():
        task.future.set_result(answer)


def _fail(task: _Task, error: StatusError) -> None:
    if not task.future.done():
        task.future.set_exception(error)


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
        widths = [(0, 0), *((0, int(side - own)) for side, own in zip(sides, array.shape[1:], strict=True))]
        fill = array.flat[0] if array.size else (b"" if array.dtype == object else array.dtype.type(0))
        widened.append(np.pad(array, widths, constant_values=fill) if any(after for _, after in widths) else array)
    return widened
