"""When requests run, and which of them share a run.

Batching needs no timer: everything that arrived in one turn of the event loop becomes one run, so a lone request
waits for nobody, and a busy server spends half the time on each. While all threads are busy with long runs, the batch
stays open for those that follow. The meaning of the parameters is TensorFlow Serving's (`batching/batching_session.h`,
`session_bundle_config.proto`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from serving.server.batch import Answer, Batch, BatchingOptions, Request, Task, batches_of
from serving.server.execution import Executor, in_time
from serving.server.servable import Signature
from serving.server.status import Code, StatusError, invalid_argument

_LONGEST_HOLD_SECONDS = 0.004
_PAUSE_SECONDS = 0.001
"""A batch that is held starts when nothing has arrived for so long. uvloop's timers count milliseconds."""

_WORTH_HOLDING = 1.5
_PROBE_EVERY = 64
"""Every so many runs a batch is held to see whether others come."""

log = logging.getLogger(__name__)


class Runner:
    """Runs requests on signatures.

    Args:
        options: Of batching; None to run each request by itself.
        threads: For runs that are too long for the event loop.
    """

    def __init__(self, options: BatchingOptions | None, threads: int) -> None:
        self._options = options
        self._executor = Executor(threads)
        self._queues: dict[Signature, _Queue] = {}

    async def run(
        self,
        signature: Signature,
        request: Request,
        *,
        is_alone: bool = False,
        may_hold: bool = False,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Answers one request.

        Args:
            signature: Of a servable that stays open until the answer.
            request: For that signature.
            is_alone: Whether it is known that there is nobody to share a run with.
            may_hold: Whether requests arrive one in each turn of the event loop, as gRPC delivers them: then a batch
                is held for others, if holding lately made larger batches.
            timeout_seconds: After which a request that runs in a thread, or waits for one, is given up.

        Raises:
            StatusError: The request does not fit, the model failed, or it took too long.
        """
        options = self._options
        if options is not None and signature.takes_batches:
            queue = self._queue(signature, options)
            needs_queue = not options.may_run_alone(request.size)
            if needs_queue or queue.is_open or (queue.should_hold() if may_hold else not is_alone):
                return await queue.submit(request, may_hold, timeout_seconds)
        arrays = request.arrays()
        return Answer(arrays, await self._executor.run(signature, arrays, request.size, timeout_seconds))

    def forget(self, signatures: Sequence[Signature]) -> None:
        """Drops what is kept for the signatures of a servable that is gone."""
        for signature in signatures:
            self._queues.pop(signature, None)

    def close(self) -> None:
        """Ends the threads once their runs have ended."""
        self._executor.close()

    def _queue(self, signature: Signature, options: BatchingOptions) -> _Queue:
        queue = self._queues.get(signature)
        if queue is None:
            queue = self._queues[signature] = _Queue(self._executor, signature, options)
        return queue


class _Queue:
    """The requests for one signature that wait for a run."""

    def __init__(self, executor: Executor, signature: Signature, options: BatchingOptions) -> None:
        self._executor = executor
        self._signature = signature
        self._options = options
        self._open: list[Task] = []
        self._open_rows = 0
        self._full: deque[tuple[list[Task], int]] = deque()
        """Batches that nobody can join any more, and their rows."""
        self._flush: asyncio.Handle | None = None
        self._is_due = False
        """Whether the open batch has waited long enough for others."""
        self._waits_for_thread = False
        self._held = 1.0
        """Requests in the batches that were held: a mean that forgets."""
        self._probe = 0
        self._hold_until = 0.0
        self._arrived = 0
        self._untold = 0
        """Requests whose batch was started, and that were not told their answer yet."""
        self._background: set[asyncio.Task[None]] = set()

    async def submit(self, request: Request, may_hold: bool, timeout_seconds: float | None) -> Answer:
        options = self._options
        if not options.allows(request.size):
            raise invalid_argument(
                f"Task size {request.size} is larger than maximum input batch size {options.max_batch_size}"
            )
        is_full = self._open_rows + request.size > options.max_batch_size
        begins_another = is_full or not self._open
        if self._waits_for_thread and begins_another and len(self._full) + is_full >= options.max_enqueued_batches:
            raise StatusError(Code.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full")
        if is_full:
            self._close_open()
        loop = asyncio.get_running_loop()
        task = Task(request, loop.create_future())
        self._open.append(task)
        self._open_rows += request.size
        if self._open_rows >= options.max_batch_size:
            self._close_open()
        elif self._flush is None and not self._is_due:
            self._wait(loop, may_hold)
        try:
            if timeout_seconds is None or self._executor.is_short(self._signature, self._open_rows):
                return await task.future
            return await in_time(task.future, timeout_seconds)
        finally:
            task.future.cancel()
            self._untold -= task.is_started

    @property
    def is_open(self) -> bool:
        """Whether there is a batch that others may join."""
        return bool(self._open)

    def should_hold(self) -> bool:
        """Whether to wait for requests that come one by one: if that was of use the last time, or to find out."""
        self._probe += 1
        return self._held > _WORTH_HOLDING or self._probe % _PROBE_EVERY == 0

    def _wait(self, loop: asyncio.AbstractEventLoop, may_hold: bool) -> None:
        if self._options.batch_timeout_micros:
            self._flush = loop.call_later(self._options.batch_timeout_micros / 1e6, self._become_due)
        elif may_hold:
            self._hold_until = loop.time() + _LONGEST_HOLD_SECONDS
            self._hold()
        else:
            self._flush = loop.call_soon(self._become_due)

    def _hold(self) -> None:
        """Waits as long as requests keep coming."""
        loop = asyncio.get_running_loop()
        are_coming = self._flush is None or self._untold or self._arrived < len(self._open)
        if are_coming and loop.time() < self._hold_until:
            self._arrived = len(self._open)
            self._flush = loop.call_later(_PAUSE_SECONDS, self._hold)
        else:
            self._held = max(len(self._open), (self._held + len(self._open)) / 2)
            self._become_due()

    def _become_due(self) -> None:
        self._flush = None
        self._is_due = True
        self._run_waiting()

    def _close_open(self) -> None:
        """The open batch is full."""
        if self._open:
            self._full.append(self._take_open())
        self._run_waiting()

    def _take_open(self) -> tuple[list[Task], int]:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        taken = self._open, self._open_rows
        self._open, self._open_rows, self._is_due = [], 0, False
        return taken

    def _run_waiting(self) -> None:
        """Starts what waits: long runs as far as there are threads for them."""
        while self._full or (self._is_due and self._open):
            is_short = self._executor.is_short(self._signature, self._full[0][1] if self._full else self._open_rows)
            if not is_short and self._executor.is_busy:
                if not self._waits_for_thread:
                    self._waits_for_thread = True
                    self._executor.when_free(self._thread_is_free)
                return
            taken, _ = self._full.popleft() if self._full else self._take_open()
            tasks = [task for task in taken if not task.future.done()]  # the others have been given up
            if not tasks:
                continue
            for task in tasks:
                task.is_started = True
            self._untold += len(tasks)
            if is_short:
                self._run_now(tasks)
            else:
                self._run_in_thread(tasks)

    def _thread_is_free(self) -> None:
        self._waits_for_thread = False
        self._run_waiting()

    def _run_now(self, tasks: list[Task]) -> None:
        try:
            for batch in batches_of(tasks, self._signature, self._options):
                self._run_batch(batch)
        except Exception:
            _give_up(tasks)

    def _run_batch(self, batch: Batch) -> None:
        try:
            batch.answer(self._signature.run(batch.arrays, batch.rows))
        except StatusError as error:
            for single in self._singly(batch, error):
                self._run_batch(single)

    def _run_in_thread(self, tasks: list[Task]) -> None:
        self._executor.take()
        running = asyncio.get_running_loop().create_task(self._run_soon(tasks))
        self._background.add(running)
        running.add_done_callback(self._background.discard)

    async def _run_soon(self, tasks: list[Task]) -> None:
        try:
            for batch in batches_of(tasks, self._signature, self._options):
                await self._run_batch_soon(batch)
        except Exception:
            _give_up(tasks)
        finally:
            self._executor.give_back()

    async def _run_batch_soon(self, batch: Batch) -> None:
        try:
            batch.answer(await self._executor.run(self._signature, batch.arrays, batch.rows))
        except StatusError as error:
            for single in self._singly(batch, error):
                await self._run_batch_soon(single)

    def _singly(self, batch: Batch, error: StatusError) -> list[Batch]:
        """One bad request must not fail the others: the members of a batch that failed, each by itself."""
        if len(batch.tasks) > 1:
            return [single for task in batch.tasks for single in batches_of([task], self._signature, self._options)]
        for task in batch.tasks:
            task.fail(error)
        return []


def _give_up(tasks: list[Task]) -> None:
    """A bug of ours must look neither like a hang nor like the client's mistake."""
    log.exception("A batch failed")
    for task in tasks:
        task.fail(StatusError(Code.INTERNAL, "Internal error"))
