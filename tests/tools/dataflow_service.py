"""A stand-in for the Dataflow service: the part of its REST interface that Beam's client asks, jobs that really run.

A job's pipeline is read from where the client staged it, in an object store, and executed by `beam_job`: Beam's
portable job service with workers in processes of their own, which know of the project what the job staged.

What it has of the service: credentials are asked for, a name belongs to one active job, names and labels have their
patterns, bundles of a lost worker are tried four times (here: the whole job), errors are messages of the job, counters
are metrics, a job can be cancelled.

Source: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.jobs
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import site
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import beam_job
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from fake_gcs import ObjectStore

TOKEN = "token-of-the-stand-in"
ATTEMPTS = 4
_JOB = re.compile(
    r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs(?:/(?P<id>[^/]+))?(?P<rest>/.*)?"
)
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")
_LABEL = re.compile(r"[a-z][-_a-z0-9]{0,62}")
_LABEL_VALUE = re.compile(r"[-_a-z0-9]{0,63}")
_ENDED = ("JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


@dataclass(frozen=True)
class Refused(Exception):
    """An answer that is an error."""

    status: int
    message: str


@dataclass
class Faults:
    """What goes wrong, on purpose. Jobs are told by a part of their name."""

    refused: Refused | None = None
    """Every request for a job is answered so."""
    failed: dict[str, str] = field(default_factory=dict)
    """The service fails the job with this message."""
    cancelled: set[str] = field(default_factory=set)
    """Somebody cancels the job when it begins to run."""
    held: set[str] = field(default_factory=set)
    """The job waits for workers, for ever."""
    killed: dict[str, Callable[[], bool]] = field(default_factory=dict)
    """A worker of the job is killed as soon as this is true; once."""


@dataclass
class Job:
    """As submitted, and what became of it."""

    id: str
    body: dict[str, Any]
    folder: Path
    state: str = "JOB_STATE_PENDING"
    messages: list[tuple[str, str, str]] = field(default_factory=list)
    """Time, importance, text."""
    counters: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    was_asked: threading.Event = field(default_factory=threading.Event)
    """Its state, by the client."""
    process: subprocess.Popen[bytes] | None = None
    created: str = field(default_factory=lambda: _now())

    @property
    def name(self) -> str:
        return self.body["name"]

    @property
    def labels(self) -> dict[str, str]:
        return self.body.get("labels", {})

    @property
    def environment(self) -> dict[str, Any]:
        return self.body["environment"]

    @property
    def options(self) -> dict[str, Any]:
        """Beam's, as the client sent them."""
        return self.environment["sdkPipelineOptions"]["options"]

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDED

    def tell(self, importance: str, text: str) -> None:
        self.messages.append((_now(), f"JOB_MESSAGE_{importance}", text))

    def modules_of_workers(self) -> list[dict[str, str]]:
        """For each worker that ended well, what it imported: module → file."""
        return [json.loads(path.read_bytes()) for path in sorted(self.folder.glob("*/worker-*/modules.json"))]

    def to_json(self) -> dict[str, Any]:
        kept = ("name", "projectId", "location", "type", "labels", "clientRequestId")
        sent = {key: value for key, value in self.body.items() if key in kept}
        return {**sent, "id": self.id, "currentState": self.state, "createTime": self.created}


class DataflowService:
    """Holds the jobs and runs them. Ends all that it has started in `close`."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.faults = Faults()
        self.jobs: list[Job] = []
        self.requests: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("localhost", 0), _handler_of(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """With the name localhost, by which Beam's client knows that it is none of Google's."""
        return f"http://localhost:{self._server.server_port}"

    def job(self, part: str) -> Job:
        """The only job with this in its name.

        Raises:
            ValueError: There is none, or more than one.
        """
        [found] = [each for each in self.jobs if part in each.name]
        return found

    def close(self) -> None:
        """No request is answered any more, no process is left."""
        self._server.shutdown()
        self._server.server_close()
        for job in self.jobs:
            self._end(job, "JOB_STATE_CANCELLED")

    def write_key(self, path: Path) -> Path:
        """The key of a service account that exists nowhere else, whose tokens this service gives."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        key = {
            "type": "service_account",
            "project_id": "local",
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": "tests@local.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(key))
        return path

    def environment(self, key: Path) -> dict[str, str]:
        """What makes Google's clients use this service and its store."""
        return {**self.store.environment, "NO_GCE_CHECK": "true", "GOOGLE_APPLICATION_CREDENTIALS": str(key)}

    def create(self, body: dict[str, Any]) -> Job:
        """A job that has begun.

        Raises:
            Refused: As the service would.
        """
        _check(body)
        with self._lock:
            for each in self.jobs:
                if each.name == body["name"] and not each.has_ended:
                    return each
            job = Job(f"2026-01-01_00_00_00-{len(self.jobs):019d}", body, self.folder / f"job-{len(self.jobs)}")
            self.jobs.append(job)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def find(self, job_id: str) -> Job:
        """A job by its id.

        Raises:
            Refused: There is none.
        """
        for job in self.jobs:
            if job.id == job_id:
                return job
        raise Refused(404, f"({job_id}): Information about job {job_id} could not be found in our system.")

    def cancel(self, job: Job) -> None:
        """As `gcloud dataflow jobs cancel`."""
        self._end(job, "JOB_STATE_CANCELLED")

    def _run(self, job: Job) -> None:
        failed, cancelled, held = self.faults.failed, self.faults.cancelled, self.faults.held
        for part in failed:
            if part in job.name:
                job.was_asked.wait(60)  # Beam's client asks for no messages of a job that it never saw under way
                job.tell("ERROR", failed[part])
                self._end(job, "JOB_STATE_FAILED")
                return
        if any(part in job.name for part in held):
            job.state = "JOB_STATE_QUEUED"
            return
        try:
            self._begin(job)
        except Exception as error:
            job.tell("ERROR", f"Workflow failed. Causes: {error}")
            self._end(job, "JOB_STATE_FAILED")
            return
        job.state = "JOB_STATE_RUNNING"
        job.tell("BASIC", "Worker configuration: e2-standard-2 in local.")
        if any(part in job.name for part in cancelled):
            self._end(job, "JOB_STATE_CANCELLED")
        while not job.has_ended and job.attempts < ATTEMPTS:
            self._attempt(job)
        if not job.has_ended:
            job.tell(
                "ERROR",
                f"Workflow failed. Causes: The job failed because a work item has failed {ATTEMPTS} times. The work "
                f"item was attempted {ATTEMPTS} times without success. Each time the worker eventually lost contact "
                "with the service.",
            )
            self._end(job, "JOB_STATE_FAILED")

    def _begin(self, job: Job) -> None:
        """Brings what was staged from the store into the job's folder; the pipeline then names the files there."""
        job.folder.mkdir(parents=True)
        pipeline = beam_runner_api_pb2.Pipeline.FromString(self.store.read(job.options["pipelineUrl"]))
        for environment in pipeline.components.environments.values():
            for number, artifact in enumerate(environment.dependencies):
                url = beam_runner_api_pb2.ArtifactUrlPayload.FromString(artifact.type_payload).url
                path = job.folder / f"staged-{number}"
                path.write_bytes(self.store.read(url))
                artifact.type_urn = common_urns.artifact_types.FILE.urn
                artifact.type_payload = beam_runner_api_pb2.ArtifactFilePayload(path=str(path)).SerializeToString()
        (job.folder / "pipeline.pb").write_bytes(pipeline.SerializeToString())

    def _attempt(self, job: Job) -> None:
        job.attempts += 1
        folder = job.folder / f"attempt-{job.attempts}"
        folder.mkdir()
        (folder / "pipeline.pb").symlink_to(job.folder / "pipeline.pb")
        submitted = {
            "name": job.name,
            "options": {key: value for key, value in job.options.items() if value is not None},
            "cache": str(self.folder / "environments"),
            "third_party": site.getsitepackages(),
        }
        (folder / "job.json").write_text(json.dumps(submitted))
        with self._lock:
            if job.has_ended:
                return
            job.process = subprocess.Popen(
                [sys.executable, beam_job.__file__, str(folder)],
                cwd=folder,
                env=_without_checkout(),
                stdin=subprocess.DEVNULL,
                stdout=(folder / "output").open("wb"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait(job, folder)
        self._kill(job)
        if (folder / beam_job.RESULT).exists():
            result = json.loads((folder / beam_job.RESULT).read_bytes())
            job.counters = result["counters"]
            for text in result["errors"]:
                job.tell("ERROR", text)
            self._end(job, f"JOB_STATE_{result['state']}")

    def _wait(self, job: Job, folder: Path) -> None:
        """Until the job's process ends. On the way a worker may be killed."""
        while job.process.poll() is None:
            for part, is_time in list(self.faults.killed.items()):
                if part in job.name and is_time():
                    for path in folder.glob("worker-*/pid"):
                        os.kill(int(path.read_text()), signal.SIGKILL)
                        self.faults.killed.pop(part, None)
            time.sleep(0.002 if self.faults.killed else 0.05)

    def _end(self, job: Job, state: str) -> None:
        with self._lock:
            if not job.has_ended:
                job.state = state
        self._kill(job)

    def _kill(self, job: Job) -> None:
        """The job's process and its workers, which are in its group."""
        if job.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()


@contextlib.contextmanager
def dataflow_service(store: ObjectStore, folder: Path) -> Iterator[DataflowService]:
    """Serves until the end of the block.

    Args:
        store: Where clients stage their pipelines.
        folder: For the jobs, and the environments of their workers.
    """
    service = DataflowService(store, folder)
    try:
        yield service
    finally:
        service.close()


def _check(body: dict[str, Any]) -> None:
    """Refuses what the service would."""
    if not _NAME.fullmatch(body.get("name", "")):
        raise Refused(400, f"The workflow could not be created. Causes: invalid job name {body.get('name')!r}")
    for key, value in body.get("labels", {}).items():
        if not (_LABEL.fullmatch(key) and _LABEL_VALUE.fullmatch(value)):
            raise Refused(400, f"The workflow could not be created. Causes: invalid label {key}={value}")
    if len(body.get("labels", {})) > 64:
        raise Refused(400, "The workflow could not be created. Causes: more than 64 labels")
    for pool in body["environment"]["workerPools"]:
        for package in pool.get("packages", ()):
            if not package["location"].startswith("storage.googleapis.com/"):
                raise Refused(400, f"Causes: the package {package['location']} is not in Cloud Storage")


def _without_checkout() -> dict[str, str]:
    """Neither a path to the project nor a place of Google's: workers' processes inherit it."""
    hidden = ("PYTHONPATH", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
    return {key: value for key, value in os.environ.items() if key not in hidden}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _metrics(job: Job) -> dict[str, Any]:
    """Every counter twice, tentative and committed, as the service has them."""
    updates = []
    for counter in job.counters:
        for tentative in ({"tentative": "true"}, {}):
            context = {"namespace": counter["namespace"], "step": counter["step"], **tentative}
            name = {"origin": "user", "name": counter["name"], "context": context}
            updates.append({"name": name, "kind": "Sum", "scalar": counter["value"], "updateTime": _now()})
    return {"metrics": updates, "metricTime": _now()}


def _messages(job: Job, since: str) -> dict[str, Any]:
    return {
        "jobMessages": [
            {"id": str(number), "time": at, "messageImportance": importance, "messageText": text}
            for number, (at, importance, text) in enumerate(job.messages)
            if at >= since
        ]
    }


def _handler_of(service: DataflowService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def log_message(self, *args: Any) -> None:
            service.requests.append(f"{self.command} {self.path}")

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, said = 200, self._said(urllib.parse.urlsplit(self.path), body)
            except Refused as refused:
                status = refused.status
                said = {"error": {"code": status, "message": refused.message, "status": "REFUSED"}}
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _said(self, url: urllib.parse.SplitResult, body: bytes) -> dict[str, Any]:
            if url.path == "/token":
                return {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Request had invalid authentication credentials.")
            if service.faults.refused is not None:
                raise service.faults.refused
            found = _JOB.fullmatch(url.path)
            if found is None:
                raise Refused(404, f"{url.path} was not found")
            if found["id"] is None:
                jobs = [service.create(json.loads(body))] if self.command == "POST" else service.jobs
                return jobs[0].to_json() if self.command == "POST" else {"jobs": [each.to_json() for each in jobs]}
            job = service.find(found["id"])
            if self.command == "PUT":
                if json.loads(body).get("requestedState") == "JOB_STATE_CANCELLED":
                    service.cancel(job)
                return job.to_json()
            if found["rest"] == "/metrics":
                return _metrics(job)
            if found["rest"] == "/messages":
                return _messages(job, urllib.parse.parse_qs(url.query).get("startTime", [""])[0])
            said = job.to_json()
            job.was_asked.set()
            return said

    return Handler
