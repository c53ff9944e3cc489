"""The versions below a base path: which are published, which one is a candidate, and which are rolled back.

A folder's name is its state, and one move changes it, so no change can be half done:

    1764012345               published: a server answers from the newest
    rolled-back-1764012345   was published; no server takes the name for a version
    01763990000              a candidate: servers read a number, Headrace another state (see `serving.canary`)

A version is rolled back from when that is written into it (`rolled_back.json`); its new name follows, at the latest
with the next change below the base path.

In an object store a folder is whole while it has its `saved_model.pb`, which is written last and removed first
(`storage.folders`). A move that was interrupted may leave the version whole under both names: then being published
counts most, and being rolled back least, unless the mark says otherwise. What does not count is left over
(`leftovers`), and the next change removes it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema.errors import UsageError
from schema.strict import Strict
from storage.places import Place, is_remote, names_below

PROVENANCE = Path("assets.extra", "headrace")
"""Where a pushed model keeps what it came from; TensorFlow Serving ignores all of assets.extra but its warm-up."""

SAVED_MODEL = "saved_model.pb"
MANIFEST = "manifest.json"
MARK = "rolled_back.json"
CANDIDATE = "candidate.json"
_ROLLED_BACK = re.compile(r"rolled-back-(\d+)", re.ASCII)
_NAMES = re.compile(r"(rolled-back-)?\d+", re.ASCII)


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


@dataclass(frozen=True)
class Folder:
    """A version's folder, as it was when the base path was looked at."""

    path: Place
    is_marked: bool
    """Whether a rollback of the version is decided."""
    trial: Candidate | None
    """That, and as what, it is or was tried."""

    @property
    def is_candidate(self) -> bool:
        """Whether its name says that it is being tried."""
        return self.trial is not None and self.path.name == f"0{self.trial.number}"


@dataclass(frozen=True)
class Look:
    """The versions below a base path at one moment, by number."""

    published: dict[int, Folder]
    """Whose names are versions."""
    tried: dict[int, Folder]
    rolled_back: dict[int, Folder]
    """At which no server looks any more."""

    @property
    def versions(self) -> list[int]:
        """The published versions, ascending."""
        return sorted(version for version, folder in self.published.items() if not folder.is_marked)

    @property
    def candidate(self) -> Candidate | None:
        """The version that is being tried, if one is."""
        tried = {version: folder for version, folder in self.tried.items() if version not in self.published}
        trials = [folder.trial for folder in tried.values() if folder.trial is not None and not folder.is_marked]
        return max(trials, key=lambda trial: trial.version, default=None)

    @property
    def rolled_back_folders(self) -> dict[int, Folder]:
        """Of the versions that are rolled back, ascending, under whatever name."""
        return {
            version: folder
            for version, folder in sorted(self.all.items())
            if folder.is_marked or version not in self.live
        }

    @property
    def live(self) -> dict[int, Folder]:
        """From which a server may answer: of the versions, and of the candidate."""
        return {**self.tried, **self.published}

    @property
    def all(self) -> dict[int, Folder]:
        """Whatever their state."""
        return {**self.rolled_back, **self.live}


def look(base_path: Place) -> Look:
    """What lies below a base path; in an object store one request for each 1,000 files.

    Raises:
        FileNotFoundError: There is no such bucket.
    """
    folders = _folders(base_path)
    published = {int(each.path.name): each for each in folders if _is_version(each.path.name)}
    tried = {each.trial.version: each for each in folders if each.trial is not None and each.is_candidate}
    matches = [(_ROLLED_BACK.fullmatch(each.path.name), each) for each in folders]
    return Look(published, tried, {int(match[1]): each for match, each in matches if match})


def versions(base_path: Place) -> list[int]:
    """The published versions, ascending."""
    return look(base_path).versions


def candidate(base_path: Place) -> Candidate | None:
    """The version that is being tried, if one is."""
    return look(base_path).candidate


def rolled_back(base_path: Place) -> dict[int, Mark]:
    """The versions that are rolled back, ascending, and why."""
    return marks(look(base_path))


def marks(seen: Look) -> dict[int, Mark]:
    """Of the versions that were rolled back when the base path was looked at, ascending: why."""
    return {version: read_mark(each.path, version) for version, each in seen.rolled_back_folders.items()}


def rolled_back_models(base_path: Place) -> frozenset[str]:
    """The digests (`serving.push.digest_of`) of the models that are rolled back, under whatever version."""
    facts = [read_manifest(each.path) for each in look(base_path).rolled_back_folders.values()]
    return frozenset(each["model_digest"] for each in facts if "model_digest" in each)


def find(base_path: Place, version: int) -> Place | None:
    """The folder of a version, whatever its state; None if it is gone. For several versions take one `look`."""
    folder = look(base_path).all.get(version)
    return None if folder is None else folder.path


def logged_as(base_path: Place) -> dict[int, int]:
    """The version behind each number under which a request log may know it: its own, and that of its trial."""
    seen = look(base_path).all
    tried = [folder.trial for folder in seen.values() if folder.trial is not None]
    return {trial.number: trial.version for trial in tried} | {version: version for version in seen}


def read_manifest(version_path: Place) -> dict[str, Any]:
    """The facts that `push` left with a version; empty for a version that was not pushed by Headrace."""
    try:
        facts: dict[str, Any] = json.loads((version_path / PROVENANCE / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return facts


def highest_number(base_path: Place) -> int:
    """The highest that any folder below the base path has, or ever had; 0 without any."""
    folders = _folders(base_path)
    named = [int(each.path.name) for each in folders if each.path.name.isdecimal()]
    return max([*named, *look(base_path).all], default=0)


def candidate_path(base_path: Place, number: int) -> Place:
    """The folder of a candidate: a zero before its number tells it from a published version, to all but servers."""
    return base_path / f"0{number}"


def require_local(path: str) -> Path:
    """The push path as a folder, for a server that reads no object store.

    Raises:
        UsageError: It is a URL.
    """
    if is_remote(path):
        raise UsageError(
            "The pushed versions are not on this machine", where=path, expected="push.path to be a local folder"
        )
    return Path(path)


def free_number(base_path: Place, stable: int) -> int:
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


def read_mark(version_path: Place, version: int) -> Mark:
    """Why a version is rolled back. A folder that somebody renamed by hand is out of service all the same."""
    try:
        return Mark.model_validate_json((version_path / PROVENANCE / MARK).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return Mark(version=version, at=None, by="unknown", reason="none is recorded")


def is_there(base_path: Place) -> bool:
    """Whether there is anything at a base path."""
    return bool(names_below(base_path)) if is_remote(base_path) else base_path.is_dir()


def leftovers(base_path: Place) -> list[Place]:
    """The folders in an object store that a push or a move left when it was interrupted. Needs the lock."""
    if not is_remote(base_path):
        return []
    seen, files = look(base_path), set(names_below(base_path))
    names = {name.split("/")[0] for name in files if "/" in name}
    halves = [name for name in names if f"{name}/{SAVED_MODEL}" not in files and _NAMES.fullmatch(name)]
    doubles = [
        folder.path.name
        for group in (seen.tried, seen.rolled_back)
        for version, folder in group.items()
        if folder is not seen.all[version]
    ]
    return [base_path / name for name in sorted([*halves, *doubles])]


def _is_version(name: str) -> bool:
    return name.isdecimal() and str(int(name)) == name


def _folders(base_path: Place) -> list[Folder]:
    """All that may be a version's."""
    if not is_remote(base_path):
        paths = [each for each in base_path.iterdir() if each.is_dir()] if base_path.is_dir() else []
        return [_folder(path, [each for each in _STATES if (path / each).is_file()]) for path in paths]
    files: dict[str, set[str]] = defaultdict(set)
    for name in names_below(base_path):
        folder, _, file = name.partition("/")
        files[folder].add(file)
    return [_folder(base_path / name, below) for name, below in files.items() if SAVED_MODEL in below]


def _folder(path: Place, files: Collection[str]) -> Folder:
    trial = _read_candidate(path) if _TRIED in files else None
    return Folder(path, _MARKED in files, trial)


def _read_candidate(version_path: Place) -> Candidate | None:
    try:
        return Candidate.model_validate_json((version_path / _TRIED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


_MARKED, _TRIED = (PROVENANCE / MARK).as_posix(), (PROVENANCE / CANDIDATE).as_posix()
_STATES = (_MARKED, _TRIED)
