"""Writes a folder of generated files: all or none, and never over what someone else wrote or changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schema.errors import UsageError

_RECORD = ".headrace-deploy.json"
"""Path → SHA-256 of what we wrote last, so that an edit is noticed."""


@dataclass(frozen=True)
class Written:
    """What a call changed, as paths below the folder."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]


def write_files(folder: Path, files: Mapping[str, str | Path], force: bool = False) -> Written:
    """Brings a folder up to date.

    Everything is first written beside the folder and then moved in; whatever fails, the folder is left as it was.
    Files that we wrote earlier and that are no longer wanted are removed. All other files are left alone.

    Args:
        folder: Made if it is missing.
        files: Path below the folder → the text, or the file to copy.
        force: Whether to replace or remove files that someone else wrote or edited.

    Raises:
        UsageError: Without `force`: a file is not as we left it. Or the folder is no folder.
        OSError: The disk is full or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("The output is not a folder", where=str(folder))
    record = _read_record(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staging:
        staged, old = Path(staging, "new"), Path(staging, "old")
        digests = {name: _stage(staged / name, content) for name, content in files.items()}
        found = {name: _digest(folder / name) for name in {*files, *record}}
        foreign = sorted(
            name for name, digest in found.items() if digest not in (None, record.get(name), digests.get(name))
        )
        if foreign and not force:
            raise UsageError(
                "Files that were edited, or that Headrace did not write, would be lost",
                where=str(folder),
                received=", ".join(foreign),
                mend="Choose another --output, or replace them with --force.",
            )
        unchanged = {name for name in files if found[name] == digests[name]}
        removed = {name for name in record if name not in files and found[name] is not None}
        _stage(staged / _RECORD, json.dumps(digests, indent=2) + "\n")
        if not folder.exists() or not any(folder.iterdir()):
            staged.replace(folder)
            return Written(tuple(sorted(files)), (), ())
        _exchange(folder, staged, old, leave={*removed}, enter=[*sorted({*files} - unchanged), _RECORD])
    return Written(tuple(sorted({*files} - unchanged)), tuple(sorted(unchanged)), tuple(sorted(removed)))


def _exchange(folder: Path, staged: Path, old: Path, leave: set[str], enter: list[str]) -> None:
    """Moves files out and in, and everything back if a move fails. The record comes last.

    If the process is killed half-way, the same command run again finishes: what it finds new is as it wants it.
    """
    undo: list[tuple[Path, Path]] = []
    try:
        for name in [*sorted(leave), *enter]:
            if (folder / name).exists():
                _move(folder / name, old / name)
                undo.append((old / name, folder / name))
            if name in enter:
                _move(staged / name, folder / name)
                undo.append((folder / name, staged / name))
    except BaseException:
        for source, target in reversed(undo):
            _move(source, target)
        raise
    for name in leave:
        _remove_empty((folder / name).parent, folder)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _remove_empty(path: Path, top: Path) -> None:
    while path != top and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent


def _stage(target: Path, content: str | Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        target.write_text(content, encoding="utf-8")
    else:
        shutil.copyfile(content, target)
    return str(_digest(target))


def _digest(path: Path) -> str | None:
    """None for a file that is not there."""
    if not path.exists():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "not a file"


def _read_record(folder: Path) -> dict[str, str]:
    """Empty if there is none, or none that can be read: then every file counts as someone else's."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    return {
        name: digest for name, digest in record.items() if ".." not in Path(name).parts and not name.startswith("/")
    }
