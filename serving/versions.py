"""The versions below a base path: which are published, which one is a candidate, and which are rolled back.

A folder's name is its state, and one rename changes it, so no change can be half done:

    1764012345               published: a server answers from the newest
    rolled-back-1764012345   was published; no server takes the name for a version
    01763990000              a candidate: servers read a number, Headrace another state (see `serving.canary`)

A version is rolled back from when that is written into it (`rolled_back.json`); its new name follows, at the latest
with the next change below the base path.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from schema.errors import UsageError
from schema.strict import Strict

PROVENANCE = Path("assets.extra", "headrace")
"""Where a pushed model keeps what it came from; TensorFlow Serving ignores all of assets.extra but its warm-up."""

MANIFEST = "manifest.json"
MARK = "rolled_back.json"
CANDIDATE = "candidate.json"
_ROLLED_BACK = re.compile(r"rolled-back-(\d+)", re.ASCII)


class Mark(Strict):
    """Why a version is rolled back."""

    version: int
    at: float | None
    """Seconds since 1970; None if it is not known."""
    by: str
    reason: str
    to: int | None = None
    """The version that answers instead."""


class Candidate(Strict):
    """A version that is being tried."""

    version: int
    """Which it is, and will be called once it is promoted."""
    number: int
    """Under which servers know it, and log it, while it is tried."""
    since: float
    """Seconds since 1970."""


def versions(base_path: Path) -> list[int]:
    """The published versions, ascending."""
    return sorted(version for version, path in published_paths(base_path).items() if not is_marked(path))


def candidate(base_path: Path) -> Candidate | None:
    """The version that is being tried, if one is."""
    found = [each for each in _candidates(base_path) if not is_marked(candidate_path(base_path, each.number))]
    return max(found, key=lambda each: each.version, default=None)


def rolled_back(base_path: Path) -> dict[int, Mark]:
    """The versions that are rolled back, ascending, and why."""
    marked = {version: path for version, path in live_paths(base_path).items() if is_marked(path)}
    paths = {**rolled_back_paths(base_path), **marked}
    return {version: read_mark(paths[version], version) for version in sorted(paths)}


def rolled_back_models(base_path: Path) -> frozenset[str]:
    """The digests (`serving.push.digest_of`) of the models that are rolled back, under whatever version."""
    paths = [find(base_path, version) for version in rolled_back(base_path)]
    facts = [read_manifest(path) for path in paths if path is not None]
    return frozenset(each["model_digest"] for each in facts if "model_digest" in each)


def find(base_path: Path, version: int) -> Path | None:
    """The folder of a version, whatever its state; None if it is gone."""
    return _paths(base_path).get(version)


def logged_as(base_path: Path) -> dict[int, int]:
    """The version behind each number under which a request log may know it: its own, and that of its trial."""
    paths = _paths(base_path)
    tried = [trial for path in paths.values() if (trial := _read_candidate(path)) is not None]
    return {trial.number: trial.version for trial in tried} | {version: version for version in paths}


def read_manifest(version_path: Path) -> dict[str, Any]:
    """The facts that `push` left with a version; empty for a version that was not pushed by Headrace."""
    path = version_path / PROVENANCE / MANIFEST
    if not path.is_file():
        return {}
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def highest_number(base_path: Path) -> int:
    """The highest that any folder below the base path has, or ever had; 0 without any."""
    named = [int(each.name) for each in _folders(base_path) if each.name.isdecimal()]
    return max([*named, *_paths(base_path)], default=0)


def candidate_path(base_path: Path, number: int) -> Path:
    """The folder of a candidate: a zero before its number tells it from a published version, to all but servers."""
    return base_path / f"0{number}"


def require_local(path: str) -> Path:
    """The push path as a folder.

    Raises:
        UsageError: It is a URL.
    """
    if "://" in path:
        raise UsageError(
            "The pushed versions are not on this machine", where=path, expected="push.path to be a local folder"
        )
    return Path(path)


def free_number(base_path: Path, stable: int) -> int:
    """A number for the next candidate: below the stable version's, above the one before, and never used, as a server
    may still hold another model under it.

    Raises:
        UsageError: There is none.
    """
    before = max((each for each in versions(base_path) if each < stable), default=0)
    used = logged_as(base_path)
    number = next((each for each in range(stable - 1, before, -1) if each not in used), None)
    if number is None:
        raise UsageError(
            "There is no number for a candidate",
            where=str(base_path),
            expected=f"an unused number between the versions {before} and {stable}",
            mend="Publish one version without a canary first.",
        )
    return number


def published_paths(base_path: Path) -> dict[int, Path]:
    """The folders whose names are versions."""
    folders = [each for each in _folders(base_path) if each.name.isdecimal()]
    return {int(each.name): each for each in folders if str(int(each.name)) == each.name}


def live_paths(base_path: Path) -> dict[int, Path]:
    """The folders from which a server may answer: of the versions, and of the candidate."""
    tried = {each.version: candidate_path(base_path, each.number) for each in _candidates(base_path)}
    return {**published_paths(base_path), **tried}


def rolled_back_paths(base_path: Path) -> dict[int, Path]:
    """The folders that no server looks at any more."""
    matches = [(_ROLLED_BACK.fullmatch(each.name), each) for each in _folders(base_path)]
    return {int(match[1]): each for match, each in matches if match}


def is_marked(version_path: Path) -> bool:
    """Whether a rollback of the version is decided."""
    return (version_path / PROVENANCE / MARK).is_file()


def read_mark(version_path: Path, version: int) -> Mark:
    """Why a version is rolled back. A folder that somebody renamed by hand is out of service all the same."""
    try:
        return Mark.model_validate_json((version_path / PROVENANCE / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Mark(version=version, at=None, by="unknown", reason="none is recorded")


def _paths(base_path: Path) -> dict[int, Path]:
    return {**rolled_back_paths(base_path), **live_paths(base_path)}


def _folders(base_path: Path) -> list[Path]:
    return [each for each in base_path.iterdir() if each.is_dir()] if base_path.is_dir() else []


def _candidates(base_path: Path) -> list[Candidate]:
    found = [(each, _read_candidate(each)) for each in _folders(base_path) if each.name.startswith("0")]
    return [trial for each, trial in found if trial is not None and candidate_path(base_path, trial.number) == each]


def _read_candidate(version_path: Path) -> Candidate | None:
    try:
        return Candidate.model_validate_json((version_path / PROVENANCE / CANDIDATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
