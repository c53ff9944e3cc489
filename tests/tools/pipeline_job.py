"""A stand-in of Kubeflow Pipelines and of Vertex AI Pipelines: executes a compiled job, task by task, in processes.

Every task runs the command and the arguments of its own container, in an environment without the repository as working
folder; only the image is replaced by this interpreter. What the platforms do to artifacts on the way is done here as
well: numbers become doubles, Kubeflow's driver leaves out types and its launcher adds an output for the log
(backend/src/v2/driver/driver.go, provisionOutputs; metadata/client.go, GetOutputArtifactsByExecutionId).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from projects import REPOSITORY

_CONDITION = re.compile(r"\(inputs\.artifacts\['([^']+)'\]\.artifacts\[0\]\.metadata\['([^']+)'\] == ([0-9.]+)\)")
_LOG = {"artifacts": [{"name": "executor-logs", "type": {"schemaTitle": "system.Artifact"}, "uri": "gs://none/log"}]}


@dataclass
class JobRun:
    """What became of a job."""

    folder: Path
    codes: dict[str, int] = field(default_factory=dict)
    """Exit codes of the tasks that ran."""
    skipped: set[str] = field(default_factory=set)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Task → key → the artifact."""

    def said(self, task: str) -> str:
        """The standard output and error of a task."""
        return (self.folder / f"{task}.log").read_text(encoding="utf-8")


def run_job(job: dict[str, Any], number: int, as_kubeflow: bool, most_at_once: int = 2) -> JobRun:
    """Executes a job whose root is a local folder."""
    parsed = json_format.ParseDict(job, pb.PipelineJob())
    spec = json_format.ParseDict(json_format.MessageToDict(parsed.pipeline_spec), pb.PipelineSpec())
    deployment = json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), pb.PipelineDeploymentConfig())
    middle = "pipeline/run" if as_kubeflow else "1234567/job"
    run = JobRun(Path(parsed.runtime_config.gcs_output_directory) / f"{middle}-{number}")
    run.folder.mkdir(parents=True)
    [exit_step] = [name for name in spec.root.dag.tasks if name != "tfx-dag"]
    _run_dag(spec, deployment, run, as_kubeflow, most_at_once)
    task = spec.root.dag.tasks[exit_step]
    assert task.trigger_policy.strategy == pb.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED
    _run_task(spec, deployment, run, exit_step, task, as_kubeflow)
    return run


def _run_dag(
    spec: pb.PipelineSpec, deployment: pb.PipelineDeploymentConfig, run: JobRun, as_kubeflow: bool, most_at_once: int
) -> None:
    waiting = dict(spec.components["tfx-dag"].dag.tasks)
    running: set[Future[None]] = set()
    with ThreadPoolExecutor(most_at_once) as pool:
        while waiting or running:
            for name, task in list(waiting.items()):
                before = task.dependent_tasks
                if any(each in run.skipped or run.codes.get(each, 0) for each in before):
                    run.skipped.add(name)
                elif not all(each in run.codes for each in before):
                    continue
                elif not _holds(task.trigger_policy.condition, _inputs(task, run)):
                    run.skipped.add(name)
                else:
                    running.add(pool.submit(_run_task, spec, deployment, run, name, task, as_kubeflow))
                del waiting[name]
            if running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()


def _run_task(
    spec: pb.PipelineSpec,
    deployment: pb.PipelineDeploymentConfig,
    run: JobRun,
    name: str,
    task: pb.PipelineTaskSpec,
    as_kubeflow: bool,
) -> None:
    component = spec.components[task.component_ref.name]
    folder = run.folder / name / f"{len(name)}-uuid" if as_kubeflow else run.folder / f"{name}_{len(name)}"
    declared = json_format.MessageToDict(component.output_definitions).get("artifacts", {})
    outputs = {
        key: {"artifacts": [{"name": f"{name}/{key}", "uri": str(folder / key), "type": output["artifactType"]}]}
        for key, output in declared.items()
    }
    for key in outputs:
        (folder / key).mkdir(parents=True)  # a bucket has no folders that could be missing
    output_file = folder / "executor_output.json"
    inputs = _inputs(task, run)
    if as_kubeflow:
        outputs["executor-logs"] = _LOG
    else:
        for key, found in inputs.items():
            described = json_format.MessageToDict(component.input_definitions.artifacts[key].artifact_type)
            inputs[key] = {"artifacts": [{**found["artifacts"][0], "type": described}]}
    status = {"state": "SUCCEEDED", "pipelineTaskName": "tfx-dag"}
    parameters = {
        key: json.dumps(status) if value.HasField("task_final_status") else _constant(value)
        for key, value in task.inputs.parameters.items()
    }
    given = {
        "inputs": {"artifacts": inputs, "parameterValues": parameters},
        "outputs": {"artifacts": outputs, "outputFile": str(output_file)},
    }
    container = deployment.executors[component.executor_label].container
    words = [word.replace("{{$}}", json.dumps(given)) for word in (*container.command, *container.args)]
    assert words[0] == "python"
    with (run.folder / f"{name}.log").open("w") as log:
        ended = subprocess.run(
            [sys.executable, *words[1:]],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=run.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "2"},
            check=False,
        )
    if ended.returncode == 0:
        written = json_format.Parse(output_file.read_text(), pb.ExecutorOutput())
        found = json_format.MessageToDict(written).get("artifacts", {})
        run.outputs[name] = {key: _published(found.get(key), outputs[key]) for key in declared}
    run.codes[name] = ended.returncode


def _published(written: dict[str, Any] | None, planned: dict[str, Any]) -> dict[str, Any]:
    """What a platform keeps of an output, and hands to other tasks: its name, place and metadata, but no type."""
    artifact = {**planned["artifacts"][0], **(written["artifacts"][0] if written else {})}
    metadata = artifact.get("metadata", {})
    assert None not in metadata.values(), "Kubeflow keeps no null"
    kept = {key: {"struct": value} if isinstance(value, dict) else value for key, value in metadata.items()}
    return {"name": artifact["name"], "uri": artifact["uri"], "metadata": kept}


def _inputs(task: pb.PipelineTaskSpec, run: JobRun) -> dict[str, Any]:
    sources = {key: artifact.task_output_artifact for key, artifact in task.inputs.artifacts.items()}
    found = {key: run.outputs[each.producer_task][each.output_artifact_key] for key, each in sources.items()}
    return {key: {"artifacts": [{**each, "type": {"instanceSchema": ""}}]} for key, each in found.items()}


def _holds(condition: str, inputs: dict[str, Any]) -> bool:
    """A conjunction of comparisons of metadata with numbers, the only CEL that a condition of ours is."""
    terms = condition.split(" && ") if condition else []
    parsed = [_CONDITION.fullmatch(term) for term in terms]
    assert all(parsed), condition
    return all(
        inputs[each[1]]["artifacts"][0]["metadata"][each[2]] == float(each[3]) for each in parsed if each is not None
    )


def _constant(value: pb.TaskInputsSpec.InputParameterSpec) -> Any:
    return json_format.MessageToDict(value.runtime_value)["constant"]
