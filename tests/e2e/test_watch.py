"""Killed with -9 at any moment, the watch goes on where it was: every span in order, none lost, none done twice."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest
from e2e_tools import COMMAND, ENVIRONMENT, headrace, wait_until_none
from ml_metadata.proto import metadata_store_pb2 as pb
from projects import REPOSITORY, Project, make_project

from pipeline.metadata import History, open_store
from pipeline.runners.report import load_reports
from schema.errors import ExitCode
from serving.versions import read_manifest, versions

ROWS = 400
EXPECTED = {"running", "killed", "succeeded"}
ONCE_PER_SPAN = (
    "ExampleGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform", "Trainer", "InfraValidator",
    "InfraGate", "Evaluator", "QualityGate", "Pusher",
)  # fmt: skip


class Watching:
    """`headrace watch` in a process of its own."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.log = project.folder / "watch.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "watch", str(project.config_path), "--every", "30"],
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def wait_for(self, is_so: Callable[[Project], bool]) -> None:
        deadline = time.monotonic() + 300
        while not is_so(self.project):
            outcomes = {each.outcome for each in load_reports(self.project.home)}
            if self.process.poll() is not None or time.monotonic() > deadline or not outcomes <= EXPECTED:
                self.process.kill()
                pytest.fail(self.log.read_text())
            time.sleep(0.005)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def running(span: int, node: str) -> Callable[[Project], bool]:
    def is_so(project: Project) -> bool:
        reports = load_reports(project.home)
        return bool(reports) and reports[-1].newest == span and reports[-1].nodes[node].state.value == "running"

    return is_so


def done(span: int) -> Callable[[Project], bool]:
    return lambda project: any(each.newest == span and each.has_decided for each in load_reports(project.home))


def deliver(project: Project, number: int) -> None:
    whole = pq.read_table(REPOSITORY / "data" / "flights" / f"span-{number:02d}" / "flights.parquet")
    every = len(whole) // ROWS
    project.write_span(number, whole.take(list(range(0, every * ROWS, every))))
    mark(project, number)


def mark(project: Project, number: int) -> None:
    """Says that a span is complete, so that nobody waits to see whether it grows."""
    (project.span_path(number).parent / "_SUCCESS").touch()


def kill_watch(project: Project, moment: Callable[[Project], bool]) -> None:
    watching = Watching(project)
    watching.wait_for(moment)
    assert watching.end(signal.SIGKILL) == -signal.SIGKILL
    assert wait_until_none(project) == []


def small(raw: dict) -> None:
    raw["monitor"] = {"policy": {"retrain_on": ["new_span"]}, "fewest_rows": 100_000}  # so that no look blocks
    raw["gates"]["data"] = {**raw["gates"].get("data", {}), "drift": "note"}  # so few flights have few planes in common


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose watch was killed within a run, just after one, and within the next; and then went on."""
    project = make_project(tmp_path_factory.mktemp("watched"), rows=ROWS)
    project.change_config(small)
    for number in (1, 2, 3):
        mark(project, number)
    kill_watch(project, running(3, "Trainer"))
    deliver(project, 4)
    kill_watch(project, done(3))
    kill_watch(project, running(4, "Transform"))
    watching = Watching(project)
    watching.wait_for(done(4))
    assert headrace("watch", str(project.config_path), "--once").returncode == ExitCode.LOCKED
    assert watching.end(signal.SIGTERM) == ExitCode.INTERRUPTED
    assert wait_until_none(project) == []
    return project


def test_every_node_ran_once_for_every_span(watched: Project) -> None:
    history = History(open_store(watched.home), "flights")
    span_of = {report.run_id: report.newest for report in load_reports(watched.home)}
    for node in ONCE_PER_SPAN:
        completed = [
            span_of[history.run_of(execution.id)]
            for execution in history.executions_of_node(node)
            if execution.last_known_state == pb.Execution.COMPLETE
        ]
        assert completed == [3, 4], node
    assert history.unfinished() == []


def test_every_span_is_done_once_and_in_order(watched: Project) -> None:
    reports = load_reports(watched.home)
    assert [report.newest for report in reports if report.has_decided] == [3, 4]
    assert Counter(report.outcome for report in reports) == {"succeeded": 2, "killed": 2}


def test_every_version_is_pushed_once_and_in_order(watched: Project) -> None:
    manifests = [read_manifest(watched.push_path / str(version)) for version in versions(watched.push_path)]
    assert [manifest and manifest["window"] for manifest in manifests] == [
        "spans 1, 2 train, span 3 evaluates",
        "spans 2, 3 train, span 4 evaluates",
    ]
