"""One way to name and read a file or a folder, on this machine and in an object store.

A place is a `UPath` (https://universal-pathlib.readthedocs.io): a `pathlib.Path` on this machine, the same methods over
fsspec elsewhere. Credentials are found as the store's own tools find them; nothing here reads or keeps one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from upath import UPath

Place: TypeAlias = Path | UPath
"""What `at` gives, or a path of this machine."""


def at(path: str | os.PathLike[str] | UPath) -> UPath:
    """The place that a path or a URL names. Listings are never cached: other machines write there too."""
    text = str(path)
    return UPath(text, use_listings_cache=False) if is_remote(text) else UPath(text)


def is_remote(path: str | os.PathLike[str] | UPath) -> bool:
    """Whether a path is a URL of an object store."""
    return "://" in str(path)


@contextmanager
def local_copy(place: Place) -> Iterator[Path]:
    """The folder itself if it is on this machine, else a copy of it for as long as the context lasts.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not is_remote(place):
        yield Path(str(place))
        return
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        target = Path(folder, place.name)
        download(place, target)
        yield target


def download(source: Place, target: Path) -> None:
    """Copies a folder to this machine.

    Raises:
        FileNotFoundError: There is nothing below the source.
    """
    files = files_below(source)
    if not files:
        raise FileNotFoundError(f"There is nothing below {source}")
    targets = [target / name for name in files]
    for path in targets:
        path.parent.mkdir(parents=True, exist_ok=True)
    at(source).fs.get([file.path for file in files.values()], [str(path) for path in targets])


def upload(
    source: Path, target: Place, last: str | None = None, before_last: Callable[[], None] = lambda: None
) -> None:
    """Copies a local folder to a place.

    Args:
        source: The folder.
        target: What it is called there.
        last: The file, by its path below the folder, that is written when all others are whole: who waits for that
            file never sees half a folder.
        before_last: Called in between.

    Raises:
        FileNotFoundError: There is no such file as `last`.
    """
    names = names_below(source)
    if last is not None and last not in names:
        raise FileNotFoundError(f"There is no {last} in {source}")
    _put(source, target, [name for name in names if name != last])
    before_last()
    _put(source, target, [name for name in names if name == last])


def files_below(folder: Place) -> dict[str, UPath]:
    """The files below a folder, by their paths from there with `/`; empty if there is no such folder.

    Raises:
        FileNotFoundError: There is no such bucket.
    """
    place = at(folder)
    return {name: place / name for name in names_below(place)}


def names_below(folder: Place) -> list[str]:
    """The paths, from a folder and with `/`, of the files below it, sorted; none if there is no such folder.

    Raises:
        FileNotFoundError: There is no such bucket.
    """
    return sorted(sizes_below(folder))


def sizes_below(folder: Place) -> dict[str, int]:
    """The sizes, in bytes, of the files below a folder, by their paths from there; see `names_below`."""
    place = at(folder)
    if is_remote(place):
        found = {path.removeprefix(place.path).lstrip("/"): size for path, size in _listed(place).items()}
    else:
        files = (path for path in place.rglob("*") if path.is_file())
        found = {path.relative_to(place).as_posix(): path.stat().st_size for path in files}
    return {name: size for name, size in found.items() if name}


def _put(source: Path, target: Place, names: list[str]) -> None:
    places = [at(target) / name for name in names]
    if not is_remote(target):
        for parent in {place.parent for place in places}:
            parent.mkdir(parents=True, exist_ok=True)
    if places:
        at(target).fs.put([str(source / name) for name in names], [place.path for place in places])


def _listed(folder: UPath) -> dict[str, int]:
    """The sizes, by path in the store, of all that lies below a folder: one request for each 1,000, however deep.

    The folder is asked for as a prefix of its bucket: asked for by itself, a folder with nothing below it is looked at
    as a file too, which a policy that is limited to what lies below it refuses.
    """
    start = folder.path.rstrip("/") + "/"
    bucket, _, prefix = start.removeprefix(folder.fs.root_marker).partition("/")
    found = folder.fs.find(folder.fs.root_marker + bucket, prefix=prefix, detail=True)
    return {path: int(info["size"] or 0) for path, info in found.items() if path.startswith(start)}
