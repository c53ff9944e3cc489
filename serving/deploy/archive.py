"""A version as one archive, the same byte for byte whenever and wherever it is written."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path


def write_archive(version: Path, target: Path, below: str) -> None:
    """Packs a version into a .tar.gz.

    Files come in the order of their names; no time, owner or right of this machine is in it. So the same version is
    the same archive, and what was uploaded can be compared with what would be.

    Args:
        version: The folder of the SavedModel, on this machine.
        target: The archive.
        below: The folder in the archive that takes the folder's place.

    Raises:
        OSError: The disk is full or cannot be written to.
    """
    files = sorted((path.relative_to(version).as_posix(), path) for path in version.rglob("*") if path.is_file())
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in files:
            entry = tarfile.TarInfo(f"{below}/{name}")
            entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o644, 0
            with path.open("rb") as content:
                archive.addfile(entry, content)
