"""One report of a run, though each of its nodes runs in a process of its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from pipeline.gates.verdict import Finding, GateName, Outcome, Verdict, decide
from pipeline.runners.joint_report import JointReport, join_report
from pipeline.runners.report import NodeReport, RunReport, State, load_reports

NODES = ("ExampleGen", "DataGate", "Trainer")


def join(home: Path, node: str, *verdicts: Verdict) -> JointReport:
    run = RunReport("other-1", "flights", {name: NodeReport(name) for name in NODES}, started=1.0)
    return join_report(home, run, node, lambda: list(verdicts))


def end(home: Path, node: str, state: State, *verdicts: Verdict, reason: str = "") -> RunReport:
    """The run's report after a process has run its node."""
    joint = join(home, node, *verdicts)
    for each in (State.RUNNING, state):
        joint.nodes[node].state, joint.nodes[node].reason = each, reason
        joint.save(home)
    [run] = load_reports(home)
    assert run.outcome == joint.outcome
    return run


def refused() -> Verdict:
    finding = Finding(check="auc", where="all", bound="≥ 0.7", value="0.6", outcome=Outcome.FAILED)
    return decide(GateName.DATA, [finding], {})


def test_a_process_sees_that_its_node_is_to_run_and_nothing_else(tmp_path: Path) -> None:
    joint = join(tmp_path, "DataGate")
    states = {name: node.state for name, node in joint.nodes.items()}
    assert states == {"ExampleGen": State.REUSED, "DataGate": State.WAITING, "Trainer": State.REUSED}
    [run] = load_reports(tmp_path)
    assert {node.state for node in run.nodes.values()} == {State.WAITING}


def test_a_run_succeeds_with_its_last_node(tmp_path: Path) -> None:
    assert end(tmp_path, "ExampleGen", State.CACHED).outcome == "running"
    assert end(tmp_path, "DataGate", State.DONE).outcome == "running"
    assert end(tmp_path, "Trainer", State.DONE).outcome == "succeeded"


def test_a_gate_stops_the_run_and_another_attempt_goes_on(tmp_path: Path) -> None:
    run = end(tmp_path, "DataGate", State.DONE, refused())
    assert (run.outcome, run.headline) == ("stopped", "Stopped by the data gate; nothing was pushed.")
    assert end(tmp_path, "DataGate", State.DONE).outcome == "running"


def test_a_closed_gate_says_more_than_the_failure_of_a_node_beside_it(tmp_path: Path) -> None:
    end(tmp_path, "Trainer", State.FAILED, reason="Trainer failed")
    run = end(tmp_path, "DataGate", State.DONE, refused())
    assert (run.outcome, run.error) == ("stopped", "Trainer failed")


def test_a_failure_is_told_until_another_attempt_succeeds(tmp_path: Path) -> None:
    run = end(tmp_path, "Trainer", State.FAILED, reason="Trainer failed")
    assert (run.outcome, run.error) == ("failed", "Trainer failed")
    assert end(tmp_path, "ExampleGen", State.DONE).outcome == "failed"
    assert end(tmp_path, "DataGate", State.DONE).outcome == "failed"
    assert end(tmp_path, "Trainer", State.DONE).outcome == "succeeded"


def test_a_node_that_was_ended_is_no_failure(tmp_path: Path) -> None:
    assert end(tmp_path, "Trainer", State.CANCELLED).outcome == "interrupted"


def test_nodes_that_end_at_once_lose_nothing(tmp_path: Path) -> None:
    other = threading.Thread(target=end, args=(tmp_path, "Trainer", State.DONE))
    began = threading.Event()

    def verdicts() -> list[Verdict]:
        """Lets the other write, if it can, after the report was read and before it is written."""
        if not began.is_set():
            began.set()
            other.start()
            other.join(timeout=0.3)
        return []

    joint = replace(join(tmp_path, "ExampleGen"), verdicts=verdicts)
    joint.nodes["ExampleGen"].state = State.DONE
    joint.save(tmp_path)
    other.join()
    [run] = load_reports(tmp_path)
    assert (run.nodes["ExampleGen"].state, run.nodes["Trainer"].state) == (State.DONE, State.DONE)
