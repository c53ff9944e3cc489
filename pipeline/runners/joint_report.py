"""The report of a run whose nodes run in processes of their own, perhaps at once: each process writes its node."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.gates.verdict import Verdict
from pipeline.runners.report import RunReport, State, load_reports, run_folder
from storage.locks import alone

_LOCK_FILE = "report.lock"


@dataclass(kw_only=True)
class JointReport(RunReport):
    """The run as one of its processes sees it: one node is to run, and what is before it has run."""

    node: str
    """The process's."""
    verdicts: Callable[[], list[Verdict]]
    """Reads the gates' verdicts of the run so far."""
    _saved: State = field(default=State.WAITING, init=False)

    def save(self, home: Path) -> None:
        """Writes what has become of the node into the run's report, and what follows for the run."""
        own = self.nodes[self.node]
        if own.state is self._saved:
            return
        with alone(lock_file(home, self.run_id)):
            whole = next(each for each in load_reports(home) if each.run_id == self.run_id)
            whole.nodes[self.node] = own
            conclude(whole, self.verdicts())
            whole.save(home)
        self._saved, self.outcome = own.state, whole.outcome


def join_report(home: Path, run: RunReport, node: str, verdicts: Callable[[], list[Verdict]]) -> JointReport:
    """A process's part of its run's report, which the first process of a run begins.

    Args:
        home: The pipeline's folder, which all processes share.
        run: What the report is if there is none: every node waits.
        node: The process's.
        verdicts: Reads the gates' verdicts of the run so far.
    """
    run_folder(home, run.run_id).mkdir(parents=True, exist_ok=True)
    with alone(lock_file(home, run.run_id)):
        if all(each.run_id != run.run_id for each in load_reports(home)):
            run.save(home)
    nodes = {
        name: replace(each, state=State.WAITING if name == node else State.REUSED) for name, each in run.nodes.items()
    }
    return JointReport(**{**vars(run), "nodes": nodes}, node=node, verdicts=verdicts)


def conclude(run: RunReport, verdicts: list[Verdict]) -> None:
    """Says how a run stands: a node that is tried again may yet make it succeed."""
    states = [each.state for each in run.nodes.values()]
    closed = [verdict.gate.value for verdict in verdicts if not verdict.passed]
    run.seconds, run.headline = time.time() - run.started, ""
    run.error = "; ".join(each.reason for each in run.nodes.values() if each.state is State.FAILED)
    if closed:  # also if a node beside the gate failed, on the same model perhaps
        run.outcome, run.headline = "stopped", f"Stopped by the {' and the '.join(closed)} gate; nothing was pushed."
    elif State.FAILED in states:
        run.outcome, run.headline = "failed", run.error
    elif State.CANCELLED in states:
        run.outcome = "interrupted"
    else:
        run.outcome = "succeeded" if all(state.is_good for state in states) else "running"


def lock_file(home: Path, run_id: str) -> Path:
    """Who holds it has a run's folder to itself."""
    return run_folder(home, run_id) / _LOCK_FILE
