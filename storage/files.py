"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from upath import UPath

from storage.places import Place, at, is_remote


def flush(path: Place) -> None:
    """Waits until the names in a folder, or the content of a file, are on this machine's disk."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Place, content: str | bytes) -> None:
    """Writes a file so that whoever reads it, even after a power cut, sees all of it or what was there before.

    An object store does so by itself. On this machine the file is written beside its place, and renamed.

    Args:
        path: The file; on this machine its folder must be there.
        content: Text is written as UTF-8.
    """
    data = content.encode() if isinstance(content, str) else content
    if is_remote(path):
        place = at(path)
        place.fs.pipe_file(place.path, data)
        return
    path = Path(str(path))
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(data)
    flush(unfinished)
    unfinished.replace(path)
    flush(path.parent)


def create_if_absent(place: UPath, content: str) -> None:
    """Creates an object in a store, whole, if nobody else has; of several who do so at once, at most one does."""
    try:
        place.fs.pipe_file(place.path, content.encode(), mode="create")
    except FileExistsError:
        return
    except OSError as error:  # in S3, those who create it at the same moment may all be refused
        response = getattr(error.__cause__, "response", {})
        if response.get("Error", {}).get("Code") not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise
