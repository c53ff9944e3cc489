"""What a run did, node by node: kept beside the run's logs and rewritten after each node."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from pydantic import TypeAdapter

LOGS = "logs"
REPORT_FILE = "run.json"
RUNNING, KILLED = "running", "killed"
OTHERS_RUN = "other-"
"""So begin the ids of runs that another orchestrator keeps (see `pipeline.runners.one_node`). The locks know nothing of
them."""


class State(str, Enum):
    """Of a node in a run."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CACHED = "cached"
    REUSED = "reused"
    """Taken from the last run without a check (`--from`)."""
    LEFT_OUT = "left out"
    """Behind `--until`."""
    BLOCKED = "blocked"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_good(self) -> bool:
        """Whether what is behind the node may run."""
        return self in (State.DONE, State.CACHED, State.REUSED)


@dataclass
class NodeReport:
    """One node of a run."""

    node: str
    state: State = State.WAITING
    seconds: float = 0.0
    reason: str = ""
    log: str = ""
    execution_id: int = 0


@dataclass
class RunReport:
    """One run."""

    run_id: str
    pipeline: str
    nodes: dict[str, NodeReport]
    started: float
    seconds: float = 0.0
    command: list[str] = field(default_factory=list)
    on: str = ""
    """The runner that Beam components were given to; empty for this machine."""
    outcome: str = RUNNING
    """`running`, `succeeded`, `stopped` (by a gate), `failed`, `interrupted` or `killed`."""
    error: str = ""
    headline: str = ""
    """One line: how it ended."""
    spans: dict[int, str] = field(default_factory=dict)
    """The window: the fingerprint of each span's content, by number. Empty for data without time, and for a run of
    some nodes only."""

    @property
    def newest(self) -> int | None:
        """The span that evaluated, if `spans` is known."""
        return max(self.spans, default=None)

    @property
    def has_decided(self) -> bool:
        """Whether the window's model was pushed, or refused by a gate: nothing is left to do for it."""
        return self.outcome in ("succeeded", "stopped")

    def save(self, home: Path) -> None:
        """Replaces the report on disk; a reader never sees half of one."""
        path = run_folder(home, self.run_id) / REPORT_FILE
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(_ADAPTER.dump_json(self, indent=2))
        unfinished.replace(path)


_ADAPTER = TypeAdapter(RunReport)


def run_folder(home: Path, run_id: str) -> Path:
    """Holds a run's report and logs."""
    return home / LOGS / run_id


def close_killed(home: Path) -> None:
    """Marks runs that ended without a word as killed. Call it under the run lock only."""
    for report in load_reports(home):
        if report.outcome == RUNNING and not report.run_id.startswith(OTHERS_RUN):
            report.outcome = KILLED
            for node in report.nodes.values():
                if node.state in (State.RUNNING, State.WAITING):
                    node.state, node.reason = State.CANCELLED, "the run was killed"
            report.save(home)


def load_reports(home: Path) -> list[RunReport]:
    """All runs, oldest first."""
    paths = sorted((home / LOGS).glob(f"*/{REPORT_FILE}"))
    return sorted((_ADAPTER.validate_json(path.read_bytes()) for path in paths), key=lambda run: run.started)
