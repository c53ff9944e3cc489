from __future__ import annotations

from pathlib import Path

import pytest
from version_folders import push_model, write_versions

from schema.errors import StorageError, UsageError
from serving.deploy.release import choose, reading, require_scheme
from serving.rollback import roll_back


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return write_versions(tmp_path / "models", 5, 7, 9)


def test_the_newest_version_gets_all_the_traffic(base_path: Path) -> None:
    stable, canary = choose(str(base_path), None, None, 10)
    assert (stable.version, stable.place, stable.percent, canary) == (9, str(base_path / "9"), 100, None)


def test_a_canary_shares_the_traffic_with_the_newest_other_version(base_path: Path) -> None:
    stable, canary = choose(str(base_path), None, 9, 25)
    assert canary is not None
    assert [(each.version, each.percent) for each in (stable, canary)] == [(7, 75), (9, 25)]
    assert choose(str(base_path), 5, 9, 25)[0].version == 5


def test_a_version_that_is_rolled_back_is_never_served(base_path: Path) -> None:
    roll_back(base_path, 7, "it was worse", "me")
    assert choose(str(base_path), None, None, 10)[0].version == 7
    for version, canary in ((9, None), (7, 9)):
        with pytest.raises(UsageError, match=r"rolled back.*headrace promote PIPELINE 9"):
            choose(str(base_path), version, canary, 10)


def test_the_candidate_of_the_pipeline_can_be_the_canary(tmp_path: Path) -> None:
    base_path = write_versions(tmp_path / "models", 50, 90)
    trial = push_model(tmp_path, base_path, "third", as_candidate=True)
    assert choose(str(base_path), None, None, 10)[0].version == 90
    _, canary = choose(str(base_path), None, trial.version, 10)
    assert canary is not None
    assert (canary.version, canary.place) == (trial.version, str(trial.path))
    assert Path(canary.place, "saved_model.pb").read_text() == "graph of third"
    with pytest.raises(UsageError, match="not published"):
        choose(str(base_path), trial.version, None, 10)


@pytest.mark.parametrize(
    ("version", "canary", "percent", "told"),
    [
        (6, None, 10, "5, 7, 9"),
        (None, 6, 10, "5, 7, 9"),
        (9, 9, 10, "another"),
        (None, 9, 0, "1 to 99"),
        (None, 9, 100, "1 to 99"),
    ],
)
def test_what_is_not_there_is_refused(base_path: Path, version, canary, percent: int, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        choose(str(base_path), version, canary, percent)


def test_before_the_first_push(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Nothing is pushed yet"):
        choose(str(tmp_path / "models"), None, None, 10)


def test_a_bucket_that_refuses_is_told_as_such() -> None:
    with pytest.raises(StorageError), reading("gs://bucket/m"):
        raise OSError("Forbidden: https://storage.googleapis.com/storage/v1/b/bucket/o")
    with pytest.raises(KeyError), reading("gs://bucket/m"):
        raise KeyError("a mistake of ours")


def test_a_platform_reads_a_bucket_only(release) -> None:
    require_scheme(release("gs://bucket/m"), "gs://", "s3://", mend="")
    with pytest.raises(UsageError, match=r"gs://… or s3://…\. Received: /srv/models"):
        require_scheme(release("/srv/models"), "gs://", "s3://", mend="Push elsewhere.")
