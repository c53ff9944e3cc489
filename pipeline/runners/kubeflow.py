"""The same pipeline for Vertex AI Pipelines and Kubeflow Pipelines v2: a job of containers, by TFX's own compiler.

What these platforms do otherwise than this machine is settled here: the history is what was pushed, each container has
an image, resources and a cache policy, and an exit step reports the gates.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kfp.pipeline_spec import pipeline_spec_pb2 as pb
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.kubeflow.decorators import FinalStatusStr
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

import schema
from pipeline.beam import DATAFLOW, IN_MEMORY, beam_args
from pipeline.components.gate_report import GateReport
from pipeline.components.history import History
from pipeline.config import PipelineConfig
from pipeline.dag import Accepted, build_pipeline
from pipeline.runners.container import COMMAND, PROJECT
from pipeline.runners.submission import Platform
from pipeline.targets import ContainersTarget, Resources
from schema.errors import ConfigError
from storage.places import is_remote

ALWAYS_RUN = frozenset(
    {"ExampleGen", "LastGoodExamples", "LatestBlessedModel", "DataGate", "InfraGate", "QualityGate", "Pusher"}
)
"""Never answered from the platform's cache: what looks at spans or at pushed versions, which change from outside, and
the gates, whose verdicts the exit step looks for in the run's own folder."""

_SCHEMAS = Path(schema.__file__).parent
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,126}[a-z0-9])?")
_BYTES = {"M": 1e6, "G": 1e9, "Mi": 2.0**20, "Gi": 2.0**30}


def find_target(config: PipelineConfig, platform: Platform) -> ContainersTarget:
    """What the configuration says of a platform.

    Raises:
        ConfigError: Nothing.
    """
    target: ContainersTarget | None = getattr(config.targets, platform)
    if target is None:
        raise ConfigError(
            f"The pipeline does not say how it runs on {platform}",
            where=f"targets.{platform}",
            expected="{image: …, project: …, region: …}" if platform == "vertex" else "{image: …}",
            received="nothing",
        )
    return target


def compile_job(
    config: PipelineConfig, platform: Platform, accepted: Accepted, *, on_this_disk: bool = False
) -> dict[str, Any]:
    """The pipeline as a `PipelineJob`, schema 2.1.0, in JSON's types. The same configuration gives the same job.

    Source: https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto

    Args:
        config: What to compile.
        platform: Where it will run.
        accepted: Findings of the gates that a person accepted.
        on_this_disk: The containers see this machine's files under the same paths.

    Raises:
        ConfigError: Something that every container needs is only on this machine, or the platform cannot do it.
    """
    target = find_target(config, platform)
    _check_name(config.name)
    if not on_this_disk:
        check_places(config)
    pipeline = build_pipeline(config, accepted, History.PUSHED)
    _check_nodes(target, [node.id for node in pipeline.components])
    for node in pipeline.components:
        _place(node, config, target)
    exit_step = GateReport(
        root=config.artifacts, pipeline=config.name, platform=platform, final_status=FinalStatusStr()
    )
    job = _compile(pipeline, target, exit_step)
    spec = job["pipelineSpec"]
    spec["defaultPipelineRoot"] = config.artifacts
    tasks = spec["components"]["tfx-dag"]["dag"]["tasks"]
    for name, task in tasks.items():
        _name_inputs(task)
        if name in ALWAYS_RUN:
            task.pop("cachingOptions", None)
    if not on_this_disk and not is_remote(config.schema_path):
        parameters = tasks["ImportSchemaGen"]["inputs"]["parameters"]
        parameters["schema_file"]["runtimeValue"]["constant"] = _in_the_image(config.schema_path)
    return job


def check_places(config: PipelineConfig) -> None:
    """Checks that every container can reach what it reads and writes.

    Raises:
        ConfigError: A place is only on this machine.
    """
    for key, place in (("root", config.root), ("data.source.path", config.data.source.path)):
        if not place.startswith("gs://"):
            raise _only_here(key, place, "a gs:// URL: TensorFlow, which reads and writes there, knows no other")
    if not is_remote(config.push.path):
        raise _only_here("push.path", config.push.path, "a URL, such as gs://BUCKET/models")
    if not is_remote(config.schema_path) and Path(config.schema_path).parent != _SCHEMAS:
        raise _only_here("schema", config.schema_path, f"a gs:// URL, or a file in {_SCHEMAS}, which the image has")


def _compile(pipeline: Pipeline, target: ContainersTarget, exit_step: BaseComponent) -> dict[str, Any]:
    pipeline.enable_cache = target.cache
    config = KubeflowV2DagRunnerConfig(
        default_image=target.image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
    )
    runner = KubeflowV2DagRunner(config)
    runner.set_exit_handler(exit_step)
    job: dict[str, Any] = runner.run(pipeline, write_out=False)
    return job


def _name_inputs(task: dict[str, Any]) -> None:
    """Makes a task's condition name its inputs as the task does.

    TFX calls the verdict of the last gate `_QualityGate.verdict` there, though Pusher reads it as `quality_verdict`: in
    `encode_placeholder_with_channels` a predicate's first encoding keeps a key that it was given before.
    """
    policy = task.get("triggerPolicy")
    if policy is None:
        return
    for name, artifact in task["inputs"]["artifacts"].items():
        output = artifact["taskOutputArtifact"]
        implicit = f"_{output['producerTask']}.{output['outputArtifactKey']}"
        policy["condition"] = policy["condition"].replace(f"artifacts['{implicit}']", f"artifacts['{name}']")


def _place(node: BaseComponent, config: PipelineConfig, target: ContainersTarget) -> None:
    """Gives a node's container its resources, and its Beam job a runner."""
    resources = target.resources.get(node.id)
    if resources is not None:
        node.with_platform_config(_resource_spec(resources))
    if isinstance(node, BaseBeamComponent):
        node.with_beam_pipeline_args(_beam_args(config, target, node.id))


def _beam_args(config: PipelineConfig, target: ContainersTarget, node: str) -> list[str]:
    if target.beam == "in_memory":
        return list(IN_MEMORY)
    dataflow = config.targets.dataflow
    if dataflow is None or dataflow.sdk_container_image is None:
        raise ConfigError(
            "A container cannot build the package that Dataflow's workers would install",
            where="targets.dataflow.sdk_container_image",
            expected="an image with Headrace in it, see docker/Dockerfile",
            received="nothing",
        )
    # without a name: every run of a compiled pipeline would have the same, and Dataflow refuses a second one
    args = beam_args(config, DATAFLOW, node, run_id="", package=None)
    return [each for each in args if not each.startswith("--job_name=")]


def _resource_spec(resources: Resources) -> pb.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec:
    """Memory in GB of 10⁹ bytes, as the schema has it."""
    spec = pb.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec()
    if resources.cpus is not None:
        spec.cpu_limit = resources.cpus
    if resources.memory is not None:
        unit = resources.memory.lstrip("0123456789.")
        spec.memory_limit = float(resources.memory.removesuffix(unit)) * _BYTES[unit] / 1e9
    if resources.accelerator is not None:
        spec.accelerator.type = resources.accelerator.type
        spec.accelerator.count = resources.accelerator.count
    return spec


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "The platform does not take the pipeline's name",
            where="name",
            expected="lower-case letters, digits and hyphens",
            received=name,
        )


def _check_nodes(target: ContainersTarget, nodes: list[str]) -> None:
    unknown = sorted(set(target.resources) - set(nodes))
    if unknown:
        raise ConfigError(
            f"There is no node {unknown[0]!r} to give resources to",
            where="targets: resources",
            expected=f"one of {', '.join(nodes)}",
        )


def _in_the_image(path: str) -> str:
    """The path from where the project is installed, wherever that is in the image."""
    return Path(path).relative_to(PROJECT).as_posix()


def _only_here(key: str, place: str, expected: str) -> ConfigError:
    return ConfigError("A container does not have this machine's disk", where=key, expected=expected, received=place)
