"""In an object store a version is whole or none, whatever interrupts a push, a rollback or a canary."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from object_stores import Killed, amazon, google, killed_before, let_expire, memory, watched
from upath import UPath
from version_folders import push_model, states

from schema.errors import LockedError, UsageError
from serving import canary, rollback
from serving.canary import configure, drop, promote, start, under_way
from serving.push import Pushed, digest_of
from serving.push import push as push_folder
from serving.rollback import restore, roll_back
from serving.versions import PROVENANCE, find, logged_as, read_manifest, rolled_back, rolled_back_models, versions
from storage import leases
from storage.locks import locked
from storage.places import files_below, upload

OLD, BAD, NEW = 10, 20, 30
MODEL = ("assets.extra/headrace/manifest.json", "saved_model.pb", "variables/weights")


@pytest.fixture
def base_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UPath]:
    """Two versions, by Headrace."""
    monkeypatch.setattr(leases, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.01)
    with memory() as place:
        for number in (OLD, BAD):
            upload(export(tmp_path, str(number), number), place / str(number), last="saved_model.pb")
        yield place


def export(folder: Path, name: str, version: int | None = None) -> Path:
    """A model that looks like a SavedModel; with a version's manifest, as if it was pushed."""
    model = folder / "exports" / name
    (model / "variables").mkdir(parents=True, exist_ok=True)
    (model / "variables" / "weights").write_text(name)
    (model / "saved_model.pb").write_text(f"graph of {name}")
    if version is not None:
        (model / PROVENANCE).mkdir(parents=True, exist_ok=True)
        (model / PROVENANCE / "manifest.json").write_text(json.dumps({"model_digest": f"of {version}"}))
    return model


def push(folder: Path, base_path: UPath, name: str, as_candidate: bool = False) -> Pushed:
    export(folder, name)
    return push_model(folder, base_path, name, as_candidate)


def served(base_path: UPath) -> dict[int, set[str]]:
    """The files of the folders that a server could load, by the number that it reads from their names."""
    files = files_below(base_path)
    numbers = {name.split("/")[0] for name in files if name.split("/")[0].isdecimal()}
    return {
        int(each): {name.removeprefix(f"{each}/") for name in files if name.startswith(f"{each}/")}
        for each in numbers
        if f"{each}/saved_model.pb" in files
    }


def folders(base_path: UPath) -> set[str]:
    """The names of all folders but the lock's."""
    return {name.split("/")[0] for name in files_below(base_path) if "/" in name} - {".push.lock"}


@contextmanager
def locked_and_then_lost(base_path: UPath, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever takes the lock stands still until another process has had it."""

    @contextmanager
    def slow(base: UPath) -> Iterator[Callable[[], None]]:
        with locked(base) as confirm:
            let_expire(base)
            with locked(base):
                pass
            yield confirm

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "locked", slow)
        yield


def roll_back_all(base_path: UPath) -> None:
    roll_back(base_path, OLD, "it is wrong")


def take_back(base_path: UPath) -> None:
    restore(base_path, BAD)


def try_again(base_path: UPath) -> None:
    start(base_path, NEW)


def dismiss(base_path: UPath) -> None:
    drop(base_path, "it is worse")


class TestPush:
    def test_the_version_is_whole(self, base_path: UPath, tmp_path: Path) -> None:
        pushed = push(tmp_path, base_path, "new")
        assert (pushed.is_new, str(pushed.path)) == (True, f"{base_path}/{pushed.version}")
        assert states(base_path) == ([OLD, BAD, pushed.version], [])
        assert served(base_path)[pushed.version] == set(MODEL)
        manifest = read_manifest(pushed.path)
        assert manifest["model_digest"] == digest_of(tmp_path / "exports" / "new")
        assert 0 <= time.time() - manifest["pushed_at"] < 60

    def test_the_same_model_is_not_pushed_twice(self, base_path: UPath, tmp_path: Path) -> None:
        first, second = (push(tmp_path, base_path, "new") for _ in range(2))
        assert (second.version, second.is_new) == (first.version, False)

    def test_a_rolled_back_model_is_refused(self, base_path: UPath, tmp_path: Path) -> None:
        pushed = push(tmp_path, base_path, "new")
        roll_back(base_path, None, "it is wrong")
        again = push(tmp_path, base_path, "new")
        assert (again.version, again.is_new) == (pushed.version, False)
        assert again.refused is not None
        assert again.refused.reason == "it is wrong"
        assert rolled_back_models(base_path) == {digest_of(tmp_path / "exports" / "new")}

    def test_versions_increase_whatever_the_clock(
        self, base_path: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        future = push(tmp_path, base_path, "a").version + 1_000_000
        upload(export(tmp_path, "ahead", future), base_path / str(future))
        assert push(tmp_path, base_path, "b").version == future + 1

    def test_a_failure_leaves_nothing(self, base_path: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(store: MemoryFileSystem, source: str, target: str, **options: object) -> None:
            if "weights" in target:
                raise OSError("the connection was reset")
            real(store, source, target, **options)

        real = MemoryFileSystem.put_file
        monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
        with pytest.raises(OSError, match="reset"):
            push(tmp_path, base_path, "new")
        assert folders(base_path) == {"10", "20"}
        monkeypatch.undo()
        assert push(tmp_path, base_path, "new").is_new

    def test_the_model_is_completed_before_anything_is_uploaded(self, base_path: UPath, tmp_path: Path) -> None:
        seen = []

        def finish(folder: Path) -> None:
            seen.append(folders(base_path))
            (folder / "warm").write_text("up")

        pushed = push_folder(export(tmp_path, "new"), base_path, {"who.txt": "me"}, {}, finish)
        assert seen == [{"10", "20"}]
        assert (pushed.path / "warm").read_text() == "up"
        assert (pushed.path / PROVENANCE / "who.txt").read_text() == "me"

    def test_not_while_another_process_pushes(
        self, base_path: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(leases, "RENEWAL_SECONDS", 0.02)
        told = []

        def push_too(number: int) -> None:
            if number == 1:
                with pytest.raises(LockedError, match="holds the lock"):
                    push(tmp_path, base_path, "other")
                told.append(True)

        with watched(push_too):
            pushed = push(tmp_path, base_path, "new")
        assert told == [True]
        assert states(base_path) == ([OLD, BAD, pushed.version], [])

    @pytest.mark.parametrize(
        "act", [roll_back_all, take_back, try_again, promote, dismiss], ids=lambda act: act.__name__
    )
    def test_who_stood_still_for_too_long_changes_nothing_more(
        self, base_path: UPath, tmp_path: Path, act: Callable[[UPath], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process takes the lock over as soon as this one has it, or has made its first change."""
        roll_back(base_path, OLD, "it is wrong")
        upload(export(tmp_path, "30", NEW), base_path / str(NEW), last="saved_model.pb")
        if act in (promote, dismiss):
            start(base_path, NEW)
        with locked_and_then_lost(base_path, monkeypatch):
            before = files_below(base_path)
            with pytest.raises(LockedError, match="was lost"):
                act(base_path)
        unlocked = [{name for name in each if ".push.lock" not in name} for each in (before, files_below(base_path))]
        assert unlocked[0] == unlocked[1]

    def test_who_stood_still_between_two_steps_takes_only_the_first(self, base_path: UPath) -> None:
        def overtake(number: int) -> None:
            if number == 1:
                let_expire(base_path)
                with locked(base_path):
                    pass

        with watched(overtake), pytest.raises(LockedError, match="was lost"):
            roll_back(base_path, OLD, "it is wrong")
        assert folders(base_path) == {str(OLD), str(BAD)}

    def test_who_stood_still_for_too_long_publishes_nothing(self, base_path: UPath, tmp_path: Path) -> None:
        others = []

        def overtake(number: int) -> None:
            if not others:
                others.append(None)
                let_expire(base_path)
                others.append(push(tmp_path, base_path, "other").version)

        with watched(overtake), pytest.raises(LockedError, match="was lost"):
            push(tmp_path, base_path, "new")
        assert states(base_path)[0] == [OLD, BAD, others[1]]
        push(tmp_path, base_path, "next")
        assert all(files == set(MODEL) for files in served(base_path).values())

    def test_what_is_half_is_no_version_and_goes_with_the_next_push(self, base_path: UPath, tmp_path: Path) -> None:
        for name in ("25", "019", "rolled-back-5"):
            (base_path / name / "variables" / "weights").write_bytes(b"half")
        (base_path / "notes" / "of mine").write_bytes(b"")
        assert states(base_path) == ([OLD, BAD], [])
        assert find(base_path, 25) is None
        pushed = push(tmp_path, base_path, "new")
        assert folders(base_path) == {"10", "20", "notes", str(pushed.version)}

    def test_what_somebody_else_published_stays(self, base_path: UPath, tmp_path: Path) -> None:
        (base_path / "007" / "saved_model.pb").write_bytes(b"theirs")
        push(tmp_path, base_path, "new")
        assert "007" in folders(base_path)


def push_new(base_path: UPath, folder: Path) -> None:
    push(folder, base_path, "new")


def push_candidate(base_path: UPath, folder: Path) -> None:
    push(folder, base_path, "new", as_candidate=True)


def roll_back_to_old(base_path: UPath, folder: Path) -> None:
    roll_back(base_path, OLD, "it is wrong")


def start_bad(base_path: UPath, folder: Path) -> None:
    if under_way(base_path) is None:
        start(base_path, BAD)


def promote_bad(base_path: UPath, folder: Path) -> None:
    if under_way(base_path) is not None:
        promote(base_path)


def drop_bad(base_path: UPath, folder: Path) -> None:
    if under_way(base_path) is not None:
        drop(base_path, "it is worse")


def restore_bad(base_path: UPath, folder: Path) -> None:
    if BAD in rolled_back(base_path):
        restore(base_path, BAD)


def start_rolled_back(base_path: UPath, folder: Path) -> None:
    if under_way(base_path) is None:
        start(base_path, BAD)


CHANGES: dict[str, tuple[list[Callable[[UPath, Path], None]], tuple[list[int], list[int], int | None]]] = {
    "push": ([push_new], ([OLD, BAD, NEW], [], None)),
    "push a candidate": ([push_candidate], ([OLD, BAD], [], NEW)),
    "push over a candidate": ([start_bad, push_new], ([OLD, NEW], [BAD], None)),
    "roll back": ([roll_back_to_old], ([OLD], [BAD], None)),
    "roll back a candidate": ([start_bad, roll_back_to_old], ([OLD], [BAD], None)),
    "restore": ([roll_back_to_old, restore_bad], ([OLD, BAD], [], None)),
    "start": ([start_bad], ([OLD], [], BAD)),
    "start what was rolled back": ([roll_back_to_old, start_rolled_back], ([OLD], [], BAD)),
    "promote": ([start_bad, promote_bad], ([OLD, BAD], [], None)),
    "drop": ([start_bad, drop_bad], ([OLD], [BAD], None)),
}
"""What is done, the last of it watched or interrupted; then the versions published, rolled back and tried."""


@pytest.mark.parametrize("name", CHANGES)
class TestInterruptions:
    def reached(self, base_path: UPath) -> tuple[list[int], list[int], int | None]:
        """The state, with `NEW` for what was pushed."""
        trial = under_way(base_path)
        published, back = states(base_path)
        numbers = [*published, *back, *([trial.candidate.version] if trial else [])]
        new = {each: NEW if each > BAD else each for each in numbers}
        return (
            [new[each] for each in published],
            [new[each] for each in back],
            new[trial.candidate.version] if trial else None,
        )

    def test_servers_see_whole_models_and_never_none(self, base_path: UPath, tmp_path: Path, name: str) -> None:
        def look(number: int) -> None:
            seen = served(base_path)
            assert OLD in seen
            assert all(files >= set(MODEL) for files in seen.values())

        (*before, change), expected = CHANGES[name]
        for each in before:
            each(base_path, tmp_path)
        with watched(look):
            change(base_path, tmp_path)
        assert self.reached(base_path) == expected

    def test_repeated_it_is_finished(self, base_path: UPath, tmp_path: Path, name: str) -> None:
        (*before, change), expected = CHANGES[name]
        start_of = dict(MemoryFileSystem.store)
        for number in range(1, 100):
            MemoryFileSystem.store.clear()
            MemoryFileSystem.store.update(start_of)
            for each in before:
                each(base_path, tmp_path)
            try:
                with killed_before(number):
                    change(base_path, tmp_path)
            except Killed:
                let_expire(base_path)
            else:
                break
            seen = served(base_path)
            assert OLD in seen
            assert all(files >= set(MODEL) for files in seen.values())
            change(base_path, tmp_path)
            configure(base_path, "flights")  # the next change removes whatever is left over
            assert self.reached(base_path) == expected
            assert len(folders(base_path)) == sum(map(len, expected[:2])) + (expected[2] is not None)
            assert all(f"{folder}/saved_model.pb" in files_below(base_path) for folder in folders(base_path))
        assert number > 3
        assert self.reached(base_path) == expected


class TestCanary:
    def test_its_number_and_labels(self, base_path: UPath, tmp_path: Path) -> None:
        pushed = push(tmp_path, base_path, "new", as_candidate=True)
        assert pushed.is_candidate
        assert logged_as(base_path)[BAD - 1] == pushed.version
        text = configure(base_path, "flights").read_text()
        assert f'base_path: "{base_path}"' in text
        assert "value: 19\n" in text
        assert states(base_path) == ([OLD, BAD], [])

    def test_the_file_is_written_once(self, base_path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
        configure(base_path, "flights")
        monkeypatch.setattr(canary, "write_whole", None)
        configure(base_path, "flights")

    def test_none_is_tried(self, base_path: UPath) -> None:
        with pytest.raises(UsageError, match="No version is being tried"):
            promote(base_path)
        with pytest.raises(UsageError, match="No version is being tried"):
            promote(base_path / "absent")

    def test_nothing_is_there(self, base_path: UPath) -> None:
        with pytest.raises(UsageError, match="no version is published"):
            roll_back(base_path / "absent", None, "it is wrong")
        assert files_below(base_path / "absent") == {}


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(google, id="Cloud Storage"),
        pytest.param(partial(amazon, "pushed"), id="S3", marks=pytest.mark.e2e),  # moto is slow
    ],
)
def test_in_a_store_of_another_process(store: Callable[[], Any], tmp_path: Path) -> None:
    with store() as base_path:
        good, bad = (push(tmp_path, base_path, name).version for name in ("good", "bad"))
        assert states(base_path) == ([good, bad], [])
        assert served(base_path)[bad] == set(MODEL)
        assert roll_back(base_path, None, "it is wrong").to == good
        assert push(tmp_path, base_path, "bad").refused is not None
        start(base_path, bad)
        configure(base_path, "flights")
        assert served(base_path).keys() == {good, good - 1}
        assert promote(base_path, bad).stable == good
        assert states(base_path) == ([good, bad], [])
        assert read_manifest(base_path / str(bad))["version"] == bad
        assert (base_path / str(bad) / "variables" / "weights").read_text() == "bad"
        assert folders(base_path) == {str(good), str(bad)}


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(google, id="Cloud Storage"),
        pytest.param(partial(amazon, "contended"), id="S3", marks=pytest.mark.e2e),  # moto is slow
    ],
)
def test_two_push_at_once(store: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_LOOK_SECONDS", 0.01)
    with store() as base_path, ThreadPoolExecutor(3) as pool:
        pushed = list(pool.map(lambda name: push(tmp_path, base_path, name), "abc"))
        assert versions(base_path) == sorted({each.version for each in pushed})
        assert len(pushed) == len({each.version for each in pushed})
        assert all(files == set(MODEL) for files in served(base_path).values())
