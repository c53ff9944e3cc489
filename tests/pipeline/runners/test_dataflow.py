"""What a person is told of a job that did not end well, and what becomes of a job that nobody waits for any more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.beam import beam_args
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.runners.dataflow import Job, explain, find_job
from pipeline.runners.placement import end_job, end_jobs_of_killed
from pipeline.runners.report import NodeReport, RunReport, State
from pipeline.targets import TargetsConfig
from schema.errors import ExitCode, HeadraceError

ARGS = ("--runner=DataflowRunner", "--project=plant", "--region=europe-west1")
LOG = """\
I1123 10:15:00 apiclient.py:895] Created job with id: [2026-11-23_02_15_00-1]
I1123 10:20:00 apiclient.py:895] Created job with id: [2026-11-23_02_20_00-2]
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "StatisticsGen.log"
    path.write_text(LOG)
    return path


def test_the_last_job_of_a_log(log: Path, tmp_path: Path) -> None:
    assert find_job(log, "plant", "europe-west1") == Job("2026-11-23_02_20_00-2", "plant", "europe-west1")
    assert find_job(tmp_path / "none.log", "plant", "europe-west1") is None
    log.write_text("nothing was submitted")
    assert find_job(log, "plant", "europe-west1") is None


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "DRAINED"])
def test_an_ended_job_is_told_with_node_job_log_and_message(log: Path, state: str) -> None:
    error = RuntimeError(f"Dataflow pipeline failed. State: {state}, Error:\nTraceback: no module named 'headrace'")
    told = explain(error, "StatisticsGen", log, ARGS)
    assert told is not None
    assert told.exit_code is ExitCode.NODE
    assert told.what == f"StatisticsGen failed: its Dataflow job 2026-11-23_02_20_00-2 is {state}"
    assert "jobs/europe-west1/2026-11-23_02_20_00-2?project=plant" in str(told.where)
    assert str(log) in str(told.where)
    assert "no module named 'headrace'" in str(told.received)
    assert "Run the same command again" in str(told) or "run the same command again" in str(told)


def test_refused_credentials_are_told_with_the_roles(log: Path) -> None:
    error = RuntimeError("HttpForbiddenError accessing …")
    error.status_code = 403  # type: ignore[attr-defined]  # as apitools' errors have it
    told = explain(error, "Transform", log, ARGS)
    assert told is not None
    assert "Dataflow refuses these credentials" in told.what
    assert "roles/dataflow.developer" in str(told.expected)


def test_a_fault_before_the_submission_is_not_dataflows(tmp_path: Path) -> None:
    assert explain(ValueError("a bug"), "Transform", tmp_path / "none.log", ARGS) is None


class _Jobs(BaseHTTPRequestHandler):
    """Enough of projects.locations.jobs to ask for a job's state and to have it cancelled."""

    states: dict[str, str]
    asked: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._answer({"id": self._job, "currentState": self.states[self._job]})

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"job": self._job, **body})
        self._answer({"id": self._job})

    @property
    def _job(self) -> str:
        return self.path.split("?")[0].rsplit("/", 1)[-1]

    def _answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PipelineConfig, type[_Jobs]]]:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    handler = type("Jobs", (_Jobs,), {"states": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    target = {
        "project": "plant",
        "region": "europe-west1",
        "temp_location": "gs://plant/tmp",
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "options": ["--no_auth"],
    }
    config = load_config(find_config("flights"))
    yield config.model_copy(update={"targets": TargetsConfig.model_validate({"dataflow": target})}), handler
    server.shutdown()
    server.server_close()


def test_a_job_that_nobody_waits_for_is_cancelled(service: tuple[PipelineConfig, type[_Jobs]], log: Path) -> None:
    config, jobs = service
    jobs.states["2026-11-23_02_20_00-2"] = "JOB_STATE_RUNNING"
    told: list[HeadraceError | Job] = []
    node = NodeReport("StatisticsGen", State.CANCELLED, log=str(log))
    nodes = {"StatisticsGen": node, "Trainer": NodeReport("Trainer")}
    report = RunReport("run", "flights", nodes, 0.0, on="dataflow", outcome="killed")
    end_jobs_of_killed(config, [report], lambda outcome, node: told.append(outcome))
    assert jobs.asked == [{"job": "2026-11-23_02_20_00-2", "requestedState": "JOB_STATE_CANCELLED"}]
    assert told == [Job("2026-11-23_02_20_00-2", "plant", "europe-west1")]


def test_a_job_that_has_ended_is_left_alone(service: tuple[PipelineConfig, type[_Jobs]], log: Path) -> None:
    config, jobs = service
    jobs.states["2026-11-23_02_20_00-2"] = "JOB_STATE_FAILED"
    told: list[HeadraceError | Job] = []
    report = RunReport("run", "flights", {}, 0.0, on="dataflow")
    end_job(config, report, NodeReport("StatisticsGen", log=str(log)), lambda outcome, node: told.append(outcome))
    assert (jobs.asked, told) == ([], [])


def test_a_job_that_cannot_be_cancelled_is_told_with_the_command(
    service: tuple[PipelineConfig, type[_Jobs]], log: Path
) -> None:
    config, _ = service  # the service knows no such job, and breaks
    told: list[HeadraceError | Job] = []
    report = RunReport("run", "flights", {}, 0.0, on="dataflow")
    dataflow = config.targets.dataflow
    assert dataflow is not None
    away = dataflow.model_copy(update={"endpoint": "http://127.0.0.1:9"})
    gone = config.model_copy(update={"targets": config.targets.model_copy(update={"dataflow": away})})
    assert "--no_auth" in beam_args(gone, "dataflow", "StatisticsGen", "run", None)
    end_job(gone, report, NodeReport("StatisticsGen", log=str(log)), lambda outcome, node: told.append(outcome))
    [error] = told
    assert isinstance(error, HeadraceError)
    assert "gcloud dataflow jobs cancel 2026-11-23_02_20_00-2 --project=plant --region=europe-west1" in str(error)
