"""Killed at any node, the run goes on where it was: nothing redone, nothing half-written, no process left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from e2e_tools import COMMAND, ENVIRONMENT, headrace, states, wait_until_none
from ml_metadata.proto import metadata_store_pb2 as pb
from projects import Project, make_project

from pipeline.metadata import History, open_store
from pipeline.runners.report import load_reports
from schema.errors import ExitCode
from serving.versions import versions

SLOW_NODES = ("ExampleGen", "StatisticsGen", "Transform", "Trainer", "InfraValidator", "Evaluator", "ReferenceGen")
"""Nodes that run for long enough to be caught at it on any machine; the others are killed when they are caught."""

NODES = (
    "ExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "DataGate", "Transform", "Trainer",
    "InfraValidator", "LatestBlessedModel", "Evaluator", "InfraGate", "QualityGate", "ReferenceGen", "Pusher",
)  # fmt: skip


def signal_during(project: Project, node: str, number: signal.Signals) -> tuple[bool, subprocess.Popen[bytes]]:
    """Starts a run and signals its process while `node` runs; whether the node was caught running."""
    earlier = len(load_reports(project.home))
    process = subprocess.Popen(
        [*COMMAND, "run", str(project.config_path)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell that starts the tests in the background has SIGINT ignored, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None:
        reports = load_reports(project.home)
        state = reports[-1].nodes[node].state.value if len(reports) > earlier else "waiting"
        if state == "running":
            process.send_signal(number)
            return True, process
        if state not in ("waiting", "running"):
            process.send_signal(number)
            return False, process
        time.sleep(0.002)
    return False, process


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose runs were killed during each node in turn, and then finished."""
    project = make_project(tmp_path_factory.mktemp("killed"))
    caught = []
    for node in NODES:
        was_caught, process = signal_during(project, node, signal.SIGKILL)
        process.communicate()
        assert wait_until_none(project) == []
        assert all((project.push_path / str(each) / "saved_model.pb").is_file() for each in versions(project.push_path))
        if was_caught:
            caught.append(node)
    assert set(SLOW_NODES) <= set(caught)
    result = headrace("run", str(project.config_path))
    assert result.returncode == ExitCode.OK, result.stdout
    return project


def test_no_finished_node_was_redone(killed: Project) -> None:
    history = History(open_store(killed.home), "flights")
    for node in set(NODES) - {"LatestBlessedModel"}:  # a resolver has no cache
        found = Counter(pb.Execution.State.Name(each.last_known_state) for each in history.executions_of_node(node))
        assert found["COMPLETE"] == 1, (node, found)
        assert not found["RUNNING"], (node, found)
    assert history.unfinished() == []


def test_killed_runs_are_told_as_killed(killed: Project) -> None:
    outcomes = [report.outcome for report in load_reports(killed.home)]
    assert outcomes[-1] == "succeeded"
    assert "running" not in outcomes
    assert outcomes.count("killed") >= len(SLOW_NODES)


def test_outputs_of_killed_nodes_are_gone(killed: Project) -> None:
    history = History(open_store(killed.home), "flights")
    for node in NODES:
        for execution in history.executions_of_node(node):
            if execution.last_known_state == pb.Execution.CANCELED:
                assert list((killed.home / "artifacts" / node).glob(f"*/{execution.id}")) == []
    [version] = versions(killed.push_path)
    assert sorted(each.name for each in killed.push_path.iterdir()) == [".push.lock", str(version)]


def test_model_is_the_one_of_an_undisturbed_run(killed: Project, tmp_path: Path) -> None:
    undisturbed = make_project(tmp_path / "undisturbed")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(undisturbed.config_path), "--jobs", "1"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )
    assert process.wait(timeout=400) == ExitCode.OK
    [left], [right] = versions(killed.push_path), versions(undisturbed.push_path)
    weights = "variables/variables.data-00000-of-00001"
    for name in (weights, "assets/tailnum"):
        there = (killed.push_path / str(left) / name).read_bytes()
        assert there == (undisturbed.push_path / str(right) / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_at_once_and_says_how_to_go_on(project: Project, number: signal.Signals) -> None:
    was_caught, process = signal_during(project, "Transform", number)
    output, _ = process.communicate(timeout=30)
    assert was_caught
    assert process.returncode == ExitCode.INTERRUPTED, output.decode()
    assert "Finished nodes are kept: headrace resume" in output.decode()
    assert states(project)["Transform"] == "cancelled"
    assert wait_until_none(project) == []
    assert History(open_store(project.home), "flights").unfinished() == []
