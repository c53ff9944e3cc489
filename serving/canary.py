"""A candidate: a version that answers a share of the requests until it is promoted, or dropped.

Who asks for what, on this project's server and on TensorFlow Serving alike, while a candidate is tried:

    no label, no version   the stable version
    the label `stable`     the stable version
    the label `canary`     the candidate

A server gives whatever names neither a label nor a version to the available version with the highest number. A
candidate with the next number would get all the traffic of every client that does not know of it. So it is tried under
a number just *below* the stable version's, which it has as its folder's name, a zero before it: `01763990000` reads as
a number to servers and is no published version to Headrace. The request log holds that number
(`serving.versions.logged_as` gives the version). Promoted, its folder is renamed to its version, the highest of all.

`models.config` in the base path serves the newest two numbers and names the labels. It follows from the folders alone
and is written after them, so a process that is killed in between leaves labels that are behind, and nothing else; the
next command or start of `headrace serve` mends them. Both servers give a label that is in use only to a version that is
available, and refuse the file as long as it is not; they read it again and again
(--model_config_file_poll_wait_seconds), so the label follows as soon as the version is loaded. A server that starts
has nothing loaded and needs --allow_version_labels_for_unavailable_models. A server that polls the base path without
this file answers from the stable version and never sees the candidate. The file names the base path as this machine
does: a server in a container mounts it under the same path.

Requests without a label never fail on the way. Those with the label `canary` fail when the candidate is gone, for which
`Client(canary_share=…)` turns to the stable version. Those with the label `stable` fail when the stable version is
rolled back, from when it is unloaded until the file is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from schema.errors import UsageError
from serving.rollback import PERSON, changing, finish_interrupted, mark_as_candidate, retire, unmark
from serving.versions import (
    SAVED_MODEL,
    Candidate,
    candidate,
    candidate_path,
    find,
    free_number,
    is_there,
    look,
    rolled_back,
    versions,
)
from storage.files import write_whole
from storage.folders import move_folder
from storage.places import Place, is_remote

STABLE, CANARY = "stable", "canary"
"""The labels."""

CONFIG_FILE = "models.config"


@dataclass(frozen=True)
class Canary:
    """A trial that is under way."""

    stable: int
    """The version that answers all other requests."""
    candidate: Candidate


def under_way(base_path: Place) -> Canary | None:
    """The trial, if there is one."""
    seen = look(base_path)
    return Canary(seen.versions[-1], seen.candidate) if seen.candidate is not None and seen.versions else None


def start(base_path: Place, version: int) -> Canary:
    """Tries a version: the newest one, which gets less traffic then, or one that was rolled back.

    Raises:
        UsageError: There is no such version, another one is being tried, or there would be no stable version that is
            older.
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk cannot be written to.
    """
    if find(base_path, version) is None:
        raise UsageError(f"There is no version {version}", where=str(base_path), expected=_told(base_path))
    with changing(base_path) as confirm:
        finish_interrupted(base_path, confirm)
        current = candidate(base_path)
        if current is not None:
            raise UsageError(
                f"Version {current.version} is being tried",
                where=str(base_path),
                mend="Promote or drop it first.",
            )
        stable = max((each for each in versions(base_path) if each != version), default=None)
        if stable is None or stable > version:
            raise UsageError(
                f"Version {version} cannot be tried",
                where=str(base_path),
                expected="a version that is newer than the stable one",
                received="there is no other version" if stable is None else f"the stable version is {stable}",
            )
        number = free_number(base_path, stable)
        is_rolled_back = version in rolled_back(base_path)
        path = unmark(base_path, version, confirm) if is_rolled_back else base_path / str(version)
        confirm()
        trial = mark_as_candidate(path, version, number)
        confirm()
        move_folder(path, candidate_path(base_path, number), SAVED_MODEL)
    return Canary(stable, trial)


def promote(base_path: Place, version: int | None = None) -> Canary:
    """The candidate becomes the newest version, and answers all requests.

    Args:
        base_path: Holds one folder for each version.
        version: The candidate that is meant; None for whichever is being tried.

    Returns:
        The trial that ended.

    Raises:
        UsageError: None, or another one, is being tried.
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk cannot be written to.
    """
    with _trial(base_path, version) as (ended, confirm):
        trial = ended.candidate
        confirm()
        move_folder(candidate_path(base_path, trial.number), base_path / str(trial.version), SAVED_MODEL)
    return ended


def drop(base_path: Place, reason: str, by: str = PERSON, version: int | None = None) -> Canary:
    """The candidate is rolled back; the stable version answers all requests.

    Args:
        base_path: Holds one folder for each version.
        reason: Why.
        by: Who or what decided.
        version: The candidate that is meant; None for whichever is being tried.

    Returns:
        The trial that ended.

    Raises:
        UsageError: None, or another one, is being tried.
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk cannot be written to.
    """
    with _trial(base_path, version) as (ended, confirm):
        retire(base_path, [ended.candidate.version], ended.stable, reason, by, confirm)
    return ended


def configure(base_path: Place, model: str) -> Place:
    """Writes `models.config` as the folders demand, for `--model_config_file`.

    Args:
        base_path: Holds one folder for each version; created if need be.
        model: The model's name on the server.

    Returns:
        The file.

    Raises:
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk cannot be written to.
    """
    file = base_path / CONFIG_FILE
    with changing(base_path) as confirm:
        finish_interrupted(base_path, confirm)
        text = _models_config(base_path, model)
        if _content(file) != text:
            confirm()
            write_whole(file, text)
    return file


@contextmanager
def _trial(base_path: Place, version: int | None) -> Iterator[tuple[Canary, Callable[[], None]]]:
    """The trial that is under way, while nobody else can end it; and what confirms that (`storage.locks.locked`)."""
    if not is_there(base_path):
        raise _none_is_tried(base_path)
    with changing(base_path) as confirm:
        finish_interrupted(base_path, confirm)
        found = under_way(base_path)
        if found is None:
            raise _none_is_tried(base_path)
        if version is not None and version != found.candidate.version:
            raise UsageError(f"Version {version} is not tried; version {found.candidate.version} is")
        yield found, confirm


def _models_config(base_path: Place, model: str) -> str:
    config = model_server_config_pb2.ModelServerConfig()
    served = config.model_config_list.config.add(
        name=model,
        base_path=str(base_path if is_remote(base_path) else base_path.absolute()),
        model_platform="tensorflow",
    )
    served.model_version_policy.latest.num_versions = 2
    seen = look(base_path)
    if seen.versions:
        served.version_labels[STABLE] = seen.versions[-1]
    if seen.candidate is not None:
        served.version_labels[CANARY] = seen.candidate.number
    return f"# Written by headrace; it follows the versions beside it.\n{text_format.MessageToString(config)}"


def _content(file: Place) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _none_is_tried(base_path: Place) -> UsageError:
    return UsageError("No version is being tried", where=str(base_path))


def _told(base_path: Place) -> str:
    known = [*versions(base_path)[-1:], *rolled_back(base_path)]
    return f"the newest version, or one that is rolled back: {', '.join(map(str, known))}" if known else "a version"
