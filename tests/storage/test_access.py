"""Who may list below a prefix is let in, however little else is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gcsfs import GCSFileSystem
from gcsfs.credentials import GoogleCredentials
from gcsfs.retry import HttpError
from object_stores import amazon, google, google_that_answers
from s3fs import S3FileSystem
from upath import UPath

from schema.errors import StorageError
from storage.access import require_store
from storage.places import at, names_below


@pytest.fixture(scope="module", params=["Cloud Storage", "S3"])
def bucket(request: pytest.FixtureRequest) -> Iterator[UPath]:
    with google() if request.param == "Cloud Storage" else amazon("accessible") as place:
        yield place.parent


@contextmanager
def only_listings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a policy that is limited to what lies below a prefix."""

    async def refuse(store: object, path: str, *arguments: object, **options: object) -> None:
        raise PermissionError(f"Forbidden: {path}")

    with monkeypatch.context() as patch:
        for kind, names in ((GCSFileSystem, ("_info", "_get_bucket_metadata")), (S3FileSystem, ("_info",))):
            for name in names:
                patch.setattr(kind, name, refuse, raising=False)
        yield


@pytest.mark.parametrize(
    "below", ["", "/", "/models", "/models/", "/data/span-{SPAN}/*.csv", "/*.csv", "/schema.pbtxt"]
)
def test_an_empty_bucket_is_there(bucket: UPath, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_listings(monkeypatch):
        require_store(str(bucket).rstrip("/") + below, "push.path")
        assert names_below(bucket / "nothing") == []


def test_a_bucket_that_is_not_there_is_told(bucket: UPath) -> None:
    scheme = str(bucket).partition("://")[0]
    with pytest.raises(StorageError, match=rf"no such bucket\. Where: push\.path: {scheme}://absent/models"):
        require_store(f"{scheme}://absent/models", "push.path")


def test_however_much_lies_there_nothing_is_listed(bucket: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    (bucket / "full" / "a").write_text("x")
    store, listed = at(str(bucket)).fs, []
    real = store.find

    def find(*arguments: object, **options: object) -> object:
        listed.append(real(*arguments, **options))
        return listed[-1]

    monkeypatch.setattr(store, "find", find)
    require_store(f"{bucket}/full", "root")
    assert listed == [[]]


@pytest.mark.parametrize(("status", "told"), [(401, "no valid credentials"), (403, "refuses access")])
def test_a_refusal_is_told(status: int, told: str) -> None:
    with google_that_answers(status, "you may not"), pytest.raises(StorageError, match=told):
        require_store("gs://bucket/models", "root")


def test_credentials_that_have_expired_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(credentials: GoogleCredentials, *arguments: object) -> None:
        asked.append(True)
        raise HttpError({"code": 401, "message": "Invalid Credentials"})  # as gcsfs does when they cannot be renewed

    monkeypatch.setattr(GoogleCredentials, "maybe_refresh", refuse)
    with google() as place:
        asked.clear()
        with pytest.raises(StorageError, match="no valid credentials"):
            require_store(str(place), "root")
    assert asked == [True]


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(credentials: GoogleCredentials) -> None:
        raise ValueError("a bug")

    with google() as place:
        monkeypatch.setattr(GoogleCredentials, "maybe_refresh", fail)
        with pytest.raises(ValueError, match="a bug"):
            require_store(str(place), "root")
