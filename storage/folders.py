"""Folders moved and removed: at once on this machine, one file after the other in an object store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from upath import UPath

from storage.files import flush
from storage.places import Place, at, files_below, is_remote

_REMOVED_AT_ONCE = 16


def move_folder(source: Place, target: Place, last: str) -> None:
    """Gives a folder another name in the same place.

    On this machine that is one rename. An object store has none: the files are copied there, `last` after all others;
    then `last` is removed before all others. Whoever waits for that file sees the folder whole under its old name, for
    a moment under both, then under the new one. A move that was interrupted is finished by repeating it.

    Args:
        source: The folder.
        target: Its new name; nothing has it, but what an interrupted move left.
        last: The file, by its path below the folder, without which nobody takes it for whole.

    Raises:
        OSError: The disk cannot be written to.
    """
    if not is_remote(source):
        Path(str(source)).rename(str(target))
        flush(target.parent)
        return
    files = files_below(source)
    _copy({name: file for name, file in files.items() if name != last}, target)
    _copy({name: file for name, file in files.items() if name == last}, target)
    remove_folder(source, last)


def remove_folder(folder: Place, last: str | None = None) -> None:
    """Removes a folder, in an object store the file that was written `last` before all others."""
    if not is_remote(folder):
        shutil.rmtree(str(folder))
        return
    files = files_below(folder)
    _remove(file for name, file in files.items() if name == last)
    _remove(file for name, file in files.items() if name != last)


def _copy(files: dict[str, UPath], target: Place) -> None:
    if files:
        at(target).fs.copy([file.path for file in files.values()], [(at(target) / name).path for name in files])


def _remove(files: Iterable[UPath]) -> None:
    """One request for each file: fsspec's `rm` of many takes `[`, `*` and `?` in a name for a pattern."""
    paths = list(files)
    if paths and paths[0].fs.async_impl:  # a store behind a network
        with ThreadPoolExecutor(_REMOVED_AT_ONCE) as pool:
            list(pool.map(_remove_file, paths))
    else:
        for path in paths:
            _remove_file(path)


def _remove_file(file: UPath) -> None:
    with suppress(FileNotFoundError):  # it is gone already
        file.fs.rm_file(file.path)
