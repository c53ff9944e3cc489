"""Folders are copied whole, to and from this machine and an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_stores import memory
from upath import UPath

from storage.places import at, download, files_below, is_remote, local_copy, upload

FILES = {"a": b"1", "deep/er/b": b"22", "deep/c": b"", "z": b"\x00\xff"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(content)
    return tmp_path / "source"


@pytest.fixture(params=["here", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UPath]:
    if request.param == "here":
        yield at(tmp_path / "place")
    else:
        with memory() as found:
            yield found


def contents(folder: UPath | Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_below(folder).items()}


def test_what_is_on_this_machine_is_a_path(tmp_path: Path) -> None:
    assert isinstance(at(tmp_path), Path)
    assert at(tmp_path) == tmp_path
    assert not is_remote(at(tmp_path))


@pytest.mark.parametrize("url", ["gs://bucket/models", "s3://bucket/models/flights", "memory://bucket/x"])
def test_a_url_stays_what_it_is(url: str) -> None:
    assert str(at(url)) == str(at(at(url))) == url
    assert is_remote(at(url))
    assert str(at(url) / "1" / "assets.extra/x") == f"{url}/1/assets.extra/x"


def test_there_and_back(source: Path, place: UPath, tmp_path: Path) -> None:
    upload(source, place / "1")
    assert contents(place / "1") == FILES
    download(place / "1", tmp_path / "back")
    assert contents(tmp_path / "back") == FILES


def test_files_are_named_from_the_folder_and_not_from_those_whose_names_begin_alike(source: Path, place: UPath) -> None:
    upload(source, place / "10")
    assert files_below(place / "1") == {}
    assert list(files_below(place)) == sorted(f"10/{name}" for name in FILES)


def test_the_last_file_is_last(source: Path, place: UPath) -> None:
    seen = []
    upload(source, place, last="deep/c", before_last=lambda: seen.append(contents(place)))
    assert seen == [{name: content for name, content in FILES.items() if name != "deep/c"}]
    assert contents(place) == FILES


def test_nothing_is_uploaded_if_the_last_file_is_not_there(source: Path, place: UPath) -> None:
    with pytest.raises(FileNotFoundError, match=r"no saved_model.pb"):
        upload(source, place, last="saved_model.pb")
    assert files_below(place) == {}


def test_a_local_copy_lasts_as_long_as_its_context(source: Path, place: UPath) -> None:
    upload(source, place)
    with local_copy(place) as folder:
        assert type(folder) is type(source)
        assert contents(folder) == FILES
    assert folder.exists() == (not is_remote(place))


def test_a_local_copy_of_what_is_here_is_no_copy(source: Path) -> None:
    with local_copy(source) as folder:
        assert folder == source


def test_nothing_is_there(place: UPath, tmp_path: Path) -> None:
    assert files_below(place) == {}
    with pytest.raises(FileNotFoundError, match="nothing below"):
        download(place, tmp_path / "back")
