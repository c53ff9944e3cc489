from __future__ import annotations

from pathlib import Path

import pytest

from schema.errors import UsageError
from serving.deploy.write import write_files

FIRST = {"a.yaml": "1", "sub/b.yaml": "2"}


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def visible(folder: Path) -> dict[str, str]:
    return {name: text for name, text in contents(folder).items() if not name.startswith(".")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "out"
    write_files(folder, FIRST)
    return folder


def test_writes_all_and_leaves_nothing_beside(folder: Path) -> None:
    assert visible(folder) == FIRST
    assert [child.name for child in folder.parent.iterdir()] == ["out"]


def test_a_second_time_only_what_changed(folder: Path) -> None:
    written = write_files(folder, {**FIRST, "a.yaml": "3"})
    assert (written.written, written.unchanged, written.removed) == (("a.yaml",), ("sub/b.yaml",), ())
    assert visible(folder) == {"a.yaml": "3", "sub/b.yaml": "2"}


def test_what_is_no_longer_wanted_goes_with_its_empty_folder(folder: Path) -> None:
    assert write_files(folder, {"a.yaml": "1"}).removed == ("sub/b.yaml",)
    assert not (folder / "sub").exists()


@pytest.mark.parametrize("edited", ["a.yaml", "sub/b.yaml"])
def test_an_edited_file_is_kept_and_nothing_else_is_written(folder: Path, edited: str) -> None:
    (folder / edited).write_text("mine")
    before = contents(folder)
    with pytest.raises(UsageError, match=edited):
        write_files(folder, {"a.yaml": "3", "c.yaml": "4"})
    assert contents(folder) == before
    write_files(folder, {"a.yaml": "3", "c.yaml": "4"}, force=True)
    assert visible(folder) == {"a.yaml": "3", "c.yaml": "4"}


def test_a_file_that_was_never_ours_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        write_files(tmp_path, FIRST)
    assert contents(tmp_path) == {"a.yaml": "mine"}


def test_other_files_are_left_alone(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    write_files(folder, {"a.yaml": "3"}, force=True)
    assert visible(folder) == {"a.yaml": "3", "notes.txt": "mine"}


def test_an_edit_to_what_is_wanted_anyway_is_no_edit(folder: Path) -> None:
    (folder / "a.yaml").write_text("3")
    assert write_files(folder, {**FIRST, "a.yaml": "3"}).written == ()


def test_a_deleted_file_comes_back(folder: Path) -> None:
    (folder / "a.yaml").unlink()
    assert write_files(folder, FIRST).written == ("a.yaml",)


def test_a_failure_half_way_leaves_the_folder_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, move = contents(folder), Path.replace

    def fail_once(path: Path, target: Path) -> Path:
        if path.name == "z.yaml":
            raise PermissionError("no")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    with pytest.raises(PermissionError):
        write_files(folder, {"a.yaml": "3", "c.yaml": "4", "z.yaml": "5"})  # removes sub/b.yaml, replaces a.yaml
    assert contents(folder) == before


def test_files_are_copied_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(b"\x00\xff")
    write_files(tmp_path / "out", {"models/5/model.pb": tmp_path / "model.pb"})
    assert (tmp_path / "out" / "models" / "5" / "model.pb").read_bytes() == b"\x00\xff"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="not a folder"):
        write_files(tmp_path / "out", FIRST)


def test_a_record_that_points_elsewhere_removes_nothing_there(folder: Path) -> None:
    (folder.parent / "precious").write_text("x")
    (folder / ".headrace-deploy.json").write_text(
        '{"../precious": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}'
    )
    write_files(folder, FIRST, force=True)
    assert (folder.parent / "precious").exists()
