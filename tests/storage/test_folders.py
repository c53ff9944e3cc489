"""Whoever waits for one file never sees half a folder, whatever interrupts a move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_stores import Killed, killed_before, memory, watched
from upath import UPath

from storage import folders
from storage.folders import move_folder, remove_folder
from storage.places import at, files_below

FILES = ("a", "b/c", "last")


@pytest.fixture(params=["here", "remote"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UPath]:
    if request.param == "here":
        yield at(tmp_path)
    else:
        with memory() as place:
            yield place


def fill(folder: UPath) -> UPath:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"this is {name}")
    return folder


@pytest.mark.parametrize("name", ["delay[min]", "a*", "a?", "a#b", "{x}", "50%", "été d'hier"])
def test_a_name_is_never_a_pattern(base: UPath, name: str) -> None:
    """Beside `assets/m`, `assets/a` and others that a pattern would mean."""
    for each in (name, "m", "ab", "last"):
        (base / "old" / "assets").mkdir(parents=True, exist_ok=True)
        (base / "old" / "assets" / each).write_text(f"this is {each}")
    move_folder(base / "old", base / "new", last="assets/last")
    assert there(base) == {"old": (), "new": tuple(sorted(f"assets/{each}" for each in (name, "m", "ab", "last")))}
    assert (base / "new" / "assets" / name).read_text() == f"this is {name}"
    remove_folder(base / "new", last="assets/last")
    assert there(base) == {"old": (), "new": ()}


def test_what_another_has_removed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with memory() as base:
        fill(base / "old")
        found = files_below(base / "old")
        (base / "old" / "a").unlink()
        monkeypatch.setattr(folders, "files_below", lambda folder: dict(found))
        remove_folder(base / "old", last="last")
        assert there(base)["old"] == ()


def there(base: UPath) -> dict[str, tuple[str, ...]]:
    """The files of the old and of the new folder."""
    return {name: tuple(files_below(base / name)) for name in ("old", "new")}


def test_it_has_the_other_name(base: UPath) -> None:
    fill(base / "old")
    fill(base / "older")
    move_folder(base / "old", base / "new", last="last")
    assert there(base) == {"old": (), "new": FILES}
    assert (base / "new" / "b" / "c").read_text() == "this is b/c"
    assert tuple(files_below(base / "older")) == FILES


def test_it_is_gone(base: UPath) -> None:
    fill(base / "10")
    remove_folder(fill(base / "1"), last="last")
    assert list(files_below(base)) == [f"10/{name}" for name in FILES]


def test_it_is_gone_although_it_was_no_longer_whole(base: UPath) -> None:
    (fill(base / "old") / "last").unlink()
    remove_folder(base / "old", last="last")
    assert files_below(base / "old") == {}


def test_whoever_waits_for_the_last_file_sees_whole_folders() -> None:
    def look(number: int) -> None:
        seen = there(base)
        assert all(files == FILES for files in seen.values() if "last" in files)
        assert any("last" in files for files in seen.values())

    with memory() as base:
        fill(base / "old")
        with watched(look):
            move_folder(base / "old", base / "new", last="last")


@pytest.mark.parametrize("number", range(1, 2 * len(FILES) + 1))
def test_an_interrupted_move_is_finished_by_another(number: int) -> None:
    with memory() as base:
        fill(base / "old")
        with killed_before(number), pytest.raises(Killed):
            move_folder(base / "old", base / "new", last="last")
        seen = there(base)
        assert any(files == FILES for files in seen.values())
        if "last" in seen["old"]:
            move_folder(base / "old", base / "new", last="last")
        else:
            remove_folder(base / "old", last="last")
        assert there(base) == {"old": (), "new": FILES}
