"""The history of a pipeline that runs in containers: what was pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.components.evaluator import executor as evaluator_executor
from tfx.types import Artifact
from tfx.types.standard_artifacts import Examples, Model

from pipeline.components import pushed
from serving.push import push
from serving.rollback import roll_back


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def saved_model(folder: Path, name: str) -> Path:
    (folder / "variables").mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(f"graph of {name}")
    (folder / "variables" / "variables.index").write_text(name)
    return folder


def publish(models: Path, name: str, span: int) -> int:
    return push(saved_model(models.parent / name, name), models, {}, {"span": span}).version


def execute(node: Any, given: Artifact, key: str, made: Artifact, models: Path) -> Artifact:
    node.EXECUTOR_SPEC.executor_class().Do({"candidate": [given]}, {key: [made]}, {"path": str(models)})
    return made


def baseline(models: Path, candidate: str) -> Artifact:
    given, made = Model(), Model()
    given.uri, made.uri = str(models.parent / f"candidate of {candidate}"), str(models.parent / "baseline")
    saved_model(Path(given.uri) / "Format-Serving", candidate)
    return execute(pushed.LatestPushedModel, given, "baseline", made, models)


def last_span(models: Path, span: int) -> int:
    given, made = Examples(), Examples()
    given.set_int_custom_property("span", span)
    return int(execute(pushed.LastPushedExamples, given, "examples", made, models).get_int_custom_property("span"))


def test_without_a_version_there_is_no_baseline_and_no_good_span(models: Path) -> None:
    assert not baseline(models, "new").has_custom_property(pushed.VERSION)
    assert last_span(models, 3) == 0


def test_the_baseline_is_a_copy_of_the_newest_version_that_is_not_rolled_back(models: Path) -> None:
    first, second = publish(models, "one", 1), publish(models, "two", 2)
    found = baseline(models, "new")
    assert found.get_string_custom_property(pushed.VERSION) == str(second)
    roll_back(models, to=first, by="test", reason="bad")
    found = baseline(models, "new")
    assert found.get_string_custom_property(pushed.VERSION) == str(first)
    assert (Path(found.uri) / "Format-Serving" / "saved_model.pb").read_text() == "graph of one"


def test_a_candidate_is_never_its_own_baseline(models: Path) -> None:
    first, _ = publish(models, "one", 1), publish(models, "two", 2)
    assert baseline(models, "two").get_string_custom_property(pushed.VERSION) == str(first)


def test_a_version_that_somebody_else_published_has_no_say(models: Path) -> None:
    saved_model(models / "123", "stranger")
    assert not baseline(models, "new").has_custom_property(pushed.VERSION)
    assert last_span(models, 9) == 0


def test_the_good_span_lies_before_the_candidate_s(models: Path) -> None:
    publish(models, "one", 4)
    newest = publish(models, "two", 6)
    assert [last_span(models, span) for span in (4, 5, 6, 7)] == [0, 4, 4, 6]
    roll_back(models, to=None, by="test", reason="bad")
    assert last_span(models, 7) == 4, f"version {newest} is rolled back"


@pytest.mark.parametrize("version", [None, "17"])
def test_the_evaluator_compares_only_with_a_baseline_that_is_one(monkeypatch, version: str | None) -> None:
    seen: list[dict[str, list[Artifact]]] = []
    monkeypatch.setattr(
        evaluator_executor.Executor, "Do", lambda self, inputs, outputs, properties: seen.append(inputs)
    )
    artifact = Model()
    if version:
        artifact.set_string_custom_property(pushed.VERSION, version)
    inputs = {"model": [Model()], "baseline_model": [artifact]}
    pushed.Evaluator.EXECUTOR_SPEC.executor_class().Do(inputs, {}, {})
    [given] = seen
    assert given["baseline_model"] == ([artifact] if version else [])
    assert given["model"] == inputs["model"]
