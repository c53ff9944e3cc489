"""A candidate answers whom it is meant for and nobody else, and no request fails when that changes."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.protobuf import text_format
from model_server import start_server
from served_models import save_half_plus_two
from tensorflow_serving.config import model_server_config_pb2
from version_folders import push_model, states, write_versions

from schema.errors import UsageError
from serving.canary import configure, drop, promote, start, under_way
from serving.client import Client, ClientError
from serving.push import push
from serving.rollback import restore, roll_back
from serving.server.sources import aspired_versions
from serving.versions import candidate, find, logged_as, rolled_back, versions

SECONDS = 30
"""The most to wait for what takes about one."""


@pytest.fixture
def base_path(tmp_path):
    return write_versions(tmp_path / "models", 100, 200, 300)


def config_of(base_path):
    """The one model of the file that servers read."""
    text = configure(base_path, "flights").read_text()
    [model] = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    return model


def served(base_path):
    """Version → folder of what a server with `models.config` would load."""
    found, _ = aspired_versions(config_of(base_path))
    return {version: Path(path).name for version, path in found.items()}


class TestTrial:
    def test_the_newest_version_becomes_a_candidate(self, base_path):
        state = start(base_path, 300)
        assert (state.stable, state.candidate.version, state.candidate.number) == (200, 300, 199)
        assert versions(base_path) == [100, 200]
        assert served(base_path) == {200: "200", 199: "0199"}

    def test_who_names_no_label_gets_the_stable_version(self, base_path):
        """With the file, and without."""
        start(base_path, 300)
        assert max(served(base_path)) == 200
        alone = model_server_config_pb2.ModelConfig(name="m", base_path=str(base_path))
        assert list(aspired_versions(alone)[0]) == [200]

    def test_a_push_is_tried_first(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "next", as_candidate=True)
        assert pushed.is_new
        assert pushed.is_candidate
        assert under_way(base_path).candidate.version == pushed.version
        assert served(base_path) == {300: "300", 299: "0299"}
        assert pushed.path == find(base_path, pushed.version) == base_path / "0299"

    def test_the_first_push_answers_at_once(self, tmp_path):
        pushed = push_model(tmp_path, tmp_path / "models", "first", as_candidate=True)
        assert not pushed.is_candidate
        assert versions(tmp_path / "models") == [pushed.version]

    def test_the_candidate_pushed_again_is_not_new(self, base_path, tmp_path):
        first = push_model(tmp_path, base_path, "next", as_candidate=True)
        again = push_model(tmp_path, base_path, "next", as_candidate=True)
        assert (again.version, again.path, again.is_new, again.is_candidate) == (first.version, first.path, False, True)

    @pytest.mark.parametrize("as_candidate", [True, False])
    def test_a_push_takes_the_place_of_a_candidate(self, base_path, tmp_path, as_candidate):
        first = push_model(tmp_path, base_path, "first", as_candidate=True)
        second = push_model(tmp_path, base_path, "second", as_candidate=as_candidate)
        assert second.version > first.version
        assert f"version {second.version} was pushed" in rolled_back(base_path)[first.version].reason
        if as_candidate:
            assert under_way(base_path).candidate.number == 298, "another than before: servers may still hold that one"
        else:
            assert versions(base_path)[-1] == second.version
            assert under_way(base_path) is None

    def test_promoted_it_is_the_newest(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "next", as_candidate=True)
        assert promote(base_path).stable == 300
        assert versions(base_path)[-1] == pushed.version
        assert under_way(base_path) is None
        assert max(served(base_path)) == pushed.version

    def test_dropped_it_never_wins_again(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "next", as_candidate=True)
        drop(base_path, "its loss is larger", by="the monitor")
        assert states(base_path) == ([100, 200, 300], [pushed.version])
        mark = rolled_back(base_path)[pushed.version]
        assert (mark.reason, mark.by, mark.to) == ("its loss is larger", "the monitor", 300)
        assert push_model(tmp_path, base_path, "next", as_candidate=True).refused == mark

    def test_dropped_it_may_be_tried_again_under_another_number(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "next", as_candidate=True)
        drop(base_path, "too early to tell")
        assert start(base_path, pushed.version).candidate.number == 298
        assert rolled_back(base_path) == {}

    def test_the_log_knows_it_by_both_numbers(self, base_path, tmp_path):
        pushed = push_model(tmp_path, base_path, "next", as_candidate=True)
        both = {299: pushed.version, pushed.version: pushed.version}
        for change in (lambda: None, lambda: promote(base_path), lambda: roll_back(base_path, None, "wrong")):
            change()
            assert logged_as(base_path) == {100: 100, 200: 200, 300: 300, **both}

    @pytest.mark.parametrize(
        ("version", "told"),
        [
            (400, "There is no version 400.*one that is rolled back"),
            (100, "Version 100 cannot be tried.*the stable version is 300"),
        ],
    )
    def test_what_cannot_be_tried(self, base_path, version, told):
        with pytest.raises(UsageError, match=told):
            start(base_path, version)
        assert states(base_path) == ([100, 200, 300], [])

    def test_the_only_version_cannot_be_tried(self, tmp_path):
        with pytest.raises(UsageError, match="there is no other version"):
            start(write_versions(tmp_path / "models", 5), 5)

    def test_one_at_a_time(self, base_path):
        roll_back(base_path, 200, "wrong")
        write_versions(base_path, 400)
        start(base_path, 400)
        with pytest.raises(UsageError, match="Version 400 is being tried"):
            start(base_path, 300)
        with pytest.raises(UsageError, match="Version 300 is not tried; version 400 is"):
            promote(base_path, 300)
        with pytest.raises(UsageError, match="Version 300 is not tried; version 400 is"):
            drop(base_path, "wrong", version=300)
        assert candidate(base_path).version == 400

    def test_numbers_may_run_out(self, tmp_path):
        base_path = write_versions(tmp_path / "models", 1, 2, 3)
        with pytest.raises(UsageError, match=r"no number for a candidate.*between the versions 1 and 2"):
            start(base_path, 3)
        assert versions(base_path) == [1, 2, 3]

    @pytest.mark.parametrize("end", [promote, lambda base_path: drop(base_path, "wrong")])
    def test_there_is_none(self, base_path, tmp_path, end):
        for path in (base_path, tmp_path / "absent"):
            with pytest.raises(UsageError, match="No version is being tried"):
                end(path)
        assert not (tmp_path / "absent").exists()

    def test_a_foreign_folder_with_a_zero_is_none(self, base_path):
        (base_path / "00000123").mkdir()
        assert under_way(base_path) is None
        assert versions(base_path) == [100, 200, 300]


class TestInterruptions:
    @pytest.fixture
    def killed(self, monkeypatch):
        """Runs until the N-th rename, which is not made."""

        def run(renames, act):
            real, left = Path.rename, iter(range(renames))

            def rename(path, target):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return real(path, target)

            with monkeypatch.context() as patched:
                patched.setattr(Path, "rename", rename)
                with pytest.raises(KeyboardInterrupt):
                    act()

        return run

    def test_a_start_is_repeated(self, base_path, killed):
        killed(0, lambda: start(base_path, 300))
        assert states(base_path) == ([100, 200, 300], [])
        assert under_way(base_path) is None
        assert start(base_path, 300).candidate == under_way(base_path).candidate

    def test_a_promotion_is_repeated(self, base_path, killed):
        start(base_path, 300)
        killed(0, lambda: promote(base_path))
        assert under_way(base_path).stable == 200
        promote(base_path)
        assert states(base_path) == ([100, 200, 300], [])

    def test_a_drop_is_decided(self, base_path, killed):
        start(base_path, 300)
        killed(0, lambda: drop(base_path, "it is worse"))
        assert under_way(base_path) is None
        assert states(base_path) == ([100, 200], [300])
        with pytest.raises(UsageError, match="No version is being tried"):
            promote(base_path)
        assert served(base_path) == {200: "200", 100: "100"}

    @pytest.mark.parametrize("renames", [0, 1])
    def test_a_push_in_place_of_a_candidate_is_repeated(self, base_path, tmp_path, killed, renames):
        first = push_model(tmp_path, base_path, "first", as_candidate=True)
        killed(renames, lambda: push_model(tmp_path, base_path, "second", as_candidate=True))
        assert under_way(base_path) is None
        second = push_model(tmp_path, base_path, "second", as_candidate=True)
        assert under_way(base_path).candidate.version == second.version
        assert states(base_path) == ([100, 200, 300], [first.version])


class TestConfig:
    def test_labels_follow_the_folders(self, base_path, tmp_path):
        def labels():
            return dict(config_of(base_path).version_labels)

        assert labels() == {"stable": 300}
        pushed = push_model(tmp_path, base_path, "next", as_candidate=True)
        assert labels() == {"stable": 300, "canary": 299}
        promote(base_path)
        assert labels() == {"stable": pushed.version}
        roll_back(base_path, 200, "wrong")
        assert labels() == {"stable": 200}
        restore(base_path, 300)
        assert labels() == {"stable": 300}

    def test_without_a_version_there_is_no_label(self, tmp_path):
        model = config_of(tmp_path / "models")
        assert (model.name, model.base_path) == ("flights", str(tmp_path / "models"))
        assert not model.version_labels

    def test_what_is_right_already_is_not_written_again(self, base_path):
        before = configure(base_path, "flights").stat().st_mtime_ns
        assert configure(base_path, "flights").stat().st_mtime_ns == before

    def test_it_finishes_an_interrupted_rollback(self, base_path, monkeypatch):
        def killed(path, target):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                roll_back(base_path, None, "wrong")
        assert dict(config_of(base_path).version_labels) == {"stable": 200}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Models whose answer to 0 is their offset."""
    folder = tmp_path_factory.mktemp("exports")
    for offset in (1, 2, 3):
        save_half_plus_two(folder, offset, offset=float(offset))
    return folder


class Traffic:
    """One request after the other, and what was answered when."""

    def __init__(self, ask: Callable[[], float]):
        self.answers: list[tuple[float, float]] = []
        self.errors: list[ClientError] = []
        self._ask, self._ended = ask, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._ended.is_set():
            try:
                self.answers.append((time.monotonic(), self._ask()))
            except ClientError as error:
                self.errors.append(error)
            self._ended.wait(0.005)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    def wait_for(self, answer):
        """Until it is the latest answer."""
        deadline = time.monotonic() + SECONDS
        while not (self.answers and self.answers[-1][1] == answer):
            assert time.monotonic() < deadline, f"{answer} is not answered; the last: {self.answers[-3:]}"
            time.sleep(0.02)

    def order(self):
        """The answers, each change once."""
        told = [answer for _, answer in self.answers]
        return [answer for number, answer in enumerate(told) if number == 0 or told[number - 1] != answer]


@contextmanager
def asking(address, **options):
    with Client(address, "m", retries=0, **options) as client:
        client.wait_until_available()
        with Traffic(lambda: float(client.predict([{"x": 0.0}])["y"][0])) as traffic:
            yield traffic


def publish(exports, base_path, *offsets):
    for offset in offsets:
        shutil.copytree(exports / str(offset), base_path / str(100 * offset))


def test_a_rollback_is_seen_within_the_polling_interval_and_fails_no_request(exports, tmp_path):
    base_path = tmp_path / "models"
    publish(exports, base_path, 1, 2, 3)
    flags = ["--model_name=m", f"--model_base_path={base_path}"]
    with start_server(flags, log_path=tmp_path / "log") as server, asking(f"grpc://{server.grpc}") as traffic:
        traffic.wait_for(3.0)
        roll_back(base_path, 100, "both are wrong")
        traffic.wait_for(1.0)
        restore(base_path, 200)
        traffic.wait_for(2.0)
    assert traffic.errors == []
    assert traffic.order() == [3.0, 1.0, 2.0]


def test_a_candidate_is_promoted_and_another_dropped_and_no_request_fails(exports, tmp_path):
    """The requests of a client that knows of no candidate, and of one that gives it every request."""

    def publish_candidate(offset):
        push(exports / str(offset), base_path, {}, {}, as_candidate=True)
        configure(base_path, "m")

    base_path = tmp_path / "models"
    publish(exports, base_path, 1)
    flags = [f"--model_config_file={configure(base_path, 'm')}", "--model_config_file_poll_wait_seconds=1"]
    flags += ["--allow_version_labels_for_unavailable_models"]
    with (
        start_server(flags, log_path=tmp_path / "log") as server,
        asking(server.url) as plain,
        asking(f"grpc://{server.grpc}", canary_share=1.0) as tried,
    ):
        tried.wait_for(1.0)
        publish_candidate(2)
        tried.wait_for(2.0)
        assert plain.order() == [1.0]
        promote(base_path)
        configure(base_path, "m")
        plain.wait_for(2.0)
        publish_candidate(3)
        tried.wait_for(3.0)
        drop(base_path, "it is worse")
        configure(base_path, "m")
        tried.wait_for(2.0)
    assert plain.errors == tried.errors == []
    assert plain.order() == [1.0, 2.0]
    assert [each for each in tried.order() if each == 3.0] == [3.0], "once it is gone it does not come back"
