"""What is compiled for Vertex AI and Kubeflow Pipelines is what they take."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from compiled_flights import DATAFLOW, KUBEFLOW, SCHEDULE, TRAINER, VERTEX, flights
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.beam import EVAL_NODES, IN_MEMORY_RUNNER, WINDOW_NODES
from pipeline.config import PipelineConfig
from pipeline.gates.verdict import GateName
from pipeline.runners.kubeflow import ALWAYS_RUN, compile_job
from pipeline.runners.submission import kubeflow_files, vertex_files
from schema.errors import ConfigError


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return compile_job(flights(), "vertex", {})


@pytest.fixture(scope="module")
def tasks(job) -> dict[str, Any]:
    found: dict[str, Any] = job["pipelineSpec"]["components"]["tfx-dag"]["dag"]["tasks"]
    return found


@pytest.fixture(scope="module")
def containers(job) -> dict[str, Any]:
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    return {name.removesuffix("_executor"): each["container"] for name, each in executors.items()}


def test_the_job_parses_strictly(job) -> None:
    parsed = json_format.ParseDict(job, pb.PipelineJob())
    spec = json_format.ParseDict(job["pipelineSpec"], pb.PipelineSpec())
    deployment = json_format.ParseDict(job["pipelineSpec"]["deploymentSpec"], pb.PipelineDeploymentConfig())
    assert (
        parsed.runtime_config.gcs_output_directory == spec.default_pipeline_root == "gs://b/headrace/flights/artifacts"
    )
    assert spec.schema_version == "2.1.0"
    labels = {each.executor_label for each in spec.components.values() if each.executor_label}
    assert labels == set(deployment.executors)


def test_the_same_configuration_gives_the_same_bytes(job) -> None:
    config = flights()
    again = compile_job(config, "vertex", {})
    assert vertex_files(config, config.targets.vertex, again) == vertex_files(config, config.targets.vertex, job)
    assert kubeflow_files(config, config.targets.kubeflow, again) == kubeflow_files(
        config, config.targets.kubeflow, job
    )


def test_every_parameter_has_the_type_that_kubeflow_asks_for(job) -> None:
    for name, component in job["pipelineSpec"]["components"].items():
        for key, parameter in component.get("inputDefinitions", {}).get("parameters", {}).items():
            assert parameter["parameterType"] in ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE"), (name, key)


def test_every_condition_asks_an_input_of_its_task(tasks) -> None:
    for name, task in tasks.items():
        asked = re.findall(r"inputs\.artifacts\['([^']+)'\]", task.get("triggerPolicy", {}).get("condition", ""))
        assert set(asked) <= set(task.get("inputs", {}).get("artifacts", {})), name


def test_every_gate_stands_before_what_it_guards(tasks) -> None:
    guarded = {
        "Transform": 1,
        "Trainer": 1,
        "InfraGate": 1,
        "Evaluator": 1,
        "QualityGate": 2,
        "ReferenceGen": 2,
        "Pusher": 3,
    }
    for name, gates in guarded.items():
        assert tasks[name]["triggerPolicy"]["condition"].count("metadata['passed'] == 1.0") == gates, name
    assert "triggerPolicy" not in tasks["DataGate"]


def test_the_exit_step_follows_whatever_happens(job) -> None:
    step = job["pipelineSpec"]["root"]["dag"]["tasks"]["GateReport"]
    assert step["dependentTasks"] == ["tfx-dag"]
    assert step["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert step["inputs"]["parameters"]["final_status"] == {"taskFinalStatus": {"producerTask": "tfx-dag"}}


def test_every_container_has_the_image_and_names_its_beam_runner(containers) -> None:
    assert {each["image"] for each in containers.values()} == {"gcr.io/p/headrace:1"}
    assert {tuple(each["command"]) for each in containers.values()} == {("python", "-m", "pipeline.runners.container")}
    named = {name for name, each in containers.items() if IN_MEMORY_RUNNER in each["args"]}
    assert named == {*WINDOW_NODES, *EVAL_NODES}


def test_resources_are_the_node_s_own(containers) -> None:
    accelerator = {"type": "NVIDIA_TESLA_T4", "count": "1"}
    memory = pytest.approx(16 * 1.024**3)
    assert containers["Trainer"]["resources"] == {"cpuLimit": 4.0, "memoryLimit": memory, "accelerator": accelerator}
    assert "resources" not in containers["Transform"]


def test_what_looks_outside_is_never_cached(tasks) -> None:
    uncached = {name for name, task in tasks.items() if "cachingOptions" not in task}
    assert uncached == ALWAYS_RUN
    without = flights(vertex={**VERTEX, "cache": False})
    spec = compile_job(without, "vertex", {})["pipelineSpec"]
    assert not any("cachingOptions" in task for task in spec["components"]["tfx-dag"]["dag"]["tasks"].values())


def test_the_schema_is_where_the_image_has_it(tasks) -> None:
    constant = tasks["ImportSchemaGen"]["inputs"]["parameters"]["schema_file"]["runtimeValue"]["constant"]
    assert constant == "schema/flights.pbtxt"


def test_accepted_findings_reach_their_gate() -> None:
    spec = compile_job(flights(), "kubeflow", {GateName.DATA: {"key": "why"}})["pipelineSpec"]
    gate = spec["components"]["tfx-dag"]["dag"]["tasks"]["DataGate"]
    assert gate["inputs"]["parameters"]["accepted"]["runtimeValue"]["constant"] == '{"key": "why"}'


def test_beam_components_run_on_dataflow_if_told_so() -> None:
    config = flights(kubeflow={**KUBEFLOW, "beam": "dataflow"}, dataflow=DATAFLOW)
    executors = compile_job(config, "kubeflow", {})["pipelineSpec"]["deploymentSpec"]["executors"]
    args = executors["StatisticsGen_executor"]["container"]["args"]
    assert "--runner=DataflowRunner" in args
    assert "--sdk_container_image=gcr.io/p/headrace:1" in args
    assert not any(each.startswith("--job_name") for each in args), "two runs at once would have one name"
    assert "--runner=DataflowRunner" not in executors["Pusher_executor"]["container"]["args"]


@pytest.mark.parametrize(
    ("config", "platform", "where"),
    [
        (flights({"root": "/disk"}), "vertex", "root"),
        (flights({"root": "s3://b/headrace"}), "kubeflow", "root"),
        (flights({"data": "/disk/*"}), "vertex", "data.source.path"),
        (flights({"push": "/disk"}), "kubeflow", "push.path"),
        (flights({"schema": "/disk/flights.pbtxt"}), "kubeflow", "schema"),
        (flights(kubeflow=KUBEFLOW), "vertex", "targets.vertex"),
        (flights(kubeflow={**KUBEFLOW, "resources": {"Trainr": TRAINER}}), "kubeflow", "resources"),
        (flights().model_copy(update={"name": "My_flights"}), "vertex", "name"),
        (
            flights(vertex={**VERTEX, "beam": "dataflow"}, dataflow={**DATAFLOW, "sdk_container_image": None}),
            "vertex",
            "sdk_container_image",
        ),
    ],
)
def test_what_no_container_could_do_is_refused(config: PipelineConfig, platform: Any, where: str) -> None:
    with pytest.raises(ConfigError) as error:
        compile_job(config, platform, {})
    assert where in str(error.value.where)


def test_a_warm_start_is_refused() -> None:
    config = flights()
    warm = config.model_copy(update={"training": config.training.model_copy(update={"warm_start": True})})
    with pytest.raises(ConfigError, match="warm start"):
        compile_job(warm, "vertex", {})


def test_vertex_is_given_a_pipeline_a_run_and_a_schedule(job) -> None:
    config = flights()
    files = vertex_files(config, config.targets.vertex, job)
    assert set(files) == {"pipeline.json", "run.json", "schedule.json", "README.md"}
    assert json.loads(files["pipeline.json"]) == job
    schedule = json.loads(files["schedule.json"])
    assert schedule["cron"] == "TZ=Europe/Berlin 0 5 * * *"
    assert schedule["createPipelineJobRequest"]["pipelineJob"] == json.loads(files["run.json"])
    assert "runs@p.iam.gserviceaccount.com" in files["README.md"]
    once = flights(vertex={**VERTEX, "schedule": None})
    assert "schedule.json" not in vertex_files(once, once.targets.vertex, job)


def test_kubeflow_takes_the_files(job) -> None:
    config = flights()
    files = kubeflow_files(config, config.targets.kubeflow, job)
    assert set(files) == {"pipeline.yaml", "run.json", "recurring_run.json", "README.md"}
    spec = yaml.safe_load(files["pipeline.yaml"])
    assert spec == job["pipelineSpec"]
    parsed = json_format.ParseDict(spec, pb.PipelineSpec())
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", parsed.pipeline_info.name)
    recurring = json.loads(files["recurring_run.json"])
    assert recurring["pipeline_spec"] == spec
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 5 * * *"
    assert recurring["runtime_config"] == {"pipeline_root": "gs://b/headrace/flights/artifacts"}
    assert "Europe/Berlin" in files["README.md"]


def test_kubeflow_keeps_no_schedule_of_more_than_ten_at_once(job) -> None:
    config = flights(kubeflow={**KUBEFLOW, "schedule": {**SCHEDULE, "most_at_once": 11}})
    with pytest.raises(ConfigError, match="so many at once"):
        kubeflow_files(config, config.targets.kubeflow, job)
