"""S3: what a push needs of it, against moto's server of its protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_stores import amazon
from upath import UPath

from schema.errors import LockedError
from storage import leases
from storage.errors import explain
from storage.files import write_whole
from storage.folders import move_folder, remove_folder
from storage.leases import Claim
from storage.locks import locked
from storage.places import at, files_below, local_copy, upload


@pytest.fixture(scope="module")
def bucket() -> Iterator[UPath]:
    with amazon("bucket") as place:
        yield place


@pytest.fixture
def base(bucket: UPath, request: pytest.FixtureRequest) -> UPath:
    return bucket / request.node.name


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_text("graph")
    (tmp_path / "model" / "variables" / "weights[1]?").write_bytes(bytes(range(256)) * 10_000)
    return tmp_path / "model"


def test_a_folder_is_uploaded_moved_and_removed(base: UPath, model: Path) -> None:
    for name in ("1", "10"):
        upload(model, base / name, last="saved_model.pb")
    move_folder(base / "1", base / "rolled-back-1", last="saved_model.pb")
    remove_folder(base / "10", last="saved_model.pb")
    assert sorted(files_below(base)) == ["rolled-back-1/saved_model.pb", "rolled-back-1/variables/weights[1]?"]
    with local_copy(base / "rolled-back-1") as copy:
        for name in ("saved_model.pb", "variables/weights[1]?"):
            assert (copy / name).read_bytes() == (model / name).read_bytes()


def test_a_file_is_replaced(base: UPath) -> None:
    for text in ("one", "another"):
        write_whole(base / "models.config", text)
        assert (base / "models.config").read_text() == text


def test_one_holds_the_lock(base: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.05)
    with locked(base) as confirm:
        with pytest.raises(LockedError, match="holds the lock"), locked(base):
            pass
        confirm()
    with locked(base):
        pass
    assert list(files_below(base)) == [".push.lock/000000000002"]


def test_an_object_is_created_by_one_only(base: UPath) -> None:
    for token in ("first", "second"):
        leases._create(base / "1", Claim(token=token, holder="me", until=time.time()))
    assert Claim.model_validate_json((base / "1").read_bytes()).token == "first"


def test_a_bucket_that_is_not_there_is_told(bucket: UPath, model: Path) -> None:
    missing = at("s3://absent/models")
    for act in (lambda: files_below(missing), lambda: upload(model, missing), lambda: write_whole(missing / "x", "")):
        with pytest.raises(FileNotFoundError) as raised:
            act()
        assert "There is no such bucket" in str(explain(raised.value, str(missing)))


def test_credentials_that_nobody_knows_are_told(model: Path) -> None:
    with amazon("guarded", enforces=True) as place:
        for act in (lambda: files_below(place), lambda: upload(model, place)):
            with pytest.raises(PermissionError) as raised:
                act()
            assert "There are no valid credentials" in str(explain(raised.value, str(place)))


def test_no_credentials_are_told(bucket: UPath, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    type(bucket.fs).clear_instance_cache()
    with pytest.raises(Exception, match="Unable to locate credentials") as raised:
        upload(model, at("s3://bucket/models"))
    assert "There are no valid credentials" in str(explain(raised.value, "s3://bucket/models"))
    type(bucket.fs).clear_instance_cache()
