"""Every Beam component of the flights pipeline, translated by the real DataflowRunner into a template: nothing is sent
anywhere, and what would have been sent is looked at.
"""

from __future__ import annotations

import base64
import bz2
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf.message import DecodeError
from projects import REPOSITORY, make_project
from small_artifacts import SmallModel, artifact_at
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import Artifact
from tfx.types.standard_artifacts import Model, Schema

from pipeline.beam import EVAL_NODES, IN_MEMORY_RUNNER, WINDOW_NODES, beam_args
from pipeline.config import PipelineConfig, load_config
from pipeline.dag import build_pipeline
from pipeline.targets import TargetsConfig

NODES = (*WINDOW_NODES, *EVAL_NODES)
RUN = "20261123-101500-000"
IMAGE = "europe-docker.pkg.dev/plant/headrace:1"
PACKAGE = "headrace-0.1.0.tar.gz"
TARGET = {
    "project": "plant",
    "region": "europe-west1",
    "machine_type": "n2-standard-4",
    "max_workers": 20,
    "disk_size_gb": 50,
    "service_account": "workers@plant.iam.gserviceaccount.com",
    "network": "plant",
    "use_public_ips": False,
    "labels": {"team": "delays"},
    "options": ["--experiments=enable_prime"],
}
STEPS = {
    "ExampleGen": ("Blocks", "WriteExamples"),
    "StatisticsGen": ("Statistics", "Save"),
    "DistributionValidator": ("Save",),
    "Transform": ("Analyze", "WriteGraph", "Transform"),
    "ReferenceGen": ("Score", "Gather", "Save"),
    "Evaluator": ("ExtractAndEvaluate", "WriteResults"),
}
MOST_TRANSFORMS = {
    "ExampleGen": 30,
    "StatisticsGen": 200,
    "DistributionValidator": 60,
    "Transform": 500,
    "ReferenceGen": 40,
    "Evaluator": 250,
}
"""Composites and all. What a service has to plan: more is a change that somebody should see."""
ROOMS = ("data", "models", "monitoring", "pipeline", "serving", "storage")


class Translated(Exception):
    """The job is as it would be submitted."""


class EndingPipeline(beam.Pipeline):
    """Ends where an executor would wait for the job."""

    def run(self, *arguments: Any, **options: Any) -> Any:
        super().run(*arguments, **options)
        raise Translated


def unpacked(payload: bytes) -> bytes:
    """What Beam's pickler has compressed into a step."""
    do_fn = beam_runner_api_pb2.ParDoPayload()
    try:
        do_fn.ParseFromString(payload)
        return bz2.decompress(base64.b64decode(do_fn.do_fn.payload))
    except (DecodeError, ValueError, OSError):
        return b""


@dataclass(frozen=True)
class Template:
    """What Dataflow would be given."""

    job: dict[str, Any]
    pipeline: beam_runner_api_pb2.Pipeline
    staged: dict[str, bytes]
    """Files beside the template."""

    @property
    def pool(self) -> dict[str, Any]:
        [pool] = self.job["environment"]["workerPools"]
        return pool

    @property
    def transforms(self) -> list[beam_runner_api_pb2.PTransform]:
        return list(self.pipeline.components.transforms.values())

    @property
    def staged_names(self) -> set[str]:
        """What the pipeline's environments ask for."""
        payload = beam_runner_api_pb2.ArtifactStagingToRolePayload
        environments = self.pipeline.components.environments.values()
        return {
            payload.FromString(each.role_payload).staged_name
            for environment in environments
            for each in environment.dependencies
        }

    @property
    def options(self) -> dict[str, Any]:
        return self.job["environment"]["sdkPipelineOptions"]["options"]


class Translation:
    """Small real inputs for the real nodes, and a folder for each node's template."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / PACKAGE).write_bytes(b"the project")
        project = make_project(folder / "project")
        self.config = load_config(project.config_path)
        self.nodes: dict[str, BaseNode] = {node.id: node for node in build_pipeline(self.config, {}).components}
        self.artifacts = self._inputs()

    def of(self, node: str, target: dict[str, Any]) -> Template:
        """Translates a node."""
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=node))
        config = self._config_with_target(target, folder)
        package = None if "sdk_container_image" in target else self.folder / PACKAGE
        arguments = beam_args(config, "dataflow", node, RUN, package)
        with pytest.raises(Translated):
            self._execute(node, [*arguments, f"--template_location={folder / 'job.json'}"], ending_pipeline)
        staged = {path.name: path.read_bytes() for path in folder.iterdir()}
        del staged["job.json"]
        del staged["pipeline.pb"]
        pipeline = beam_runner_api_pb2.Pipeline.FromString((folder / "pipeline.pb").read_bytes())
        return Template(json.loads((folder / "job.json").read_bytes()), pipeline, staged)

    def _config_with_target(self, target: dict[str, Any], folder: Path) -> PipelineConfig:
        """To a local endpoint Beam lets a folder stand for a bucket."""
        local = {
            "temp_location": str(folder),
            "staging_location": str(folder),
            "endpoint": "http://localhost:1",
            "options": ["--no_auth", *target["options"]],
        }
        targets = TargetsConfig.model_validate({"dataflow": {**target, **local}})
        return self.config.model_copy(update={"targets": targets})

    def _inputs(self) -> dict[str, Artifact]:
        """What the components before would have left: data that is real, a model that only has to be there."""
        schema = artifact_at(Schema, self.folder / "schema")
        (self.folder / "schema" / "schema.pbtxt").write_text(Path(self.config.schema_path).read_text())
        model = artifact_at(Model, self.folder / "model")
        SmallModel().save(self.folder / "model" / "Format-Serving")
        self.artifacts: dict[str, Artifact] = {"schema": schema, "model": model}
        for node in ("ExampleGen", "DistributionValidator"):
            self.artifacts |= self._execute(node, [IN_MEMORY_RUNNER], BaseBeamExecutor._make_beam_pipeline)
        return self.artifacts

    def _execute(
        self, name: str, arguments: list[str], make: Callable[[BaseBeamExecutor], beam.Pipeline]
    ) -> dict[str, Artifact]:
        node = self.nodes[name]
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        outputs = {key: artifact_at(channel.type, folder / key) for key, channel in node.outputs.items()}
        inputs = {key: self.artifacts[key] for key in node.inputs if key in self.artifacts}
        context = BaseBeamExecutor.Context(
            beam_pipeline_args=arguments, tmp_dir=str(folder / "temporary"), unique_id="1"
        )
        executor = node.executor_spec.executor_class(context)
        with mock.patch.object(BaseBeamExecutor, "_make_beam_pipeline", make):
            sides = ({key: [each] for key, each in side.items()} for side in (inputs, outputs))
            executor.Do(*sides, dict(node.exec_properties))
        return outputs


def ending_pipeline(executor: BaseBeamExecutor) -> beam.Pipeline:
    """Of an executor's own options."""
    return EndingPipeline(argv=executor._beam_pipeline_args)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_GCE_CHECK", "true")
        yield tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="module")
def translation(folder: Path) -> Translation:
    return Translation(folder)


@pytest.fixture(scope="module", params=NODES)
def translated(translation: Translation, request: pytest.FixtureRequest) -> tuple[str, Template]:
    """Each component in turn, with the project as a package; and its template."""
    return request.param, translation.of(request.param, TARGET)


def test_the_job_says_whose_it_is_and_where_it_runs(translated: tuple[str, Template]) -> None:
    node, template = translated
    job = template.job
    assert job["name"] == f"headrace-flights-{node.lower()}-{RUN}"
    assert job["type"] == "JOB_TYPE_BATCH"
    ours = {"headrace-pipeline": "flights", "headrace-node": node.lower(), "team": "delays"}
    assert ours.items() <= job["labels"].items()
    assert job["labels"]["tfx_executor"]
    assert job["environment"]["serviceAccountEmail"] == TARGET["service_account"]
    options = template.options
    assert (options["project"], options["region"]) == ("plant", "europe-west1")
    assert options["runner"] == "DataflowRunner"
    assert options["pipelineUrl"].endswith("/pipeline.pb")


def test_the_workers_are_those_of_the_target(translated: tuple[str, Template]) -> None:
    _, template = translated
    pool = template.pool
    assert pool["machineType"] == "n2-standard-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 20
    assert pool["diskSizeGb"] == 50
    assert pool["network"] == "plant"
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert "enable_prime" in template.job["environment"]["experiments"]
    lane = f"beam_python{sys.version_info.major}.{sys.version_info.minor}_sdk:{beam.__version__}"
    assert {image["containerImage"].rpartition("/")[2] for image in pool["sdkHarnessContainerImages"]} == {lane}


def test_the_workers_install_the_package_and_nothing_else(translated: tuple[str, Template]) -> None:
    """No module file, no main session: what a step runs it imports."""
    _, template = translated
    assert {package["name"] for package in template.pool["packages"]} == {PACKAGE, "extra_packages.txt"}
    assert template.staged == {PACKAGE: b"the project", "extra_packages.txt": f"{PACKAGE}\n".encode()}
    assert template.staged_names == {PACKAGE, "extra_packages.txt"}
    assert not template.options["save_main_session"]


def test_the_steps_are_those_of_the_component(translated: tuple[str, Template]) -> None:
    node, template = translated
    names = {transform.unique_name for transform in template.transforms}
    for step in STEPS[node]:
        assert any(step in name for name in names), (step, sorted(names))
    assert len(template.transforms) <= MOST_TRANSFORMS[node]


def test_no_step_holds_a_path_of_this_checkout(translated: tuple[str, Template]) -> None:
    """What is pickled by value brings the file it was written in; it would be a global that no package has."""
    _, template = translated
    payloads = [transform.spec.payload for transform in template.transforms]
    ours = [f"{REPOSITORY}/{room}/".encode() for room in ROOMS]
    assert not [path for path in ours for payload in payloads if path in payload or path in unpacked(payload)]


def test_an_image_stands_for_the_package(translation: Translation) -> None:
    template = translation.of("DistributionValidator", {**TARGET, "sdk_container_image": IMAGE})
    assert {image["containerImage"] for image in template.pool["sdkHarnessContainerImages"]} == {IMAGE}
    assert template.pool["workerHarnessContainerImage"] == IMAGE
    assert "packages" not in template.pool
    assert template.staged == {}
