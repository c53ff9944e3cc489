"""Compiled pipelines, executed through their own containers' commands: to a pushed model, and to a closed gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiled_flights import VERTEX, flights
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format
from pipeline_job import JobRun, run_job
from projects import Project, make_project

from pipeline.commands.compile import CompileOptions, accepted_findings
from pipeline.config import load_config
from pipeline.gates.verdict import GateName
from pipeline.runners.kubeflow import compile_job
from pipeline.runners.submission import Platform, vertex_files
from pipeline.targets import VertexTarget
from schema.errors import ExitCode
from serving.versions import find, read_manifest, versions

TARGETS = {"kubeflow": {"image": "headrace:1"}, "vertex": {"image": "headrace:1", "project": "p", "region": "r"}}


def run(project: Project, platform: Platform, number: int) -> JobRun:
    job = compile_job(load_config(project.config_path), platform, {}, on_this_disk=True)
    return run_job(job, number, as_kubeflow=platform == "kubeflow")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("compiled"))
    made.change_config(lambda raw: raw.update(targets=TARGETS))
    return made


@pytest.fixture(scope="module")
def first(project: Project) -> JobRun:
    """The first run of all, on Kubeflow."""
    return run(project, "kubeflow", 1)


def test_a_job_is_executed_task_by_task_to_a_pushed_model(project: Project, first: JobRun) -> None:
    failed = {task: first.said(task)[-2000:] for task, code in first.codes.items() if code}
    assert not failed
    assert not first.skipped
    [version] = versions(project.push_path)
    assert read_manifest(find(project.push_path, version))["pipeline"] == "flights"
    assert first.outputs["LatestBlessedModel"]["baseline"]["metadata"].get("pushed_version") is None
    report = first.said("GateReport")
    assert "quality gate: passed" in report
    assert "There is no blessed model yet" in report


def test_a_closed_gate_stops_what_is_behind_it_and_the_exit_step_fails_with_its_code(
    project: Project, first: JobRun
) -> None:
    [version] = versions(project.push_path)
    project.change_config(lambda raw: raw["gates"]["quality"].append({"metric": "auc", "at_least": 0.999}))
    second = run(project, "vertex", 2)
    assert second.skipped == {"Pusher"}
    assert second.codes.pop("GateReport") == ExitCode.QUALITY_GATE, second.said("GateReport")
    assert not any(second.codes.values()), second.codes
    assert versions(project.push_path) == [version]
    baseline = second.outputs["LatestBlessedModel"]["baseline"]["metadata"]
    report = second.said("GateReport")
    assert baseline["pushed_version"] == str(version)
    assert "≥ 0.999" in report
    assert "Compared with the last blessed model" in report
    assert f"--accept 'REASON' --run {second.folder}" in report

    accepted = accepted_findings(CompileOptions("vertex", accept="holiday", run=str(second.folder)))
    assert list(accepted[GateName.QUALITY].values()) == ["holiday"]
    job = compile_job(load_config(project.config_path), "vertex", accepted, on_this_disk=True)
    gate = job["pipelineSpec"]["components"]["tfx-dag"]["dag"]["tasks"]["QualityGate"]
    constant = gate["inputs"]["parameters"]["accepted"]["runtimeValue"]["constant"]
    assert json.loads(constant) == accepted[GateName.QUALITY]


def test_vertex_s_own_types_and_sdk_take_the_files(tmp_path: Path) -> None:
    config = flights()
    assert isinstance(config.targets.vertex, VertexTarget)
    files = vertex_files(config, config.targets.vertex, compile_job(config, "vertex", {}))
    for name, kind in (("run.json", types.PipelineJob), ("schedule.json", types.Schedule)):
        parsed = json_format.Parse(files[name], kind.pb(kind()))
        assert parsed.ByteSize()
    schedule = types.Schedule.from_json(files["schedule.json"])
    assert schedule.cron == "TZ=Europe/Berlin 0 5 * * *"
    assert schedule.create_pipeline_job_request.parent == "projects/p/locations/us-central1"
    run = schedule.create_pipeline_job_request.pipeline_job
    assert (run.service_account, run.network) == (VERTEX["service_account"], VERTEX["network"])
    assert run.encryption_spec.kms_key_name == VERTEX["encryption_key"]
    (tmp_path / "pipeline.json").write_text(files["pipeline.json"])
    made = aiplatform.PipelineJob(
        display_name="flights",
        template_path=str(tmp_path / "pipeline.json"),
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
    )
    assert made._gca_resource.runtime_config.gcs_output_directory == "gs://b/headrace/flights/artifacts"
