"""Publishes a model to the folder that servers poll: whole or not at all, under strictly increasing versions."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schema.errors import LockedError
from serving.rollback import changing, finish_interrupted, mark_as_candidate, retire
from serving.versions import (
    MANIFEST,
    PROVENANCE,
    SAVED_MODEL,
    Mark,
    candidate,
    candidate_path,
    free_number,
    highest_number,
    look,
    read_manifest,
    read_mark,
    versions,
)
from storage.files import flush
from storage.folders import move_folder, remove_folder
from storage.places import Place, is_remote, upload

_INCOMING = ".incoming-"
_PUSH = "headrace push"


@dataclass(frozen=True)
class Pushed:
    """The result of a push."""

    version: int
    path: Place
    is_new: bool
    """False if this model, byte for byte, is the newest version already, or the candidate, or rolled back."""
    is_candidate: bool = False
    """Whether it is tried on a share of the traffic only, see `serving.canary`."""
    refused: Mark | None = None
    """Why it was not published: this model was rolled back before. Only `serving.rollback.restore` brings it back."""


def push(
    model: Path,
    base_path: Place,
    provenance: Mapping[str, Path | str],
    manifest: Mapping[str, Any],
    finish: Callable[[Path], None] = lambda folder: None,
    as_candidate: bool = False,
) -> Pushed:
    """Publishes a SavedModel as the next version below `base_path`.

    The copy is completed before it is a version: on this machine beside the versions, under a name that no server
    takes for one, flushed to the disk, and then renamed; for an object store in a temporary folder, and its
    `saved_model.pb` is uploaded after all else. A push that is interrupted leaves no version; the next one removes its
    remains. A model that was rolled back is not published again. A candidate that is being tried gives way to what is
    pushed.

    Args:
        model: The folder of the SavedModel.
        base_path: Holds one folder for each version.
        provenance: Files (or texts) to keep with the model, by relative path below `PROVENANCE`.
        manifest: Facts about the model; the version, the time and the model's digest are added.
        finish: Adds to the copy what is not the model's own, before anyone sees it.
        as_candidate: Whether it is to be tried first. The first version of all answers at once.

    Raises:
        UsageError: There is no number for a candidate.
        LockedError: Another process is changing the versions in an object store.
        OSError: The disk is full or cannot be written to.
    """
    digest = digest_of(model)
    with changing(base_path) as confirm:
        if not is_remote(base_path):
            for remains in base_path.glob(f"{_INCOMING}*"):
                shutil.rmtree(str(remains))
        finish_interrupted(base_path, confirm)
        known = _pushed_before(base_path, digest)
        if known is not None:
            return known
        version = max(int(time.time()), highest_number(base_path) + 1)
        stable = max(versions(base_path), default=0)
        number = free_number(base_path, stable) if as_candidate and stable else None
        target = base_path / str(version) if number is None else candidate_path(base_path, number)

        def complete(incoming: Path) -> None:
            shutil.copytree(model, incoming)
            facts = {**manifest, "version": version, "pushed_at": int(time.time()), "model_digest": digest}
            _write_provenance(incoming / PROVENANCE, {**provenance, MANIFEST: json.dumps(facts, indent=2)})
            finish(incoming)
            if number is not None:
                mark_as_candidate(incoming, version, number)

        def make_way() -> None:
            _retire_candidate(base_path, stable, version, confirm)
            confirm()

        publish = _upload if is_remote(base_path) else _rename
        publish(target, complete, make_way)
    return Pushed(version, target, is_new=True, is_candidate=number is not None)


def _rename(target: Place, complete: Callable[[Path], None], make_way: Callable[[], None]) -> None:
    """Publishes on this machine."""
    incoming = Path(str(target.parent), f"{_INCOMING}{uuid.uuid4().hex}")
    try:
        complete(incoming)
        for path in [*incoming.rglob("*"), incoming]:
            flush(path)
        make_way()
        move_folder(incoming, target, SAVED_MODEL)
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        raise


def _upload(target: Place, complete: Callable[[Path], None], make_way: Callable[[], None]) -> None:
    """Publishes in an object store. An interrupt may come while files are on their way; so remains are left then."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        incoming = Path(folder, target.name)
        complete(incoming)
        try:
            upload(incoming, target, SAVED_MODEL, make_way)
        except LockedError:
            raise  # whoever took the lock over may have taken this version's number
        except Exception:
            with suppress(Exception):  # the first error counts, and the next push removes what is left
                remove_folder(target, SAVED_MODEL)
            raise


def _pushed_before(base_path: Place, digest: str) -> Pushed | None:
    """The newest version, the candidate, or a version that was rolled back, if it is this model."""
    seen = look(base_path)
    tried = [seen.candidate.version] if seen.candidate else []
    for version in [*tried, *seen.versions[-1:], *seen.rolled_back_folders]:
        path = seen.all[version].path
        if read_manifest(path).get("model_digest") == digest:
            mark = read_mark(path, version) if version in seen.rolled_back_folders else None
            return Pushed(version, path, False, is_candidate=version in tried, refused=mark)
    return None


def _retire_candidate(base_path: Place, stable: int, version: int, confirm: Callable[[], None]) -> None:
    trial = candidate(base_path)
    if trial is not None:
        reason = f"version {version} was pushed while it was tried"
        retire(base_path, [trial.version], stable, reason, _PUSH, confirm)


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_provenance(folder: Path, entries: Mapping[str, Path | str]) -> None:
    for name, content in entries.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            target.write_text(content, encoding="utf-8")
        elif content.is_dir():
            shutil.copytree(content, target)
        else:
            shutil.copyfile(content, target)
