"""Rolling back and restoring: what changes a version's state, see `serving.versions`.

A rollback is written into the version before its folder is moved. What was interrupted between the two is decided
already, and the next change below the base path finishes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schema.errors import UsageError
from schema.strict import Strict
from serving.versions import (
    CANDIDATE,
    MARK,
    PROVENANCE,
    SAVED_MODEL,
    Candidate,
    Folder,
    Mark,
    candidate,
    is_there,
    leftovers,
    look,
    read_mark,
    rolled_back,
    versions,
)
from storage.files import write_whole
from storage.folders import move_folder, remove_folder
from storage.locks import locked
from storage.places import Place, is_remote

PERSON = "a person"
"""Who rolls back, unless it is said."""


@dataclass(frozen=True)
class RollBack:
    """What was rolled back."""

    versions: tuple[int, ...]
    """Ascending; empty if there was nothing newer than `to`."""
    to: int
    """The version that answers now."""


@contextmanager
def changing(base_path: Place) -> Iterator[Callable[[], None]]:
    """The lock on a base path (`storage.locks.locked`), and nothing left over from what was interrupted before."""
    with locked(base_path) as confirm:
        for folder in leftovers(base_path):
            confirm()
            remove_folder(folder, SAVED_MODEL)
        yield confirm


def roll_back(base_path: Place, to: int | None, reason: str, by: str = PERSON) -> RollBack:
    """Takes versions out of service for good: servers fall back within their polling interval.

    A candidate goes first, and the newest version last: whatever a server sees in between, it goes straight from the
    version that answers now to the one that shall.

    Args:
        base_path: Holds one folder for each version.
        to: The version that shall answer; all newer ones are rolled back. None: the one before the newest (the
            stable one, if a candidate is tried); or, if a rollback was interrupted, the one that it went to.
        reason: Why.
        by: Who or what decided.

    Raises:
        UsageError: There is no such version to go back to.
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk is full or cannot be written to.
    """
    if not is_there(base_path):
        raise _nothing_before(base_path)
    with changing(base_path) as confirm:
        there = look(base_path).live
        if to is None:
            to = _one_before(base_path, there)
        _require_published(base_path, to)
        bad = tuple(sorted(version for version in there if version > to))
        retire(base_path, bad, to, reason, by, confirm)
    return RollBack(bad, to)


def restore(base_path: Place, version: int) -> None:
    """Undoes a rollback: the version is published again, and answers if it is the newest.

    Raises:
        UsageError: It is not rolled back, or a candidate is being tried.
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk cannot be written to.
    """
    if not is_there(base_path):
        raise _not_rolled_back(base_path, version)
    with changing(base_path) as confirm:
        trial = candidate(base_path)
        if trial is not None:  # its number must stay the second highest
            raise UsageError(f"Version {trial.version} is being tried", mend="Promote or drop it first.")
        path = unmark(base_path, version, confirm)
        confirm()
        move_folder(path, base_path / str(version), SAVED_MODEL)


def retire(
    base_path: Place, bad: Iterable[int], to: int | None, reason: str, by: str, confirm: Callable[[], None]
) -> None:
    """Marks versions and takes them from the servers. Needs the lock.

    Args:
        base_path: Holds one folder for each version.
        bad: Published versions, or the candidate.
        to: The version that answers instead.
        reason: Why.
        by: Who or what decided.
        confirm: Called before each step; raises `LockedError` if the lock was lost.
    """
    seen = look(base_path)
    ordered = sorted(bad, key=lambda version: (version in seen.published, version))
    for version in ordered:
        if not seen.live[version].is_marked:
            confirm()
            _write(seen.live[version].path, MARK, Mark(version=version, at=time.time(), by=by, reason=reason, to=to))
    for version in ordered:
        confirm()
        move_folder(seen.live[version].path, base_path / f"rolled-back-{version}", SAVED_MODEL)


def finish_interrupted(base_path: Place, confirm: Callable[[], None]) -> None:
    """Moves what is marked already. Needs the lock, and confirms it before each step."""
    marked = [version for version, folder in look(base_path).live.items() if folder.is_marked]
    if marked:
        retire(base_path, marked, None, "", "", confirm)


def unmark(base_path: Place, version: int, confirm: Callable[[], None]) -> Place:
    """Removes the mark from a version that is rolled back, and gives its folder. Needs the lock, and confirms it.

    Raises:
        UsageError: It is not rolled back.
    """
    finish_interrupted(base_path, confirm)
    folder = look(base_path).rolled_back.get(version)
    if folder is None:
        raise _not_rolled_back(base_path, version)
    if folder.is_marked:
        confirm()
        (folder.path / PROVENANCE / MARK).unlink(missing_ok=True)
    return folder.path


def mark_as_candidate(version_path: Place, version: int, number: int) -> Candidate:
    """Writes into a version that, and as which number, it is tried. It is tried once its folder has that name."""
    trial = Candidate(version=version, number=number, since=time.time())
    _write(version_path, CANDIDATE, trial)
    return trial


def _write(version_path: Place, name: str, content: Strict) -> None:
    folder = version_path / PROVENANCE
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / name, content.model_dump_json(indent=2))


def _one_before(base_path: Place, there: dict[int, Folder]) -> int:
    """The version before the newest, or the one that an interrupted rollback went to."""
    interrupted = [read_mark(each.path, version).to for version, each in there.items() if each.is_marked]
    decided = [to for to in interrupted if to is not None]
    if decided:
        return min(decided)
    if len(there) < 2:
        raise _nothing_before(base_path)
    return sorted(there)[-2]


def _require_published(base_path: Place, version: int) -> None:
    known = versions(base_path)
    if version in known:
        return
    expected = f"one of {', '.join(map(str, known))}" if known else "a published version; there is none"
    if version in rolled_back(base_path):
        mend = f"To restore it: headrace promote PIPELINE {version}."
        raise UsageError(f"Version {version} is rolled back itself", where=str(base_path), expected=expected, mend=mend)
    raise UsageError(f"There is no published version {version}", where=str(base_path), expected=expected)


def _nothing_before(base_path: Place) -> UsageError:
    known = versions(base_path)
    received = f"version {known[-1]} is the only one" if known else "no version is published"
    return UsageError("There is no version to go back to", where=str(base_path), received=received)


def _not_rolled_back(base_path: Place, version: int) -> UsageError:
    known = ", ".join(map(str, rolled_back(base_path)))
    return UsageError(
        f"Version {version} is not rolled back",
        where=str(base_path),
        expected=f"one of {known}" if known else "a version that is rolled back; there is none",
    )
