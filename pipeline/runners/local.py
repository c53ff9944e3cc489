"""The local runner: every node whose inputs are ready, in a bounded number of processes, on one machine.

TFX's LocalDagRunner runs one node after another, logs to the terminal, and returns success when a node was skipped
for want of inputs. This one runs the same nodes through the same TFX launcher, each in a forked process.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe, connection
from pathlib import Path
from typing import NoReturn

from tfx.orchestration.portable import partial_run_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline.processes import KILLED_HINT, die_with_parent, ending
from pipeline.runners.child import NodeResult, run_in_child
from pipeline.runners.report import NodeReport, RunReport, State, run_folder
from schema.errors import HeadraceError, NodeError

_REFRESH_SECONDS = 0.2
_CONFIRM_SECONDS = 60.0
_GRACE_SECONDS = 2.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

Watcher = Callable[[RunReport], None]


@dataclass
class _Running:
    node: str
    pid: int
    answer: connection.Connection
    started: float


@dataclass
class LocalRunner:
    """Runs one compiled pipeline.

    Args:
        pipeline: The compiled pipeline; nodes that `--from` and `--until` leave out are marked to be skipped.
        report: Of this run, with every node in it; kept up to date.
        home: The pipeline's folder.
        beam_args: The options of each Beam component's job: where it runs.
        forced: Nodes that are not to be answered from the cache, each with the reason.
        jobs: The most processes at once.
        watch: Called whenever the report may have changed.
        abandon: Called with a node that did not end well, to end what it may have left behind elsewhere.
        confirm: Called before each node starts; raises if the run has to end.
    """

    pipeline: pipeline_pb2.Pipeline
    report: RunReport
    home: Path
    beam_args: Mapping[str, Sequence[str]]
    forced: Mapping[str, str]
    jobs: int
    watch: Watcher
    abandon: Callable[[NodeReport], None]
    confirm: Callable[[], None] = lambda: None
    errors: dict[str, HeadraceError] = field(default_factory=dict)
    _running: list[_Running] = field(default_factory=list)
    _answered: list[int] = field(default_factory=list)
    """The processes that have nothing left to do but to end: for their memory to be freed nobody has to wait."""
    _confirmed: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Runs every node that can run. What failed is in `errors`, what was stopped is in the report.

        Raises:
            KeyboardInterrupt: On Ctrl-C or SIGTERM, after every process has been ended.
        """
        nodes = {each.pipeline_node.node_info.id: each.pipeline_node for each in self.pipeline.nodes}
        for node_id in self.forced:
            nodes[node_id].execution_options.caching_options.enable_cache = False
        try:
            while self._start_ready(nodes) or self._running:
                self._wait()
        except BaseException:
            self._stop()
            raise
        finally:
            for pid in self._answered:
                os.waitpid(pid, 0)
            self._answered.clear()

    def _start_ready(self, nodes: dict[str, pipeline_pb2.PipelineNode]) -> bool:
        """Starts what is ready and marks what is blocked; whether anything is left to do."""
        for node_id, node in nodes.items():
            report = self.report.nodes[node_id]
            if report.state is not State.WAITING:
                continue
            upstream = [self.report.nodes[each] for each in node.upstream_nodes]
            behind = next((each for each in upstream if each.state in _STOPPING), None)
            if behind is not None:
                report.state, report.reason = State.BLOCKED, _blocked_by(behind)
            elif all(each.state.is_good for each in upstream) and len(self._running) < self.jobs:
                self.confirm()
                self._start(node)
        self._changed()
        return any(report.state is State.WAITING for report in self.report.nodes.values())

    def _start(self, node: pipeline_pb2.PipelineNode) -> None:
        node_id = node.node_info.id
        report = self.report.nodes[node_id]
        report.log = str(run_folder(self.home, self.report.run_id) / f"{node_id}.log")
        receiving, sending = Pipe(duplex=False)
        parent = os.getpid()
        with _signals_held():  # so that the child is known before an interrupt can ask for it to be ended
            pid = os.fork()
            if pid == 0:
                self._be_child(node, report.log, sending, parent)
            self._running.append(_Running(node_id, pid, receiving, time.monotonic()))
        sending.close()
        report.state = State.RUNNING

    def _be_child(
        self, node: pipeline_pb2.PipelineNode, log_path: str, answer: connection.Connection, parent: int
    ) -> NoReturn:
        """The forked process. Whatever happens, it never returns into the runner's own code."""
        try:
            for number in _INTERRUPTS:
                signal.signal(number, signal.SIG_DFL)
            os.setsid()  # Ctrl-C at the terminal reaches the runner only
            die_with_parent(parent)()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
            node_id = node.node_info.id
            run_in_child(
                self.pipeline, node, self.beam_args.get(node_id, ()), self.forced.get(node_id), log_path, answer
            )
        finally:
            os._exit(0)

    def _wait(self) -> None:
        """Until a process answers or ends, or it is time to show the progress."""
        if not self._running:
            return
        ready = connection.wait([each.answer for each in self._running], timeout=_REFRESH_SECONDS)
        for each in list(self._running):
            self.report.nodes[each.node].seconds = time.monotonic() - each.started
            if each.answer in ready:
                self._running.remove(each)
                self._finish(each)
        if time.monotonic() - self._confirmed > _CONFIRM_SECONDS:
            self.confirm()
            self._confirmed = time.monotonic()
        self.watch(self.report)

    def _finish(self, ended: _Running) -> None:
        try:
            result = NodeResult.from_json(ended.answer.recv_bytes())
        except EOFError:
            result = None
        ended.answer.close()
        report = self.report.nodes[ended.node]
        if result is None:
            _, status = os.waitpid(ended.pid, 0)
            result = NodeResult(State.FAILED, error=_died(ended.node, report.log, status))
        else:
            self._answered.append(ended.pid)
        report.state, report.reason, report.execution_id = result.state, result.reason, result.execution_id
        if result.error is not None:
            report.reason = result.error.what
            self.errors[ended.node] = result.error
            self.abandon(report)
        self._changed()

    def _stop(self) -> None:
        """Ends every process: asked first, then killed."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            for each in self._running:
                with suppress(ProcessLookupError):
                    os.kill(each.pid, signal_number)
            deadline = time.monotonic() + (_GRACE_SECONDS if signal_number == signal.SIGTERM else 60)
            while self._running and time.monotonic() < deadline:
                for each in list(self._running):
                    if os.waitpid(each.pid, os.WNOHANG)[0]:
                        self._running.remove(each)
                        report = self.report.nodes[each.node]
                        report.state, report.reason = State.CANCELLED, "interrupted"
                        self.abandon(report)
                time.sleep(0.02)
        self._changed()

    def _changed(self) -> None:
        self.report.save(self.home)
        self.watch(self.report)


_STOPPING = (State.FAILED, State.BLOCKED, State.CANCELLED, State.LEFT_OUT)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Interrupts wait until the block has ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


def new_report(pipeline: pipeline_pb2.Pipeline, run_id: str, command: list[str]) -> RunReport:
    """A report in which every node waits, or is left out or reused as the pipeline is marked."""
    nodes = {}
    for each in pipeline.nodes:
        node = each.pipeline_node
        report = NodeReport(node.node_info.id)
        if node.execution_options.HasField("skip"):
            reused = partial_run_utils.should_attempt_to_reuse_artifact(node.execution_options)
            report.state = State.REUSED if reused else State.LEFT_OUT
            report.reason = "taken from the last run, unchecked (--from)" if reused else "behind --until"
        nodes[report.node] = report
    return RunReport(run_id, pipeline.pipeline_info.id, nodes, time.time(), command=command)


def _blocked_by(behind: NodeReport) -> str:
    if behind.state is State.BLOCKED:
        return behind.reason
    return f"{behind.node} {behind.state.value}"


def _died(node: str, log_path: str, status: int) -> NodeError:
    return NodeError(
        f"The process of {node} ended {ending(status)}, without a result", where=log_path, mend=KILLED_HINT
    )
