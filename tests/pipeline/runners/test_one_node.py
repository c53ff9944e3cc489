"""One node of a run that another orchestrator keeps: its log, its place, its part of the run's report."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from projects import Project, make_project

from pipeline.beam import IN_MEMORY
from pipeline.config import PipelineConfig, load_config
from pipeline.metadata import History, open_store
from pipeline.runners.one_node import main, run_node
from pipeline.runners.report import NodeReport, RunReport, State, load_reports
from schema.errors import ExitCode, MetadataError, UsageError
from storage.places import at

ROOT = Path(__file__).parents[3]
DRIVER = """
import sys
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from toy_components import Break, Source
from pipeline.metadata import METADATA_FILE
from pipeline.runners import one_node

def toys(config, accepted):
    source = Source(text="a").with_id("ExampleGen")
    broken = Break(upstream=source.outputs["model"], how=sys.argv[1]).with_id("Transform")
    connection = metadata.sqlite_metadata_connection_config(str(config.home / METADATA_FILE))
    return Pipeline("flights", config.artifacts, components=[source, broken], metadata_connection_config=connection)

one_node.build_pipeline = toys
sys.exit(int(one_node.main(sys.argv[2:])))
"""
JOB = "2026-11-23_02_15_00-1"
"""Of a node whose log says that it started one."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project", rows=10)
    dataflow = {
        "project": "plant",
        "region": "europe-west1",
        "temp_location": "gs://plant/tmp",
        "endpoint": "http://127.0.0.1:9",  # nobody is there
        "options": ["--no_auth"],
        "local_below_mib": 0,
    }
    project.change_config(lambda raw: raw.update(targets={"dataflow": dataflow}))
    return project


def run_toy(project: Project, node: str, *given: str, how: str = "not") -> tuple[int, str]:
    """Runs a node of a toy pipeline as Airflow does: with a pipe for its output."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER, how, str(project.config_path), "--node", node, *given],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'tools'}", "PATH": "/usr/bin:/bin", "NO_GCE_CHECK": "true"},
        timeout=120,
    )
    return result.returncode, result.stdout


def test_run_is_told_as_it_goes_and_its_nodes_may_be_tried_again(project: Project) -> None:
    def image(raw: dict) -> None:
        raw["targets"]["dataflow"]["sdk_container_image"] = "headrace:1"

    project.change_config(image)
    run = ("--run", "manual__2026-01-01T00:00:00+00:00")
    folder = project.home / "logs" / "other-manual__2026-01-01T00-00-00-00-00"
    code, told = run_toy(project, "ExampleGen", *run)
    assert code == ExitCode.OK
    assert "ExampleGen done: " in told
    [report] = load_reports(project.home)
    assert (report.outcome, report.nodes["ExampleGen"].state) == ("running", State.DONE)

    log = folder / "Transform.log"
    log.write_text(f"Created job with id: [{JOB}]\n")
    code, told = run_toy(project, "Transform", *run, "--on", "dataflow", how="bug")
    assert code == ExitCode.NODE
    assert f"Error: Transform failed while its Dataflow job {JOB} was under way" in told
    assert f"gcloud dataflow jobs cancel {JOB}" in told  # it was asked to end, and nobody answered
    assert "ValueError: some internal detail" in log.read_text()
    assert log.read_text().partition("\n")[2] in told
    assert "Created job" not in told
    [report] = load_reports(project.home)
    assert (report.outcome, report.nodes["Transform"].state) == ("failed", State.FAILED)
    assert f"job {JOB}" in report.error

    code, told = run_toy(project, "Transform", *run)
    assert code == ExitCode.OK
    assert "some internal detail" not in told
    [report] = load_reports(project.home)
    assert (report.outcome, report.error) == ("succeeded", "")
    executions = History(open_store(project.home), "flights").executions_of_run(report.run_id)
    assert executions["Transform"].id == report.nodes["Transform"].execution_id
    assert executions["Transform"].last_known_state == pb.Execution.COMPLETE


class Runner:
    """In place of the local runner: keeps what it was given."""

    placed: Mapping[str, Sequence[str]]
    running: Callable[[], None]

    def __init__(
        self,
        pipeline: object,
        report: RunReport,
        home: Path,
        beam_args: Mapping[str, Sequence[str]],
        forced: Mapping[str, str],
        jobs: int,
        watch: Callable[[RunReport], None],
        abandon: Callable[[NodeReport], None],
    ) -> None:
        Runner.placed = dict(beam_args)
        self.errors: dict[str, Exception] = {}

    def run(self) -> None:
        Runner.running()


@pytest.fixture
def config(project: Project, monkeypatch: pytest.MonkeyPatch) -> PipelineConfig:
    monkeypatch.setattr("pipeline.runners.one_node.LocalRunner", Runner)
    monkeypatch.setattr(Runner, "running", staticmethod(lambda: None), raising=False)
    return load_config(project.config_path)


@pytest.fixture
def built(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that the workers' package is built into."""
    folders = []

    def build(folder: Path) -> Path:
        assert list(folder.iterdir()) == []
        with (config.home / "package.lock").open() as lock, pytest.raises(BlockingIOError):  # other processes wait
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folders.append(folder)
        return folder / "headrace.tar.gz"

    monkeypatch.setattr("pipeline.runners.one_node.build_package", build)
    return folders


@pytest.mark.parametrize("node", ["DataGate", "Trainer", "Pusher"])
def test_what_is_no_beam_component_is_placed_nowhere(config: PipelineConfig, built: list[Path], node: str) -> None:
    run_node(config, node, "1", "dataflow")
    assert (Runner.placed, built) == ({node: ()}, [])


def test_each_beam_component_has_a_package_of_its_own(config: PipelineConfig, built: list[Path]) -> None:
    for node in ("StatisticsGen", "Evaluator"):
        run_node(config, node, "1", "dataflow")
        assert f"--extra_package={built[-1]}/headrace.tar.gz" in Runner.placed[node]
    assert len(set(built)) == 2
    assert not any(folder.exists() for folder in built)


def test_beam_component_runs_here_unless_told_otherwise(
    project: Project, config: PipelineConfig, built: list[Path]
) -> None:
    run_node(config, "StatisticsGen", "1")
    assert Runner.placed == {"StatisticsGen": IN_MEMORY}
    project.change_config(lambda raw: raw["targets"]["dataflow"].update(local_below_mib=1))
    run_node(load_config(project.config_path), "StatisticsGen", "1", "dataflow")
    assert (Runner.placed, built) == ({"StatisticsGen": IN_MEMORY}, [])


def test_orchestrator_may_end_it(config: PipelineConfig, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "running", staticmethod(lambda: signal.raise_signal(signal.SIGTERM)))
    assert main([str(project.config_path), "--node", "Pusher", "--run", "1"]) is ExitCode.INTERRUPTED


def test_root_of_another_store_is_refused(config: PipelineConfig, tmp_path: Path) -> None:
    away = config.model_copy(update={"root": f"memory://{tmp_path.name}/headrace"})
    owner = at(away.shared) / "owner.json"
    owner.parent.mkdir(parents=True)
    owner.write_text(json.dumps({"store": "another", "machine": "one"}))
    with pytest.raises(MetadataError, match="belongs to another metadata store"):
        run_node(away, "Pusher", "1")
    assert load_reports(away.home) == []


def test_node_that_is_not_there_is_told(
    config: PipelineConfig, project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"no node 'Trainr'.*Trainer"):
        run_node(config, "Trainr", "manual__2026-01-01T00:00:00+00:00")
    assert main([str(project.config_path), "--node", "Trainr", "--run", "1"]) is ExitCode.USAGE
    assert "There is no node 'Trainr'" in capfd.readouterr().out
