"""headrace compile."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from projects import make_project
from rich.console import Console

from pipeline.cli import run_command
from pipeline.commands.compile import CompileOptions, accepted_findings, compile_for
from pipeline.config import load_config
from pipeline.gates.verdict import Finding, GateName, Outcome, decide
from schema.errors import ExitCode, UsageError
from storage.places import at


def test_the_folder_is_written_and_told(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", spans=2, rows=10)

    def in_a_bucket(raw: dict) -> None:
        raw["root"], raw["push"] = "gs://b/root", {"path": "gs://b/models"}
        raw["data"]["source"]["path"] = "gs://b/data/span-{SPAN}/*"
        raw["schema"] = str(Path(__file__).parents[3] / "schema" / "flights.pbtxt")
        raw["targets"] = {"kubeflow": {"image": "headrace:1"}}

    project.change_config(in_a_bucket)
    output = io.StringIO()
    options = CompileOptions("kubeflow", output=str(tmp_path / "out"))
    code = compile_for(Console(file=output, width=1000), load_config(project.config_path), options)
    assert code is ExitCode.OK
    written = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert written == {"pipeline.yaml", "run.json", "README.md"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["display_name"] == "flights"
    assert str(tmp_path / "out" / "README.md") in output.getvalue()


FAILED = Finding(check="auc", where="all", bound="≥ 0.7", value="0.6", outcome=Outcome.FAILED)
PASSED = Finding(check="auc", where="all", bound="≥ 0.5", value="0.6", outcome=Outcome.PASSED)


def leave(run: Path, gate: GateName, *findings: Finding, accepted: dict[str, str] | None = None) -> None:
    folder = run / f"{gate.value.title()}Gate_1" / "verdict"
    folder.mkdir(parents=True)
    decide(gate, findings, accepted or {}).save(at(folder))


def test_what_the_gates_of_a_run_refused_is_accepted_with_what_was_accepted_before(tmp_path: Path) -> None:
    leave(tmp_path, GateName.DATA, FAILED, accepted={FAILED.key: "earlier"})
    leave(tmp_path, GateName.QUALITY, PASSED, FAILED)
    accepted = accepted_findings(CompileOptions("vertex", accept=" holiday ", run=str(tmp_path)))
    assert accepted == {GateName.DATA: {FAILED.key: "earlier"}, GateName.QUALITY: {FAILED.key: "holiday"}}


def test_nothing_is_accepted_unasked() -> None:
    assert accepted_findings(CompileOptions("vertex")) == {}


@pytest.mark.parametrize(("accept", "run"), [("why", None), (None, "gs://b/run"), (" ", "gs://b/run")])
def test_a_reason_needs_a_run_and_a_run_a_reason(accept: str | None, run: str | None) -> None:
    with pytest.raises(UsageError, match="is not said"):
        accepted_findings(CompileOptions("vertex", accept=accept, run=run))


@pytest.mark.parametrize("findings", [(), (PASSED,)])
def test_a_run_that_no_gate_stopped_has_nothing_to_accept(tmp_path: Path, findings: tuple[Finding, ...]) -> None:
    if findings:
        leave(tmp_path, GateName.DATA, *findings)
    with pytest.raises(UsageError, match="nothing to accept"):
        accepted_findings(CompileOptions("vertex", accept="why", run=str(tmp_path)))


def test_a_dag_for_airflow_is_one_file_and_takes_no_acceptance(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", spans=2, rows=10)
    config, output = load_config(project.config_path), io.StringIO()
    options = CompileOptions("airflow", output=str(tmp_path / "dags"))
    assert compile_for(Console(file=output, width=1000), config, options) is ExitCode.OK
    dag = tmp_path / "dags" / "headrace_flights" / "headrace_flights.py"
    assert dag.is_file()
    assert f"{dag.parent}: {dag.name}" in output.getvalue()
    with pytest.raises(UsageError, match="headrace run"):
        compile_for(Console(file=output), config, CompileOptions("airflow", accept="why"))


def test_a_dag_has_the_schedule_and_the_runner_of_the_command_line(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", spans=2, rows=10)
    compiling = ["compile", str(project.config_path), "--for", "airflow", "--output", str(tmp_path / "dags")]
    where = ["--schedule", "0 3 * * *", "--on", "portable"]
    assert run_command([*compiling, *where]) is ExitCode.CONFIG  # the YAML does not say where it is
    assert not (tmp_path / "dags").exists()
    project.change_config(lambda raw: raw.update(targets={"portable": {"job_endpoint": "localhost:8099"}}))
    assert run_command([*compiling, *where]) is ExitCode.OK
    written = (tmp_path / "dags" / "headrace_flights" / "headrace_flights.py").read_text()
    assert "SCHEDULE = '0 3 * * *'" in written
    assert "'--on', 'portable'" in written


def test_a_dag_that_was_edited_is_kept_and_so_is_another_pipelines(tmp_path: Path) -> None:
    project, output = make_project(tmp_path / "project", spans=2, rows=10), io.StringIO()
    other = make_project(tmp_path / "other", spans=2, rows=10)
    other.change_config(lambda raw: raw.update(name="others"))
    config, options = load_config(project.config_path), CompileOptions("airflow", output=str(tmp_path / "dags"))
    for each in (config, load_config(other.config_path)):
        assert compile_for(Console(file=output), each, options) is ExitCode.OK
    dag = tmp_path / "dags" / "headrace_flights" / "headrace_flights.py"
    assert (tmp_path / "dags" / "headrace_others" / "headrace_others.py").is_file()
    dag.write_text(dag.read_text().replace("catchup=False", "catchup=True"))
    with pytest.raises(UsageError, match="were edited"):
        compile_for(Console(file=output), config, options)
    assert "catchup=True" in dag.read_text()
    assert compile_for(Console(file=output), config, replace(options, force=True)) is ExitCode.OK
    assert "catchup=False" in dag.read_text()


@pytest.mark.parametrize("given", [{"schedule": "@daily"}, {"on": "dataflow"}])
def test_other_platforms_are_told_in_the_configuration(tmp_path: Path, given: dict[str, str]) -> None:
    config = load_config(make_project(tmp_path, spans=2, rows=10).config_path)
    with pytest.raises(UsageError, match=r"targets\.vertex\.schedule"):
        compile_for(Console(file=io.StringIO()), config, CompileOptions("vertex", **given))
