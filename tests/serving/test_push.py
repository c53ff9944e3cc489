"""A model is pushed whole or not at all, under a version larger than all before."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.push import digest_of, push
from serving.versions import MANIFEST, PROVENANCE, read_manifest, versions

REPOSITORY = Path(__file__).parents[2]
NOW = 1_700_000_000.5
FAR_FUTURE = 9_999_999_999

PUSH_SEVERAL = """
import sys
from pathlib import Path
from serving.push import push
base_path, *models = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
for model in models:
    print(push(model, base_path, {"who.txt": model.name}, {"name": model.name}).version)
"""


@pytest.fixture
def make_model(tmp_path):
    """A folder that looks like a SavedModel; each name has its own content."""

    def make(name, weights=8):
        model = tmp_path / "exports" / name
        (model / "variables").mkdir(parents=True)
        (model / "assets").mkdir()
        (model / "saved_model.pb").write_text(f"graph of {name}")
        (model / "assets" / "vocabulary").write_text("a\nb\n")
        for number in range(weights):
            (model / "variables" / f"part-{number}").write_text(f"{name} {number}" * 1000)
        return model

    return make


@pytest.fixture
def base_path(tmp_path):
    return tmp_path / "models" / "flights"


def content_of(folder):
    """The files of a folder and what they hold, without what the push added."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "assets.extra" not in path.parts
    }


def visible(base_path):
    """What a model server sees: every name that is not hidden."""
    return sorted(path.name for path in base_path.iterdir() if not path.name.startswith("."))


class TestOnePush:
    def test_the_version_holds_the_model_whole(self, make_model, base_path):
        model = make_model("a")
        before = int(time.time())
        pushed = push(model, base_path, {}, {})
        assert pushed.is_new
        assert before <= pushed.version <= time.time()
        assert pushed.path == base_path / str(pushed.version)
        assert content_of(pushed.path) == content_of(model)
        assert versions(base_path) == [pushed.version]

    def test_nothing_else_is_left_but_hidden_files(self, make_model, base_path):
        pushed = push(make_model("a"), base_path, {"note.txt": "x"}, {})
        assert visible(base_path) == [str(pushed.version)]
        assert not list(base_path.glob(".incoming-*"))

    def test_provenance_is_kept_with_the_model(self, make_model, base_path, tmp_path):
        schema = tmp_path / "schema.pbtxt"
        schema.write_text("feature {}")
        evaluation = tmp_path / "evaluation"
        (evaluation / "plots").mkdir(parents=True)
        (evaluation / "plots" / "one").write_bytes(b"\x00\xff")
        sources = {"schema.pbtxt": schema, "eval/metrics": evaluation, "config.json": "{}", "verdicts/data.json": "[]"}
        kept = push(make_model("a"), base_path, sources, {}).path / PROVENANCE
        assert (kept / "schema.pbtxt").read_text() == "feature {}"
        assert (kept / "eval" / "metrics" / "plots" / "one").read_bytes() == b"\x00\xff"
        assert (kept / "config.json").read_text() == "{}"
        assert (kept / "verdicts" / "data.json").read_text() == "[]"

    def test_provenance_joins_the_extra_assets_that_the_model_has(self, make_model, base_path):
        model = make_model("a")
        (model / "assets.extra").mkdir()
        (model / "assets.extra" / "tf_serving_warmup_requests").write_text("warm")
        pushed = push(model, base_path, {"note.txt": "x"}, {})
        assert (pushed.path / "assets.extra" / "tf_serving_warmup_requests").read_text() == "warm"
        assert (pushed.path / PROVENANCE / "note.txt").read_text() == "x"

    def test_the_manifest_holds_the_given_facts_and_its_own(self, make_model, base_path):
        model = make_model("a")
        pushed = push(model, base_path, {}, {"pipeline": "flights", "model_id": 7, "version": "a lie"})
        manifest = read_manifest(pushed.path)
        assert manifest == json.loads((pushed.path / PROVENANCE / MANIFEST).read_text())
        assert 0 <= time.time() - manifest.pop("pushed_at") < 60
        assert manifest == {
            "pipeline": "flights",
            "model_id": 7,
            "version": pushed.version,
            "model_digest": digest_of(model),
        }

    def test_the_source_is_left_as_it_was(self, make_model, base_path):
        model = make_model("a")
        before = content_of(model)
        push(model, base_path, {"note.txt": "x"}, {})
        assert content_of(model) == before
        assert not (model / "assets.extra").exists()


class TestVersions:
    @pytest.mark.parametrize(
        "clock",
        [[NOW] * 5, [NOW, NOW + 0.1, NOW + 0.9, NOW + 1, NOW + 1.9], [NOW, NOW - 9, NOW + 9, NOW - 99, NOW]],
        ids=["one instant", "within two seconds", "set back"],
    )
    def test_they_strictly_increase_whatever_the_clock(self, make_model, base_path, monkeypatch, clock):
        pushed = []
        for number, now in enumerate(clock):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            pushed.append(push(make_model(f"model {number}", weights=1), base_path, {}, {}).version)
        assert sorted(set(pushed)) == pushed
        assert pushed[0] == int(NOW)
        assert versions(base_path) == pushed

    def test_a_version_from_the_future_is_still_exceeded(self, make_model, base_path):
        (base_path / str(FAR_FUTURE)).mkdir(parents=True)
        assert push(make_model("a"), base_path, {}, {}).version == FAR_FUTURE + 1

    def test_only_folders_that_are_numbers_are_versions_in_numeric_order(self, base_path):
        for name in ("9", "10", "2", "latest", "3.bak", ".incoming-4"):
            (base_path / name).mkdir(parents=True)
        (base_path / "11").write_text("a file")
        assert versions(base_path) == [2, 9, 10]

    def test_a_folder_that_is_not_there_has_none(self, tmp_path):
        assert versions(tmp_path / "absent") == []

    def test_a_version_that_headrace_did_not_push_has_no_manifest_and_is_followed(self, make_model, base_path):
        (base_path / "1").mkdir(parents=True)
        (base_path / "1" / "saved_model.pb").write_text("foreign")
        assert read_manifest(base_path / "1") == {}
        assert push(make_model("a"), base_path, {}, {}).is_new


class TestTheSameModel:
    def test_pushed_twice_is_not_new(self, make_model, base_path):
        model = make_model("a")
        first, second = push(model, base_path, {}, {"run": 1}), push(model, base_path, {}, {"run": 2})
        assert (second.version, second.path, second.is_new) == (first.version, first.path, False)
        assert versions(base_path) == [first.version]
        assert read_manifest(first.path)["run"] == 1

    def test_a_copy_of_it_elsewhere_is_not_new(self, make_model, base_path):
        model = make_model("a")
        first = push(model, base_path, {}, {})
        moved = model.rename(model.with_name("moved"))
        os.utime(moved / "saved_model.pb", (1, 1))
        assert push(moved, base_path, {}, {}).version == first.version

    def test_pushed_again_after_another_is_new(self, make_model, base_path):
        a, b = make_model("a"), make_model("b")
        pushed = [push(model, base_path, {}, {}) for model in (a, b, a)]
        assert [each.is_new for each in pushed] == [True, True, True]
        assert len(versions(base_path)) == 3

    @pytest.mark.parametrize("change", ["content", "name", "new file", "removed file"])
    def test_with_the_slightest_change_is_new(self, make_model, base_path, change):
        model = make_model("a")
        push(model, base_path, {}, {})
        part = model / "variables" / "part-0"
        if change == "content":
            part.write_text("A" + part.read_text()[1:])
        elif change == "name":
            part.rename(model / "variables" / "part-00")
        elif change == "new file":
            (model / "assets" / "empty").touch()
        else:
            part.unlink()
        assert push(model, base_path, {}, {}).is_new


class TestInterruptions:
    def test_the_remains_of_an_interrupted_push_are_removed(self, make_model, base_path):
        remains = base_path / ".incoming-0123456789abcdef"
        (remains / "variables").mkdir(parents=True)
        (remains / "variables" / "half").write_text("half a model")
        pushed = push(make_model("a"), base_path, {}, {})
        assert not remains.exists()
        assert visible(base_path) == [str(pushed.version)]

    def test_remains_are_no_version(self, base_path):
        (base_path / ".incoming-12").mkdir(parents=True)
        assert versions(base_path) == []

    @pytest.mark.parametrize("failure", ["unreadable model", "missing provenance", "manifest"])
    def test_a_push_that_fails_leaves_nothing_and_the_versions_untouched(
        self, make_model, base_path, tmp_path, failure
    ):
        first = push(make_model("a"), base_path, {"note.txt": "first"}, {})
        before = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()}
        model, provenance, manifest = make_model("b"), {}, {}
        if failure == "unreadable model":
            (model / "variables" / "part-3").unlink()
            (model / "variables" / "part-3").symlink_to(tmp_path / "nowhere")
        elif failure == "missing provenance":
            provenance = {"note.txt": "kept", "schema.pbtxt": tmp_path / "absent.pbtxt"}
        else:
            manifest = {"not json": object()}
        with pytest.raises((OSError, TypeError)):
            push(model, base_path, provenance, manifest)
        assert visible(base_path) == [str(first.version)]
        assert not list(base_path.glob(".incoming-*"))
        assert {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()} == before

    def test_after_a_failure_the_next_push_succeeds(self, make_model, base_path, tmp_path):
        model = make_model("a")
        with pytest.raises(OSError, match="absent"):
            push(model, base_path, {"schema.pbtxt": tmp_path / "absent.pbtxt"}, {})
        assert push(model, base_path, {}, {}).is_new

    def test_a_model_that_is_not_there_is_an_error_and_no_version(self, base_path, tmp_path):
        with pytest.raises(OSError, match="absent"):
            push(tmp_path / "absent", base_path, {}, {})
        assert versions(base_path) == []


class TestConcurrency:
    def test_processes_that_push_at_once_make_a_whole_version_each(self, make_model, base_path):
        models = [[make_model(f"model {process}-{number}") for number in range(2)] for process in range(4)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PUSH_SEVERAL, base_path, *each],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for each in models
        ]
        try:
            for process in processes:
                assert process.stdout.readline() == "ready\n"
            for process in processes:
                process.stdin.write("go\n")
                process.stdin.flush()
            told = [[int(line) for line in process.communicate(timeout=60)[0].split()] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0] * 4
        assert all(first < second for first, second in told)
        pushed = {
            version: model
            for each, own in zip(told, models, strict=True)
            for version, model in zip(each, own, strict=True)
        }
        assert versions(base_path) == sorted(pushed)
        assert len(pushed) == 8
        for version, model in pushed.items():
            assert content_of(base_path / str(version)) == content_of(model)
            assert (base_path / str(version) / PROVENANCE / "who.txt").read_text() == model.name
            assert read_manifest(base_path / str(version))["name"] == model.name
        assert not list(base_path.glob(".incoming-*"))

    def test_whoever_watches_the_folder_sees_whole_versions_only(self, make_model, base_path):
        models = [make_model(f"model {number}", weights=30) for number in range(6)]
        whole = set(content_of(models[0]))
        base_path.mkdir(parents=True)
        seen, broken, done = set(), [], threading.Event()

        def watch():
            last = False
            while not last:
                last = done.is_set()
                for path in base_path.iterdir():
                    if path.name.isdecimal() and path.name not in seen:
                        there = set(content_of(path))
                        if there != whole or not (path / PROVENANCE / MANIFEST).is_file():
                            broken.append((path.name, whole - there))
                        seen.add(path.name)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            pushed = [push(model, base_path, {"note.txt": "x" * 10_000}, {}) for model in models]
        finally:
            done.set()
            watcher.join()
        assert broken == []
        assert seen == {str(each.version) for each in pushed}


def test_a_digest_tells_names_and_contents_apart(tmp_path):
    digests = []
    for number, files in enumerate(
        [{"a": "1", "b": "2"}, {"a": "2", "b": "1"}, {"ab": "12"}, {"a": "12", "b": ""}, {"d/a": "1", "b": "2"}]
    ):
        for name, content in files.items():
            path = tmp_path / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        digests.append(digest_of(tmp_path / str(number)))
    assert len(set(digests)) == len(digests)
