"""Which model the candidate is compared with."""

from __future__ import annotations

from pathlib import Path

from object_stores import memory
from tfx.types.standard_artifacts import Model

from pipeline.components.artifacts import GateVerdict
from pipeline.components.baseline import LatestBlessedModelStrategy
from serving.push import push
from serving.rollback import restore, roll_back
from storage.places import at, upload


def model(number: int) -> Model:
    artifact = Model()
    artifact.id = number
    return artifact


def verdict(number: int, gate: str, model_id: int, passed: int) -> GateVerdict:
    artifact = GateVerdict()
    artifact.id = number
    artifact.set_string_custom_property("gate", gate)
    artifact.set_int_custom_property("model_id", model_id)
    artifact.set_int_custom_property("passed", passed)
    return artifact


def resolve(verdicts: list[GateVerdict], candidate: int = 3) -> list[int]:
    models = [model(number) for number in (1, 2, 3)]
    inputs = {"baseline": models, "verdict": verdicts, "candidate": [model(candidate)]}
    return [each.id for each in LatestBlessedModelStrategy().resolve_artifacts(None, inputs)["baseline"]]


BLESSED_1 = [verdict(10, "infra", 1, 1), verdict(11, "quality", 1, 1)]
BLESSED_2 = [verdict(12, "infra", 2, 1), verdict(13, "quality", 2, 1)]


def test_without_a_blessed_model_there_is_no_baseline() -> None:
    assert resolve([]) == []
    assert resolve([verdict(9, "data", 0, 1)]) == []


def test_newest_blessed_model_is_the_baseline() -> None:
    assert resolve(BLESSED_1 + BLESSED_2) == [2]


def test_candidate_is_never_its_own_baseline() -> None:
    assert resolve(BLESSED_1 + BLESSED_2, candidate=2) == [1]


def test_both_model_gates_must_have_passed() -> None:
    assert resolve([*BLESSED_1, verdict(12, "infra", 2, 1)]) == [1]
    assert resolve([*BLESSED_1, verdict(12, "infra", 2, 1), verdict(13, "quality", 2, 0)]) == [1]


def test_last_verdict_of_a_gate_counts() -> None:
    assert resolve([*BLESSED_1, *BLESSED_2, verdict(14, "quality", 2, 0)]) == [1]


def test_a_model_that_was_rolled_back_is_no_baseline_until_it_is_restored(tmp_path: Path) -> None:
    def found() -> list[int]:
        inputs = {"baseline": models, "verdict": BLESSED_1 + BLESSED_2, "candidate": [model(3)]}
        strategy = LatestBlessedModelStrategy(str(tmp_path / "pushed"))
        return [each.id for each in strategy.resolve_artifacts(None, inputs)["baseline"]]

    models = [model(1), model(2)]
    for each in models:
        each.uri = str(tmp_path / str(each.id))
        saved = Path(each.uri, "Format-Serving", "saved_model.pb")
        saved.parent.mkdir(parents=True)
        saved.write_text(f"graph {each.id}")
        pushed = push(saved.parent, tmp_path / "pushed", {}, {})
    assert found() == [2]
    roll_back(tmp_path / "pushed", None, "it is wrong")
    assert found() == [1]
    restore(tmp_path / "pushed", pushed.version)
    assert found() == [2]


def test_a_model_that_was_rolled_back_in_an_object_store_is_no_baseline(tmp_path: Path) -> None:
    def found() -> list[int]:
        inputs = {"baseline": models, "verdict": BLESSED_1 + BLESSED_2, "candidate": [model(3)]}
        strategy = LatestBlessedModelStrategy(str(pushed))
        return [each.id for each in strategy.resolve_artifacts(None, inputs)["baseline"]]

    models = [model(1), model(2)]
    with memory() as store:
        pushed = store / "pushed"
        for each in models:
            each.uri = str(store / "artifacts" / str(each.id))
            saved = tmp_path / str(each.id)
            saved.mkdir()
            (saved / "saved_model.pb").write_text(f"graph {each.id}")
            upload(saved, at(each.uri) / "Format-Serving")
            push(saved, pushed, {}, {})
        assert found() == [2]
        roll_back(pushed, None, "it is wrong")
        assert found() == [1]
