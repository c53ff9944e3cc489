"""Versions are rolled back and restored by renames that no interruption leaves half done."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorflow_serving.config import model_server_config_pb2
from version_folders import push_model, states, write_versions

from schema.errors import UsageError
from serving import rollback
from serving.canary import start
from serving.push import digest_of
from serving.rollback import restore, roll_back
from serving.server.sources import aspired_versions
from serving.versions import (
    PROVENANCE,
    candidate,
    find,
    read_manifest,
    require_local,
    rolled_back,
    rolled_back_models,
    versions,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def base_path(tmp_path):
    return write_versions(tmp_path / "models", 10, 20, 30)


def served(base_path, newest=1):
    """What a server that polls the base path would load."""
    config = model_server_config_pb2.ModelConfig(name="m", base_path=str(base_path))
    config.model_version_policy.latest.num_versions = newest
    found, _ = aspired_versions(config)
    return sorted(found)


class Killed(BaseException):
    """As if the process ended here."""


def kill_at(monkeypatch, number):
    """The N-th rename from now on is not made, nor anything after it."""
    real, renames = Path.rename, iter(range(number))

    def rename(path, target):
        if next(renames, None) is None:
            raise Killed
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    return lambda: monkeypatch.setattr(Path, "rename", real)


class TestRollBack:
    def test_the_newest_goes_and_the_one_before_it_answers(self, base_path):
        done = roll_back(base_path, None, "it is wrong")
        assert (done.versions, done.to) == ((30,), 20)
        assert states(base_path) == ([10, 20], [30])
        assert served(base_path) == [20]

    def test_all_newer_ones_go(self, base_path):
        assert roll_back(base_path, 10, "both are wrong").versions == (20, 30)
        assert states(base_path) == ([10], [20, 30])
        assert served(base_path, newest=9) == [10]

    def test_it_is_written_why(self, base_path):
        before = time.time()
        roll_back(base_path, 10, "the label was flipped", by="the monitor")
        for version, mark in rolled_back(base_path).items():
            assert (mark.version, mark.to) == (version, 10)
            assert (mark.reason, mark.by) == ("the label was flipped", "the monitor")
            assert before <= mark.at <= time.time()

    def test_the_model_is_kept(self, base_path):
        roll_back(base_path, None, "it is wrong")
        assert (find(base_path, 30) / "saved_model.pb").read_text() == "graph of 30"

    def test_to_the_newest_changes_nothing(self, base_path):
        assert roll_back(base_path, 30, "why not").versions == ()
        assert states(base_path) == ([10, 20, 30], [])

    def test_named_and_repeated_it_changes_nothing_more(self, base_path):
        roll_back(base_path, 20, "it is wrong")
        assert roll_back(base_path, 20, "it is wrong").versions == ()
        assert states(base_path) == ([10, 20], [30])

    def test_a_candidate_is_the_newest(self, base_path):
        start(base_path, 30)
        assert roll_back(base_path, None, "it is wrong").versions == (30,)
        assert states(base_path) == ([10, 20], [30])
        assert candidate(base_path) is None

    def test_a_candidate_goes_with_the_stable_version(self, base_path):
        start(base_path, 30)
        assert roll_back(base_path, 10, "both are wrong").versions == (20, 30)
        assert states(base_path) == ([10], [20, 30])
        assert served(base_path, newest=9) == [10]

    @pytest.mark.parametrize(
        ("to", "told"),
        [
            (30, "Version 30 is rolled back itself.*Expected: one of 10, 20.*headrace promote"),
            (15, "There is no published version 15.*Expected: one of 10, 20"),
        ],
    )
    def test_what_is_no_version_to_go_back_to(self, base_path, to, told):
        roll_back(base_path, None, "it is wrong")
        with pytest.raises(UsageError, match=told):
            roll_back(base_path, to, "it is wrong")
        assert states(base_path) == ([10, 20], [30])

    def test_the_last_version_stays(self, tmp_path):
        base_path = write_versions(tmp_path / "models", 10)
        with pytest.raises(UsageError, match=r"no version to go back to.*version 10 is the only one"):
            roll_back(base_path, None, "it is wrong")
        assert versions(base_path) == [10]

    @pytest.mark.parametrize("to", [None, 10])
    def test_nothing_is_there(self, tmp_path, to):
        with pytest.raises(UsageError, match="no version is published"):
            roll_back(tmp_path / "absent", to, "it is wrong")
        assert not (tmp_path / "absent").exists()

    def test_a_folder_that_somebody_renamed_is_out_of_service_too(self, base_path):
        (base_path / "30").rename(base_path / "rolled-back-30")
        assert states(base_path) == ([10, 20], [30])
        assert rolled_back(base_path)[30].by == "unknown"
        restore(base_path, 30)
        assert states(base_path) == ([10, 20, 30], [])


class TestInterruptions:
    @pytest.mark.parametrize("renames", [0, 1])
    def test_a_repeated_rollback_finishes_and_goes_no_further(self, base_path, monkeypatch, renames):
        revive = kill_at(monkeypatch, renames)
        with pytest.raises(Killed):
            roll_back(base_path, 10, "both are wrong", by="the monitor")
        assert served(base_path) == [30]
        assert states(base_path) == ([10], [20, 30]), "it is decided, whatever the folders are called"
        revive()
        assert roll_back(base_path, None, "again").to == 10
        assert states(base_path) == ([10], [20, 30])
        assert {mark.reason for mark in rolled_back(base_path).values()} == {"both are wrong"}

    def test_a_push_finishes_it(self, base_path, monkeypatch, tmp_path):
        revive = kill_at(monkeypatch, 0)
        with pytest.raises(Killed):
            roll_back(base_path, None, "it is wrong")
        revive()
        pushed = push_model(tmp_path, base_path, "next")
        assert states(base_path) == ([10, 20, pushed.version], [30])

    def test_what_is_to_be_rolled_back_is_no_version_to_go_back_to(self, base_path, monkeypatch):
        revive = kill_at(monkeypatch, 0)
        with pytest.raises(Killed):
            roll_back(base_path, 10, "both are wrong")
        revive()
        with pytest.raises(UsageError, match="Version 20 is rolled back itself"):
            roll_back(base_path, 20, "one is enough")

    def test_a_restoration_is_finished_by_another(self, base_path, monkeypatch):
        roll_back(base_path, None, "it is wrong")
        revive = kill_at(monkeypatch, 0)
        with pytest.raises(Killed):
            restore(base_path, 30)
        assert states(base_path) == ([10, 20], [30])
        revive()
        restore(base_path, 30)
        assert states(base_path) == ([10, 20, 30], [])

    def test_a_rollback_waits_for_a_push(self, base_path):
        """Another process holds the lock; the rollback follows once it has let it go."""
        script = (
            "import sys; from pathlib import Path; from storage.locks import locked\n"
            "with locked(Path(sys.argv[1])):\n print('held', flush=True); sys.stdin.readline()\n"
            " (Path(sys.argv[1]) / '40').mkdir(); print('done', flush=True)"
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-c", script, base_path], cwd=REPOSITORY, **pipes) as holder:
            assert holder.stdout.readline() == "held\n"
            other = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "import sys; from pathlib import Path; from serving.rollback import roll_back\n"
                    "print('ready', flush=True); print(roll_back(Path(sys.argv[1]), None, 'x').versions)",
                    base_path,
                ],
                cwd=REPOSITORY,
                **pipes,
            )
            with other:
                assert other.stdout.readline() == "ready\n"
                holder.stdin.write("go\n")
                holder.stdin.flush()
                assert holder.stdout.readline() == "done\n"
                assert other.stdout.readline() == "(40,)\n"


class TestRestore:
    def test_it_is_published_again_and_unmarked(self, base_path):
        roll_back(base_path, 10, "both are wrong")
        restore(base_path, 20)
        assert states(base_path) == ([10, 20], [30])
        assert not (base_path / "20" / PROVENANCE / "rolled_back.json").exists()
        assert served(base_path) == [20]

    def test_rolled_back_again_it_has_the_new_reason(self, base_path):
        roll_back(base_path, 20, "first")
        restore(base_path, 30)
        roll_back(base_path, 20, "second")
        assert rolled_back(base_path)[30].reason == "second"

    @pytest.mark.parametrize("version", [30, 40])
    def test_what_is_not_rolled_back(self, base_path, version):
        roll_back(base_path, 10, "wrong")
        restore(base_path, 30)
        with pytest.raises(UsageError, match=f"Version {version} is not rolled back.*one of 20"):
            restore(base_path, version)

    def test_not_while_a_candidate_is_tried(self, base_path):
        roll_back(base_path, 20, "wrong")
        write_versions(base_path, 40)
        start(base_path, 40)
        with pytest.raises(UsageError, match="Version 40 is being tried"):
            restore(base_path, 30)

    def test_nothing_is_there(self, tmp_path):
        with pytest.raises(UsageError, match="Version 1 is not rolled back"):
            restore(tmp_path / "absent", 1)


class TestPush:
    def test_versions_go_on_increasing(self, base_path, tmp_path):
        write_versions(base_path, 9_999_999_998)
        roll_back(base_path, None, "wrong")
        assert push_model(tmp_path, base_path, "next").version == 9_999_999_999

    def test_a_model_that_was_rolled_back_is_refused(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "bad")
        roll_back(base_path, None, "it is wrong")
        before = states(base_path)
        again = push_model(tmp_path, base_path, "bad")
        assert (again.version, again.is_new) == (pushed.version, False)
        assert again.refused.reason == "it is wrong"
        assert again.path == find(base_path, pushed.version)
        assert states(base_path) == before

    def test_restored_it_is_not(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "bad")
        roll_back(base_path, None, "it is wrong")
        restore(base_path, pushed.version)
        again = push_model(tmp_path, base_path, "bad")
        assert (again.version, again.is_new, again.refused) == (pushed.version, False, None)

    def test_it_is_known_by_its_content(self, base_path, tmp_path):
        push_model(tmp_path, base_path, "bad")
        assert rolled_back_models(base_path) == frozenset()
        roll_back(base_path, None, "it is wrong")
        assert rolled_back_models(base_path) == {digest_of(tmp_path / "exports" / "bad")}

    def test_another_model_is_not(self, base_path, tmp_path):
        push_model(tmp_path, base_path, "bad")
        roll_back(base_path, None, "it is wrong")
        good = push_model(tmp_path, base_path, "good")
        assert (good.is_new, good.refused) == (True, None)
        assert read_manifest(good.path)["version"] == good.version


def test_a_path_that_is_not_here():
    with pytest.raises(UsageError, match=r"not on this machine.*gs://bucket/models"):
        require_local("gs://bucket/models")


def test_marks_come_before_renames(tmp_path, monkeypatch):
    """A rollback that is decided for several versions is decided for all of them before the first one goes."""
    base_path = write_versions(tmp_path / "models", 10, 20, 30)
    kill_at(monkeypatch, 0)
    with pytest.raises(Killed):
        rollback.roll_back(base_path, 10, "wrong")
    assert all((base_path / name / PROVENANCE / "rolled_back.json").is_file() for name in ("20", "30"))
