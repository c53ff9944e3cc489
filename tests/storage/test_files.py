"""A file is there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_stores import memory
from upath import UPath

from storage.files import write_whole
from storage.places import at, files_below


@pytest.fixture(params=["here", "remote"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[UPath]:
    if request.param == "here":
        yield at(tmp_path)
    else:
        with memory() as place:
            yield place


@pytest.mark.parametrize("content", ["a café", b"\x00\xff", ""])
def test_a_file_is_written_whole_over_what_was_there(base: UPath, content: str | bytes) -> None:
    for each in ("something longer than before", content):
        write_whole(base / "file", each)
    read = (base / "file").read_bytes()
    assert read == (content.encode() if isinstance(content, str) else content)
    assert list(files_below(base)) == ["file"]


def test_what_was_there_stays_if_the_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "file", "before")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"
