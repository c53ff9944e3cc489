"""A node's shards divided among processes of this machine, where the local runner allows more than one.

Beam's in-memory runner is one process, in which Python runs one thread at a time. Its own worker processes begin anew,
with all imports: seconds each. These are forked as the node begins, before TensorFlow runs an operation, which no fork
survives, and then wait for their turn. They use no gRPC: the server of TFX's launcher stays the first process's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.processes import KILLED_HINT, die_with_parent, ending
from schema.errors import HeadraceError, disk_error
from storage.errors import explain


class SharesOptions(PipelineOptions):
    """Of a component's job: among how many processes its shards are divided. One, unless the local runner says more."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--shares", type=int, default=1)


def shares_of(beam_args: Sequence[str] | None) -> int:
    """The number of shares that a component's Beam arguments ask for."""
    return int(PipelineOptions(list(beam_args or ())).view_as(SharesOptions).shares)


@contextmanager
def divided(node: str, work: Callable[[int], Any], shares: int) -> Iterator[Callable[[], list[Any]]]:
    """Forks a process for each share but the first, which is worked on here.

    Args:
        node: Whose work it is, for errors.
        work: Is called with the number of a share. What it returns is handed on as JSON.
        shares: How many there are; 1: nothing is forked.

    Yields:
        A function that begins, and returns what `work` returned for each share. It raises what `work` raised here, and
        then, for another process, a HeadraceError if it was one or can be told as one, else ChildProcessError.
    """
    helpers: list[_Helper] = []
    try:
        for share in range(1, shares):
            helpers.append(_Helper(node, work, share))

        def begin() -> list[Any]:
            for helper in helpers:
                helper.begin()
            return [work(0), *(helper.result() for helper in helpers)]

        yield begin
    finally:
        for helper in helpers:
            helper.end()


class _Helper:
    """A forked process that waits to be told to begin. It ends with its parent."""

    def __init__(self, node: str, work: Callable[[int], Any], share: int) -> None:
        self._node, self._share = node, share
        self._to_it, told = Pipe()
        self._has_ended = False
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._be(work, told, parent)
        told.close()

    def begin(self) -> None:
        """Lets it begin."""
        with suppress(OSError):  # it has died, as `result` will tell
            self._to_it.send_bytes(b"begin")

    def result(self) -> Any:
        """What its work returned.

        Raises:
            HeadraceError: The work raised it, or something that can be told as one.
            ChildProcessError: The work raised something else, or the process died.
        """
        try:
            outcome = json.loads(self._to_it.recv_bytes())
        except (EOFError, OSError):
            raise ChildProcessError(f"A process that {self._node} had forked {self._how_it_ended()}") from None
        if "error" in outcome:
            raise HeadraceError.from_json(outcome["error"])
        if "failure" in outcome:
            raise ChildProcessError(outcome["failure"])
        return outcome["result"]

    def end(self) -> None:
        """Ends it: it has answered, was never told to begin, or works for nothing since another share failed."""
        self._to_it.close()
        if not self._has_ended:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _how_it_ended(self) -> str:
        _, status = os.waitpid(self._pid, 0)
        self._has_ended = True
        return f"ended {ending(status)}, without a result. {KILLED_HINT}"

    def _be(self, work: Callable[[int], Any], told: Connection, parent: int) -> NoReturn:
        try:
            die_with_parent(parent)()
            self._to_it.close()
            told.recv_bytes()
            outcome = _outcome(self._node, work, self._share)
            sys.stdout.flush()
            sys.stderr.flush()
            told.send_bytes(json.dumps(outcome).encode())
        finally:
            os._exit(0)


def _outcome(node: str, work: Callable[[int], Any], share: int) -> dict[str, Any]:
    """What the work returned, or in its place what it raised."""
    try:
        return {"result": work(share)}
    except HeadraceError as error:
        return {"error": error.to_json()}
    except Exception as error:
        traceback.print_exc()  # in the node's log; what is handed on has no trace
        told = disk_error(error, node) or explain(error, node)
        return {"error": told.to_json()} if told else {"failure": f"{type(error).__name__}: {error}"}
