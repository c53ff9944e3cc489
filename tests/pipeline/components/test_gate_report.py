"""The exit step tells what the gates of its run decided, and fails if one stopped it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tfx.types.experimental.simple_artifacts import File

from pipeline.components.gate_report import REPORT_FILE, GateReport, run_folder
from pipeline.gates.verdict import Finding, GateName, Outcome, decide
from schema.errors import ExitCode
from storage.places import at

PASSED = Finding(check="auc", where="all examples", bound="≥ 0.6", value="0.71", outcome=Outcome.PASSED)
FAILED = Finding(
    check="auc", where="[origin]=JFK", bound="≥ 0.7", value="0.61", outcome=Outcome.FAILED, mend="Look at the slice."
)
KUBEFLOW = "flights/run-1/{task}/some-uuid"
VERTEX = "123456/flights-1/{task}_987654"


def leave(root: Path, layout: str, gate: GateName, *findings: Finding) -> None:
    folder = root / layout.format(task=f"{gate.value.title()}Gate") / "verdict"
    folder.mkdir(parents=True)
    decide(gate, findings, {}).save(at(folder))


def report(root: Path, layout: str, status: str = '{"state": "SUCCEEDED"}') -> str:
    """What the report says; raises SystemExit as the step does."""
    artifact = File()
    artifact.uri = str(root / layout.format(task="GateReport") / "report")
    properties = {"root": str(root), "pipeline": "flights", "platform": "vertex", "final_status": status}
    try:
        GateReport.EXECUTOR_SPEC.executor_class().Do({}, {"report": [artifact]}, properties)
    finally:
        report.text = (Path(artifact.uri) / REPORT_FILE).read_text()
    return report.text


@pytest.mark.parametrize("layout", [KUBEFLOW, VERTEX])
def test_the_run_is_found_below_the_root_on_both_platforms(layout: str) -> None:
    uri = f"gs://b/root/{layout.format(task='GateReport')}/report"
    assert run_folder("gs://b/root", uri) == f"gs://b/root/{'/'.join(layout.split('/')[:2])}"


@pytest.mark.parametrize("layout", [KUBEFLOW, VERTEX])
def test_a_closed_gate_is_told_with_its_findings_and_fails_the_step(tmp_path: Path, layout: str, capsys) -> None:
    leave(tmp_path, layout, GateName.DATA, PASSED)
    leave(tmp_path, layout, GateName.QUALITY, PASSED, FAILED)
    with pytest.raises(SystemExit) as ended:
        report(tmp_path, layout)
    assert ended.value.code == ExitCode.QUALITY_GATE
    text = report.text
    assert text.index("data gate: passed") < text.index("quality gate: failed")
    for told in ("[origin]=JFK", "≥ 0.7", "0.61", "Look at the slice.", "headrace compile flights --for vertex"):
        assert told in text
    assert f"--run {tmp_path / '/'.join(layout.split('/')[:2])}" in text
    assert capsys.readouterr().out == f"{text}\n"


def test_verdicts_of_other_runs_are_not_told(tmp_path: Path) -> None:
    leave(tmp_path, KUBEFLOW.replace("run-1", "run-0"), GateName.DATA, FAILED)
    leave(tmp_path, KUBEFLOW, GateName.DATA, PASSED)
    assert "failed" not in report(tmp_path, KUBEFLOW)


def test_a_run_that_failed_before_any_gate_tells_why(tmp_path: Path) -> None:
    status = json.dumps({"state": "FAILED", "error": {"message": "ExampleGen: no span"}})
    text = report(tmp_path, VERTEX, status)
    assert "FAILED ExampleGen: no span" in text
    assert "No gate was reached." in text


def test_a_status_that_is_no_json_is_told_as_it_is(tmp_path: Path) -> None:
    assert "who knows" in report(tmp_path, VERTEX, "who knows")
