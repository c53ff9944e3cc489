"""The whole pipeline on the stock DataflowRunner: a stand-in of the service, a real object store, workers that know of
the project only what was staged.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from dataflow_service import DataflowService, Faults, Job, Refused, dataflow_service
from e2e_tools import COMMAND, ENVIRONMENT, headrace, states
from fake_gcs import object_store
from projects import Project, make_project

from pipeline.beam import EVAL_NODES, WINDOW_NODES
from pipeline.runners.report import load_reports
from schema.errors import ExitCode
from serving.versions import versions

BUCKET = "plant"
WEIGHTS = "variables/variables.data-00000-of-00001"
ROOMS = ("data", "models", "monitoring", "pipeline", "schema", "serving", "storage")


@dataclass(frozen=True)
class Cloud:
    """The service with its bucket, and a key that it knows."""

    service: DataflowService
    key: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, **self.service.environment(self.key)}

    def target(self, **changes: Any) -> dict[str, Any]:
        described = {
            "project": "plant",
            "region": "europe-west1",
            "temp_location": f"gs://{BUCKET}/tmp",
            "endpoint": self.service.url,
            "workers_share_disk": True,
            "local_below_mib": 0,
        }
        return {"dataflow": {**described, **changes}}

    def project(self, folder: Path, **changes: Any) -> Project:
        """Three small months of flights."""
        project = make_project(folder)
        project.change_config(lambda raw: raw.update(targets=self.target(**changes)))
        return project

    def run(self, project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "run", str(project.config_path), "--on", "dataflow", *arguments]
        return subprocess.run(
            command,
            env=self.environment,
            cwd=project.folder,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    def new_jobs(self) -> Callable[[], list[Job]]:
        """What is submitted from now on."""
        before = len(self.service.jobs)
        return lambda: self.service.jobs[before:]


@pytest.fixture(scope="module")
def whole_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with object_store(BUCKET) as store, dataflow_service(store, folder / "service") as service:
        yield Cloud(service, service.write_key(folder / "key.json"))


@pytest.fixture
def cloud(whole_cloud: Cloud) -> Iterator[Cloud]:
    """The same, and nothing goes wrong any more afterwards."""
    yield whole_cloud
    whole_cloud.service.faults = Faults()


@dataclass(frozen=True)
class Done:
    """A run of the whole pipeline."""

    project: Project
    output: str
    jobs: list[Job]


@pytest.fixture(scope="module")
def done(whole_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Done:
    project = whole_cloud.project(tmp_path_factory.mktemp("elsewhere") / "project")
    jobs = whole_cloud.new_jobs()
    result = whole_cloud.run(project)
    assert result.returncode == ExitCode.OK, result.stdout + result.stderr
    return Done(project, result.stdout, jobs())


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same data on this machine."""
    project = make_project(tmp_path_factory.mktemp("here") / "project")
    result = headrace("run", str(project.config_path))
    assert result.returncode == ExitCode.OK, result.stdout
    return project


def test_every_node_ran_and_a_model_was_pushed(done: Done) -> None:
    assert set(states(done.project).values()) == {"done"}
    assert "Pushed version" in done.output
    assert len(versions(done.project.push_path)) == 1


def test_every_beam_component_was_a_job_of_its_own(done: Done) -> None:
    run_id = load_reports(done.project.home)[-1].run_id
    expected = {f"headrace-flights-{node.lower()}-{run_id}" for node in (*WINDOW_NODES, *EVAL_NODES)}
    assert Counter(job.name for job in done.jobs) == Counter(expected)
    assert {job.state for job in done.jobs} == {"JOB_STATE_DONE"}
    assert all(job.attempts == 1 for job in done.jobs)


def test_workers_knew_of_the_project_what_was_staged(done: Done) -> None:
    """Each imported what its component is made of, from the package; TFX's own components need none of ours."""
    imported: dict[str, set[str]] = {}
    for job in done.jobs:
        rooms = imported.setdefault(job.labels["headrace-node"], set())
        for modules in job.modules_of_workers():
            ours = {name: file for name, file in modules.items() if name.split(".")[0] in ROOMS}
            assert [file for file in ours.values() if "/environments/" not in file] == []
            rooms.update(name.split(".")[0] for name in ours)
    assert imported.keys() == {node.lower() for node in (*WINDOW_NODES, *EVAL_NODES)}
    assert "data" in imported["examplegen"]
    assert "models" in imported["transform"]
    assert "monitoring" in imported["distributionvalidator"] & imported["referencegen"]


def test_examples_are_those_of_a_local_run(done: Done, local: Project) -> None:
    assert examples(done.project) == examples(local)


def test_the_transform_graph_is_that_of_a_local_run(done: Done, local: Project) -> None:
    """Vocabularies to the byte, and every row as it is fed to the model."""
    for kind in ("transform_fn/assets/*", "transformed_metadata/*"):
        assert contents(done.project, f"Transform/transform_graph/*/{kind}") == contents(
            local, f"Transform/transform_graph/*/{kind}"
        )


def test_the_model_is_that_of_a_local_run(done: Done, local: Project) -> None:
    """To the bit: the rows that train are the same, in the same order, since a shard's name follows from its block."""
    there, here = (pushed(project) for project in (done.project, local))
    for name in (WEIGHTS, "assets/tailnum"):
        assert (there / name).read_bytes() == (here / name).read_bytes()


def test_what_it_is_monitored_against_is_that_of_a_local_run(done: Done, local: Project) -> None:
    there, here = (pushed(project) / "assets.extra" / "headrace" / "reference" for project in (done.project, local))
    for name in ("counts.npz", "profile.json", "quality.json"):
        assert (there / name).read_bytes() == (here / name).read_bytes()


def test_a_worker_that_dies_is_replaced_and_leaves_nothing_double(cloud: Cloud, tmp_path: Path) -> None:
    """Killed while it writes: what it wrote is there when another one begins again."""
    project = cloud.project(tmp_path / "project")
    for span in (1, 2, 3):
        path = project.span_path(span)
        pq.write_table(pq.read_table(path), path, row_group_size=20)
    shards = project.home / "artifacts" / "ExampleGen" / "examples"
    enough = {"statisticsgen": "Enough.", "distributionvalidator": "Enough."}
    cloud.service.faults = Faults(failed=enough, killed={"examplegen": lambda: any(shards.glob("*/Split-train/*"))})
    jobs = cloud.new_jobs()
    result = cloud.run(project)
    assert result.returncode == ExitCode.NODE, result.stdout + result.stderr
    assert states(project)["ExampleGen"] == "done"
    job = jobs()[0]
    assert (job.state, job.attempts) == ("JOB_STATE_DONE", 2)
    assert not list(shards.glob("*/unfinished"))
    undisturbed = make_project(tmp_path / "undisturbed")
    assert headrace("run", str(undisturbed.config_path), "--until", "ExampleValidator").returncode == ExitCode.OK
    assert examples(project) == examples(undisturbed)


def test_a_run_that_failed_and_was_cancelled_goes_on_where_it_was(cloud: Cloud, tmp_path: Path) -> None:
    project = cloud.project(tmp_path / "project")
    jobs = cloud.new_jobs()
    cloud.service.faults = Faults(failed={"examplegen": "Startup of the worker pool failed: quota CPUS exceeded."})
    result = cloud.run(project)
    assert result.returncode == ExitCode.NODE
    told = " ".join(result.stdout.split())
    [job] = jobs()
    assert f"ExampleGen failed: its Dataflow job {job.id} is FAILED" in told
    assert "quota CPUS exceeded" in told
    assert "ExampleGen.log" in told.replace(" ", "")
    assert states(project)["StatisticsGen"] == "blocked"
    assert not list((project.home / "artifacts" / "ExampleGen").glob("examples/*"))

    cloud.service.faults = Faults(cancelled={"statisticsgen"}, failed={"distributionvalidator": "No quota."})
    result = cloud.run(project)
    assert result.returncode == ExitCode.NODE
    [cancelled] = [each for each in jobs() if "statisticsgen" in each.name]
    assert f"StatisticsGen failed: its Dataflow job {cancelled.id} is CANCELLED" in " ".join(result.stdout.split())
    assert states(project)["ExampleGen"] == "done"

    cloud.service.faults = Faults(failed={"distributionvalidator": "No quota."})
    result = cloud.run(project)
    assert result.returncode == ExitCode.NODE, result.stdout
    assert (states(project)["ExampleGen"], states(project)["StatisticsGen"]) == ("cached", "done")


def test_an_interrupted_run_leaves_no_job(cloud: Cloud, tmp_path: Path) -> None:
    project = cloud.project(tmp_path / "project")
    cloud.service.faults.held.add("examplegen")
    jobs = cloud.new_jobs()
    process = subprocess.Popen(
        [*COMMAND, "run", str(project.config_path), "--on", "dataflow"],
        env=cloud.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell that starts the tests in the background has SIGINT ignored, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = "*/ExampleGen.log"
    while not any("Created job" in path.read_text() for path in (project.home / "logs").glob(log)):
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    [job] = jobs()
    assert job.state == "JOB_STATE_CANCELLED"
    assert process.returncode == ExitCode.INTERRUPTED, output.decode()
    assert job.id in output.decode()
    assert "Finished nodes are kept" in output.decode()


def test_an_image_without_the_project_is_told_with_what_the_worker_said(cloud: Cloud, tmp_path: Path) -> None:
    """With an image there is no package: what the workers miss is the error."""
    project = cloud.project(tmp_path / "project", sdk_container_image="europe-docker.pkg.dev/plant/empty:1")
    jobs = cloud.new_jobs()
    result = cloud.run(project)
    assert result.returncode == ExitCode.NODE
    [job] = jobs()
    assert job.state == "JOB_STATE_FAILED"
    told = " ".join(result.stdout.split())
    assert "ModuleNotFoundError: No module named 'pipeline'" in told
    assert job.id in told


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_told(cloud: Cloud, tmp_path: Path, status: int) -> None:
    project = cloud.project(tmp_path / "project")
    cloud.service.faults.refused = Refused(status, "The caller does not have permission dataflow.jobs.create.")
    jobs = cloud.new_jobs()
    result = cloud.run(project)
    assert result.returncode == ExitCode.NODE
    assert jobs() == []
    told = " ".join(result.stdout.split())
    assert "ExampleGen failed: Dataflow refuses these credentials" in told
    assert "roles/dataflow.developer" in told


def test_a_missing_bucket_is_told_before_anything_runs(cloud: Cloud, tmp_path: Path) -> None:
    project = cloud.project(tmp_path / "project", staging_location="gs://nowhere/staging")
    result = cloud.run(project)
    assert result.returncode == ExitCode.STORAGE, result.stdout
    assert "nowhere" in result.stdout
    assert "targets.dataflow.staging_location" in " ".join(result.stdout.split())
    assert load_reports(project.home) == []


def examples(project: Project) -> Counter[tuple[str, bytes]]:
    """Each with its split; tfx_bsl writes an example's features in no fixed order."""
    found: Counter[tuple[str, bytes]] = Counter()
    for path in (project.home / "artifacts" / "ExampleGen").rglob("*.gz"):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            found[path.parent.name, example.SerializeToString(deterministic=True)] += 1
    assert found
    return found


def contents(project: Project, pattern: str) -> dict[str, bytes]:
    """Files by name."""
    found = {path.name: path.read_bytes() for path in (project.home / "artifacts").glob(pattern)}
    assert found
    return found


def pushed(project: Project) -> Path:
    """The version."""
    [version] = versions(project.push_path)
    return project.push_path / str(version)
