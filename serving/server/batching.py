"""Running requests: at once, in a worker thread if a run is long, or several requests as one run.

Batching needs no timer: everything that arrived in one turn of the event loop becomes one run, so a lone request
waits for nobody, and a busy server spends half the time on each. The meaning of the parameters is TensorFlow
Serving's (`batching/batching_session.h`, `session_bundle_config.proto`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.server.json_request import Rows, scalar_columns
from serving.server.servable import Signature
from serving.server.status import Code, StatusError, invalid_argument

log = logging.getLogger(__name__)

_LONGEST_INLINE_SECONDS = 0.0015
"""A run that is expected to take longer leaves the event loop free."""

_LONGEST_HOLD_SECONDS = 0.004
_PAUSE_SECONDS = 0.001
"""A batch that is held starts when nothing has arrived for so long. uvloop's timers count milliseconds."""

_WORTH_HOLDING = 1.5
_PROBE_EVERY = 64
"""Every so many runs a batch is held to see whether others come."""


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

    def may_run_alone(self, rows: int) -> bool:
        """Whether a request of so many rows needs neither to wait nor to be padded or refused."""
        return not self.batch_timeout_micros and not self.allowed_batch_sizes and rows <= self.max_batch_size


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

    async def run(
        self, signature: Signature, request: Request, is_alone: bool = False, may_hold: bool = False
    ) -> Answer:
        """Answers one request.

        Args:
            signature: Of a servable that stays open until the answer.
            request: For that signature.
            is_alone: Whether it is known that there is nobody to share a run with.
            may_hold: Whether requests arrive one in each turn of the event loop, as gRPC delivers them: then a batch
                is held for others, if holding lately made larger batches.

        Raises:
            StatusError: The request does not fit, the model failed, or it took too long.
        """
        options = self._options
        if options is not None and signature.takes_batches:
            queue = self._queue(signature, options)
            needs_queue = not options.may_run_alone(request.size)
            if needs_queue or queue.is_waiting or (queue.should_hold() if may_hold else not is_alone):
                return await queue.submit(request, may_hold)
        arrays = request.arrays()
        return Answer(arrays, await self.execute(signature, arrays, request.size))

    async def execute(self, signature: Signature, arrays: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
        """One run: here and now if it is short, else in a thread."""
        seconds = signature.seconds(rows)
        if seconds is not None and seconds < _LONGEST_INLINE_SECONDS:
            return signature.run(arrays, rows)
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, signature.run, arrays, rows)
        running.add_done_callback(_forget)  # whoever waits may be cancelled, or give up
        done, _ = await asyncio.wait((running,), timeout=self._timeout)
        if not done:
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
        self._held = 1.0
        """Requests in the batches that were held: a mean that forgets."""
        self._probe = 0
        self._hold_until = 0.0
        self._arrived = 0
        self._untold = 0
        """Requests whose batch was started, and that were not told their answer yet."""
        self._background: set[asyncio.Task[None]] = set()

    async def submit(self, request: Request, may_hold: bool) -> Answer:
        options = self._options
        if request.size > options.max_batch_size:
            raise invalid_argument(
                f"Task size {request.size} is larger than maximum input batch size {options.max_batch_size}"
            )
        if self._running >= options.max_enqueued_batches:
            raise StatusError(Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
        if self._rows + request.size > options.max_batch_size:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._tasks.append(_Task(request, future))
        self._rows += request.size
        if self._rows == options.max_batch_size:
            self._start()
        elif self._flush is None:
            self._wait(loop, may_hold)
        try:
            return await future
        finally:
            self._untold -= 1

    @property
    def is_waiting(self) -> bool:
        """Whether there is a batch that others may still join."""
        return self._flush is not None

    def should_hold(self) -> bool:
        """Whether to wait for requests that come one by one: if that was of use the last time, or to find out."""
        self._probe += 1
        return self._held > _WORTH_HOLDING or self._probe % _PROBE_EVERY == 0

    def _wait(self, loop: asyncio.AbstractEventLoop, may_hold: bool) -> None:
        if self._options.batch_timeout_micros:
            self._flush = loop.call_later(self._options.batch_timeout_micros / 1e6, self._start)
        elif may_hold:
            self._hold_until = loop.time() + _LONGEST_HOLD_SECONDS
            self._hold()
        else:
            self._flush = loop.call_soon(self._start)

    def _hold(self) -> None:
        """Waits as long as requests keep coming."""
        loop = asyncio.get_running_loop()
        are_coming = self._flush is None or self._untold or self._arrived < len(self._tasks)
        if are_coming and loop.time() < self._hold_until:
            self._arrived = len(self._tasks)
            self._flush = loop.call_later(_PAUSE_SECONDS, self._hold)
        else:
            self._held = max(len(self._tasks), (self._held + len(self._tasks)) / 2)
            self._start()

    def _start(self) -> None:
        """Runs what has arrived."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        tasks, rows = self._tasks, self._rows
        self._tasks, self._rows = [], 0
        self._untold += len(tasks)
        if not tasks:
            return
        seconds = self._signature.seconds(rows)
        if seconds is not None and seconds < _LONGEST_INLINE_SECONDS:
            try:
                self._run_inline(tasks)
            except Exception:
                _give_up(tasks)
            return
        background = asyncio.get_running_loop().create_task(self._run_in_thread(tasks))
        self._background.add(background)
        background.add_done_callback(self._background.discard)

    def _run_inline(self, tasks: list[_Task]) -> None:
        for group, arrays in self._groups(tasks):
            try:
                padded, rows = self._padded(arrays)
                self._answer(group, arrays, self._signature.run(padded, rows), rows)
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
                padded, rows = self._padded(arrays)
                self._answer([task], arrays, self._signature.run(padded, rows), rows)
            except StatusError as own:
                _fail(task, own)

    async def _run_in_thread(self, tasks: list[_Task]) -> None:
        self._running += 1
        try:
            for group, arrays in self._groups(tasks):
                try:
                    padded, rows = self._padded(arrays)
                    self._answer(group, arrays, await self._runner.execute(self._signature, padded, rows), rows)
                except StatusError as error:
                    if error.code is Code.DEADLINE_EXCEEDED or len(group) == 1:
                        for task in group:
                            _fail(task, error)
                    else:
                        for task in group:
                            await self._run_in_thread([task])
        except Exception:
            _give_up(tasks)
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
        shapes = [array.shape for array in arrays]
        if shapes.count((task.request.size,)) == len(shapes):
            return None  # the usual: a value for each row
        if not all(shape and shape[0] == task.request.size for shape in shapes):
            return task.request  # shares a run with nobody
        if self._options.pad_variable_length_inputs:
            return tuple(map(len, shapes))
        return tuple(shape[1:] for shape in shapes)

    def _padded(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
        """The batch, filled up with copies of its first row to an allowed size."""
        rows = len(arrays[0]) if arrays[0].ndim else 1
        size = next((size for size in self._options.allowed_batch_sizes if size >= rows), rows)
        if rows in (0, size) or not all(array.ndim and len(array) == rows for array in arrays):
            return arrays, rows
        return [np.concatenate([array, np.repeat(array[:1], size - rows, axis=0)]) for array in arrays], size

    def _answer(self, tasks: list[_Task], arrays: list[np.ndarray], outputs: list[np.ndarray], ran: int) -> None:
        """Gives each task its rows of the `ran` ones.

        Raises:
            StatusError: The model did not answer with a row for each row.
        """
        if len(tasks) == 1 and not self._options.allowed_batch_sizes:
            _succeed(tasks[0], Answer(arrays, outputs))
            return
        if any(output.ndim == 0 or len(output) != ran for output in outputs):
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


def _give_up(tasks: list[_Task]) -> None:
    """A bug of ours must look neither like a hang nor like the client's mistake."""
    log.exception("A batch failed")
    for task in tasks:
        _fail(task, StatusError(Code.INTERNAL, "Internal error"))


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
