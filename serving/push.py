"""Publishes a model to the folder that servers poll: whole or not at all, under strictly increasing versions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROVENANCE = Path("assets.extra", "headrace")
"""Where a pushed model keeps what it came from; TensorFlow Serving ignores all of assets.extra but its warm-up."""

MANIFEST = "manifest.json"
_INCOMING = ".incoming-"
_LOCK = ".push.lock"


@dataclass(frozen=True)
class Pushed:
    """The result of a push."""

    version: int
    path: Path
    is_new: bool
    """False if the newest version already is this model, byte for byte."""


def push(
    model: Path,
    base_path: Path,
    provenance: Mapping[str, Path | str],
    manifest: Mapping[str, Any],
    finish: Callable[[Path], None] = lambda folder: None,
) -> Pushed:
    """Publishes a SavedModel as the next version below `base_path`.

    The copy is written beside the versions under a name that no server takes for one, flushed to the disk, and then
    renamed. A push that is interrupted leaves no version; the next push removes its remains.

    Args:
        model: The folder of the SavedModel.
        base_path: Holds one folder for each version.
        provenance: Files (or texts) to keep with the model, by relative path below `PROVENANCE`.
        manifest: Facts about the model; the version, the time and the model's digest are added.
        finish: Adds to the copy what is not the model's own, before anyone sees it.

    Raises:
        OSError: The disk is full or cannot be written to.
    """
    base_path.mkdir(parents=True, exist_ok=True)
    digest = digest_of(model)
    with _locked(base_path):
        for remains in base_path.glob(f"{_INCOMING}*"):
            shutil.rmtree(remains)
        newest = max(versions(base_path), default=0)
        if newest and read_manifest(base_path / str(newest)).get("model_digest") == digest:
            return Pushed(newest, base_path / str(newest), is_new=False)
        version = max(int(time.time()), newest + 1)
        incoming = base_path / f"{_INCOMING}{uuid.uuid4().hex}"
        try:
            shutil.copytree(model, incoming)
            facts = {**manifest, "version": version, "pushed_at": int(time.time()), "model_digest": digest}
            _write_provenance(incoming / PROVENANCE, {**provenance, MANIFEST: json.dumps(facts, indent=2)})
            finish(incoming)
            _flush(incoming)
            incoming.rename(base_path / str(version))
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        _flush_folder(base_path)
    return Pushed(version, base_path / str(version), is_new=True)


def versions(base_path: Path) -> list[int]:
    """The published versions, ascending."""
    if not base_path.is_dir():
        return []
    return sorted(int(child.name) for child in base_path.iterdir() if child.is_dir() and child.name.isdecimal())


def read_manifest(version_path: Path) -> dict[str, Any]:
    """The facts that `push` left with a version; empty for a version that was not pushed by Headrace."""
    path = version_path / PROVENANCE / MANIFEST
    if not path.is_file():
        return {}
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


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


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _flush_folder(path)


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _locked(base_path: Path) -> Iterator[None]:
    with (base_path / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
