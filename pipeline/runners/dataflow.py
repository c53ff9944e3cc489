"""A node's job on Dataflow: which it is, why it ended, and that it does not outlive the run that started it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from pipeline.config import PipelineConfig
from schema.errors import HeadraceError, NodeError

_CREATED = re.compile(r"Created job with id: \[([^\]\s]+)\]")
_STATE = re.compile(r"Dataflow pipeline failed\. State: (\w+), Error:\s*(.*)", re.DOTALL)
_SERVICE = "https://dataflow.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS = 20.0
_RUNNER = "--runner=DataflowRunner"
_LONGEST_MESSAGE = 600

_MEND = {
    "CANCELLED": "Somebody or a quota's limit cancelled it. Run the same command again; finished nodes are kept.",
    "DRAINED": "Somebody drained it. Run the same command again; finished nodes are kept.",
    "FAILED": "The workers' logs are at that address. Mend the cause and run the same command again; finished nodes "
    "are kept.",
}


@dataclass(frozen=True)
class Job:
    """A job of the Dataflow service."""

    id: str
    project: str
    region: str

    @property
    def url(self) -> str:
        """Where a person finds its graph, its messages and the logs of its workers."""
        return f"https://console.cloud.google.com/dataflow/jobs/{self.region}/{self.id}?project={self.project}"


def runs_on_dataflow(beam_args: Sequence[str]) -> bool:
    """Whether a component's job is Dataflow's."""
    return _RUNNER in beam_args


def find_job(log: Path, project: str, region: str) -> Job | None:
    """The last job that a node started, by what Beam wrote into the node's log; None if it did not get so far."""
    try:
        found = _CREATED.findall(log.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    return Job(found[-1], project, region) if found else None


def explain(error: BaseException, node: str, log: Path, beam_args: Sequence[str]) -> HeadraceError | None:
    """A failure of a node that runs on Dataflow, told with its job; None for what is not the service's or the job's.

    Args:
        error: What was raised.
        node: By which node.
        log: The node's.
        beam_args: The options of its job.
    """
    job = find_job(log, _option(beam_args, "project"), _option(beam_args, "region"))
    text = " ".join(str(error).split())
    ended = _STATE.search(str(error))
    if ended is not None and job is not None:
        state, message = ended[1], _last_lines(ended[2])
        return NodeError(
            f"{node} failed: its Dataflow job {job.id} is {state}",
            where=f"{job.url} and {log}",
            received=message or "no message of the service",
            mend=_MEND.get(state, _MEND["FAILED"]),
        )
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if status in (401, 403):
        return NodeError(
            f"{node} failed: Dataflow refuses these credentials",
            where=f"project {_option(beam_args, 'project')}, region {_option(beam_args, 'region')}; {log}",
            expected="roles/dataflow.developer for who submits, roles/dataflow.worker for the workers' service account",
            received=text[:_LONGEST_MESSAGE],
            mend="Grant the roles, enable the Dataflow API in the project, or log in with another account.",
        )
    if job is None:
        return None
    return NodeError(
        f"{node} failed while its Dataflow job {job.id} was under way",
        where=f"{job.url} and {log}",
        received=f"{type(error).__name__}: {text[-_LONGEST_MESSAGE:]}",
        mend="The job was asked to end. Run the same command again; finished nodes are kept.",
    )


def cancel(config: PipelineConfig, node_log: Path, beam_args: Sequence[str]) -> Job | None:
    """Asks the service to end the job that a node has left behind, if it left one.

    Source: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.jobs/update

    Returns:
        The job; None if there was none, or it had ended by itself.

    Raises:
        NodeError: The service cannot be reached or refuses; the error says how to end the job by hand.
    """
    target = config.targets.dataflow
    job = find_job(node_log, target.project, target.region) if target is not None else None
    if target is None or job is None:
        return None
    url = f"{target.endpoint or _SERVICE}/v1b3/projects/{job.project}/locations/{job.region}/jobs/{job.id}"
    try:
        session = _session(beam_args)
        state = _json(session.get(url, timeout=_SECONDS))["currentState"]
        if state.removeprefix("JOB_STATE_") in _ENDED:
            return None
        _json(session.put(url, json={"requestedState": "JOB_STATE_CANCELLED"}, timeout=_SECONDS))
    except (requests.RequestException, GoogleAuthError, KeyError, ValueError) as error:
        raise NodeError(
            f"The Dataflow job {job.id} could not be cancelled",
            where=job.url,
            received=" ".join(str(error).split())[:_LONGEST_MESSAGE],
            mend=f"End it: gcloud dataflow jobs cancel {job.id} --project={job.project} --region={job.region}",
        ) from None
    return job


def _session(beam_args: Sequence[str]) -> requests.Session:
    """Not Beam's own client, which tries for ten minutes before it says that the service cannot be reached."""
    if "--no_auth" in beam_args:
        return requests.Session()
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    return AuthorizedSession(credentials)


def _json(response: requests.Response) -> dict[str, Any]:
    response.raise_for_status()
    body: dict[str, Any] = response.json()
    return body


_ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")


def _option(beam_args: Sequence[str], name: str) -> str:
    flag = f"--{name}="
    return next((each.removeprefix(flag) for each in beam_args if each.startswith(flag)), "")


def _last_lines(message: str) -> str:
    text = " ".join(message.split())
    return "" if text == "None" else text[-_LONGEST_MESSAGE:]
