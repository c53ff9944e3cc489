from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path

import pytest

from serving.deploy.archive import write_archive

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"\x00" * 9, "assets/vocabulary": b"JFK\nLGA\n"}


def version_at(folder: Path, names: list[str], when: int, mode: int) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
        path.chmod(mode)
        os.utime(path, (when, when))
    return folder


def test_the_same_version_is_the_same_archive(tmp_path: Path) -> None:
    first = version_at(tmp_path / "a", sorted(FILES), 1_000_000_000, 0o600)
    second = version_at(tmp_path / "elsewhere" / "b", sorted(FILES, reverse=True), 1_700_000_000, 0o755)
    write_archive(first, tmp_path / "1.tar.gz", "flights/5")
    write_archive(second, tmp_path / "other-name.tar.gz", "flights/5")
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "other-name.tar.gz").read_bytes()
    assert (tmp_path / "1.tar.gz").read_bytes()[4:8] == bytes(4)  # gzip's own time
    (second / "saved_model.pb").write_bytes(b"grabh")
    write_archive(second, tmp_path / "changed.tar.gz", "flights/5")
    assert (tmp_path / "1.tar.gz").read_bytes() != (tmp_path / "changed.tar.gz").read_bytes()


def test_what_comes_out_is_what_went_in(tmp_path: Path) -> None:
    version = version_at(tmp_path / "a", list(FILES), 1_700_000_000, 0o644)
    write_archive(version, tmp_path / "new" / "model.tar.gz", "flights/5")
    with tarfile.open(tmp_path / "new" / "model.tar.gz") as archive:
        assert {entry.name: archive.extractfile(entry).read() for entry in archive} == {
            f"flights/5/{name}": content for name, content in FILES.items()
        }
        assert {(entry.uid, entry.gid, entry.uname, entry.mtime, entry.mode) for entry in archive} == {
            (0, 0, "", 0, 0o644)
        }


def test_the_container_of_aws_would_find_the_model(tmp_path: Path) -> None:
    """`find_models` of its tfs_utils.py: …/NAME/NUMBER/saved_model.pb, six parts or more below /opt/ml/model."""
    write_archive(version_at(tmp_path / "a", list(FILES), 1, 0o644), tmp_path / "m.tar.gz", "flights/1764012345")
    with tarfile.open(tmp_path / "m.tar.gz") as archive:
        (graph,) = [name for name in archive.getnames() if name.endswith("/saved_model.pb")]
    parts = f"/opt/ml/model/{graph}".split("/")
    assert len(parts) >= 6
    assert re.fullmatch(r"\d+", parts[-2])
    assert parts[-3] == "flights"


def test_a_long_name_survives(tmp_path: Path) -> None:
    name = "assets/" + "long" * 40
    (tmp_path / "a" / "assets").mkdir(parents=True)
    (tmp_path / "a" / name).write_bytes(b"x")
    write_archive(tmp_path / "a", tmp_path / "m.tar.gz", "flights/5")
    with tarfile.open(tmp_path / "m.tar.gz") as archive:
        assert archive.getnames() == [f"flights/5/{name}"]


def test_a_disk_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write_archive(tmp_path, tmp_path / "file" / "m.tar.gz", "flights/5")
