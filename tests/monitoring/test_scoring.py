from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from watched import category, number, profile_of, time, watched_rows
from watched_examples import (
    LABEL,
    MODEL_FEATURES,
    SCORED_FEATURES,
    answers,
    save_model,
    scored_rows,
    write_examples,
)

from monitoring.bins import Kind
from monitoring.neighbours import ExamplesFile
from monitoring.profile import Profile
from monitoring.profiling import ProfileExamples
from monitoring.quality import metrics
from monitoring.reference import PREDICTIONS, Reference
from monitoring.scoring import Scored, ScoreExamples, ScoringPlan, importances, make_reference, raw_inputs
from monitoring.slicing import ALL_EXAMPLES
from serving.session_model import SessionModel

BLOCK = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("model") / "1"))


def plan_of(model: str, block_rows: int = BLOCK, slices: tuple[str, ...] = (), share: float = 1.0) -> ScoringPlan:
    return ScoringPlan(model, "binary", LABEL, SCORED_FEATURES, slices, block_rows, share)


def scored(files: Sequence[ExamplesFile], plan: ScoringPlan) -> list[Scored]:
    scorer = ScoreExamples(plan)
    scorer.setup()
    try:
        return [each for file in files for each in scorer.process(file)]
    finally:
        scorer.teardown()


def file_of(
    folder: Path, rows: pa.RecordBatch, index: int = 0, span: int = 1, *, is_eval: bool = False
) -> ExamplesFile:
    path = write_examples(folder / f"{index}.gz", rows, SCORED_FEATURES)
    return ExamplesFile(str(path), index, span, is_eval=is_eval)


@pytest.mark.parametrize("rows", [0, 1, 256, 600])
@pytest.mark.parametrize("block_rows", [1, 64, 65, 256, 293])
def test_there_are_scores_of_each_block_of_the_profile_and_of_no_other(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, block_rows: int
) -> None:
    """Whatever the batches, and whether all rows are answered (for the quality) or only the sample."""
    batch = scored_rows(np.random.default_rng(rows), rows)
    expected = answers(batch)
    found = []
    for size, is_eval in itertools.product((4096, 100), (False, True)):
        monkeypatch.setattr("data.records.BATCH_ROWS", size)
        (each,) = scored([file_of(tmp_path, batch, is_eval=is_eval)], plan_of(model, block_rows))
        found.append(each.scores)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-6)
    blocks = [expected[start : start + block_rows] for start in range(0, rows, block_rows)]
    assert len(found[0]) == len(blocks)
    for scores, of_block in zip(found[0], blocks, strict=True):
        present = scores[~np.isnan(scores)]
        assert min(len(of_block), 1) <= len(present) <= 64
        step = -(-block_rows // 64)
        np.testing.assert_allclose(present, of_block[::step], rtol=1e-5)


@pytest.fixture(scope="module")
def reference(model: str, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Of a window of three spans in files of odd sizes, made as the pipeline makes it."""
    folder = tmp_path_factory.mktemp("window")
    random = np.random.default_rng(1)
    sizes = [(1, 700, False), (1, 3, False), (2, 0, False), (2, 512, False), (3, 900, True), (3, 257, True)]
    files = [
        file_of(folder, scored_rows(random, rows), index, span, is_eval=is_eval)
        for index, (span, rows, is_eval) in enumerate(sizes)
    ]
    plan = plan_of(model, slices=("carrier",))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        profile = pipeline | ProfileExamples(files, SCORED_FEATURES, sum(rows for _, rows, _ in sizes))
        answered = (
            pipeline
            | "Files" >> beam.Create(files[::-1], reshuffle=True)
            | beam.ParDo(ScoreExamples(plan))
            | beam.combiners.ToList()
        )
        _ = profile | beam.Map(
            lambda profile, answered: make_reference(answered, profile, plan).save(folder / "reference"),
            beam.pvalue.AsSingleton(answered),
        )
    return Reference.load(folder / "reference")


def test_answers_are_counted_in_the_blocks_of_the_profile(reference: Reference) -> None:
    profile = reference.profile
    ((key, counts),) = [item for item in profile.counts.items() if item[0][0] == PREDICTIONS]
    assert profile.spans.tolist() == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3]
    assert counts.shape == (12, len(profile.bins[key].labels))
    assert counts.sum(axis=1).tolist() == [64, 64, 47, 1, 64, 64, 64, 64, 64, 33, 64, 1]
    assert counts[:, -2:].sum() == 0
    assert profile.rows == 700 + 3 + 512 + 900 + 257


@pytest.fixture(scope="module")
def parts(model: str, tmp_path_factory: pytest.TempPathFactory) -> list[Scored]:
    """Of neighbours: one with two blocks, one without a row."""
    folder, random = tmp_path_factory.mktemp("parts"), np.random.default_rng(4)
    files = [
        file_of(folder, scored_rows(random, rows), index, is_eval=index > 0)
        for index, rows in enumerate((200, 0, 300, 90))
    ]
    return scored(files, plan_of(model, share=0.1))


def test_what_neighbours_were_answered_adds_up_in_any_order(parts: list[Scored]) -> None:
    profile = profile_of(SCORED_FEATURES, {1: scored_rows(np.random.default_rng(5), 300)}, BLOCK)
    first, *_ = made = [
        make_reference([functools.reduce(operator.add, order)], profile, plan_of("", share=0.0))
        for order in itertools.permutations([replace(part, examples=[]) for part in parts])
    ]
    for other in made[1:]:
        assert other.profile.bins == first.profile.bins
        for key, counts in first.profile.counts.items():
            np.testing.assert_array_equal(other.profile.counts[key], counts)
        assert other.quality[ALL_EXAMPLES].scores.rows == first.quality[ALL_EXAMPLES].scores.rows == 390


def test_of_added_blocks_as_many_scores_are_kept_as_of_one_and_of_each_file_some(parts: list[Scored]) -> None:
    added = functools.reduce(operator.add, parts)
    assert added.file == parts[0].file
    assert np.count_nonzero(~np.isnan(added.scores), axis=1).tolist() == [64, 11]
    for part in parts[::2]:
        of_file = part.scores[0][~np.isnan(part.scores[0])]
        assert 10 < np.isin(of_file, added.scores[0]).sum() < len(of_file)
    assert sorted(added.examples) == sorted(example for part in parts for example in part.examples)


def test_the_quality_is_that_of_the_evaluation_rows(reference: Reference) -> None:
    assert set(reference.quality) == {ALL_EXAMPLES, "carrier=AA", "carrier=UA"}
    assert reference.quality[ALL_EXAMPLES].scores.rows == 1157
    by_carrier = sum(reference.quality[name].scores.rows for name in ("carrier=AA", "carrier=UA"))
    assert by_carrier == 1157
    auc = next(each for each in metrics(reference.quality[ALL_EXAMPLES]) if each.metric == "auc")
    assert auc.value > 0.9


def test_what_the_label_hangs_on_is_important_and_noise_is_not(reference: Reference) -> None:
    found = reference.importances
    assert set(found) == {each.name for each in MODEL_FEATURES}
    assert found["x"] > 0.9
    assert found["noise"] == pytest.approx(0, abs=1e-6)
    assert found["noise"] <= found["carrier"] < 0.1
    assert sum(found.values()) == pytest.approx(1)


def test_without_evaluation_examples_nothing_is_known_to_matter(model: str) -> None:
    assert importances(plan_of(model), []) == {}


def test_of_rows_that_are_all_alike_nothing_matters(model: str) -> None:
    example = tf.train.Example()
    for name in ("x", "noise"):
        example.features.feature[name].float_list.value.append(1.0)
    example.features.feature[LABEL].int64_list.value.append(1)
    found = importances(plan_of(model), [example.SerializeToString()] * 10)
    assert found == {"x": 0.0, "noise": 0.0, "carrier": 0.0}


def test_some_of_the_evaluation_examples_are_kept(model: str, tmp_path: Path) -> None:
    rows = scored_rows(np.random.default_rng(2), 2000)
    plan = plan_of(model, share=0.1)
    (of_eval,) = scored([file_of(tmp_path, rows, is_eval=True)], plan)
    (again,) = scored([file_of(tmp_path, rows, is_eval=True)], plan)
    (of_train,) = scored([file_of(tmp_path, rows)], plan)
    assert 140 < len(of_eval.examples) < 260
    assert of_eval.examples == again.examples
    assert of_train.examples == []
    assert of_train.quality == {}


def test_a_regression(tmp_path: Path) -> None:
    model = str(save_model(tmp_path / "1", "regression"))
    plan = ScoringPlan(model, "regression", LABEL, SCORED_FEATURES, (), BLOCK, 1.0)
    rows = scored_rows(np.random.default_rng(3), 600)
    answered = scored([file_of(tmp_path, rows, is_eval=True)], plan)
    profile = profile_of(SCORED_FEATURES, {1: rows}, BLOCK)
    reference = make_reference(answered, profile, plan)
    mse = next(each for each in metrics(reference.quality[ALL_EXAMPLES]) if each.metric == "mse")
    labels = np.asarray(rows.column(LABEL))
    assert mse.value == pytest.approx(np.mean((answers(rows) - labels) ** 2), rel=1e-4)
    assert reference.importances["x"] > 0.9
    assert reference.calibration() is None


def test_a_model_that_always_answers_the_same(model: str, tmp_path: Path) -> None:
    rows = watched_rows({"x": [1.0] * 300, "noise": [0.0] * 300, "carrier": ["AA"] * 300, LABEL: [0, 1] * 150},
                        SCORED_FEATURES)  # fmt: skip
    answered = scored([file_of(tmp_path, rows, is_eval=True)], plan_of(model))
    profile: Profile = make_reference(answered, profile_of(SCORED_FEATURES, {1: rows}), plan_of(model)).profile
    counts = profile.counts[(PREDICTIONS, Kind.VALUES)]
    assert counts.tolist() == [[64, 0, 0], [11, 0, 0]]


def test_rows_as_the_tensors_of_a_signature(tmp_path: Path) -> None:
    by_dtype = {
        number("temp"): tf.float32,
        number("stops", is_whole=True): tf.int64,
        number("seats", is_whole=True): tf.float64,
        category("carrier"): tf.string,
        category("flight", is_whole=True): tf.int64,
        category("cabin", is_whole=True): tf.float64,
        time("departure"): tf.int64,
    }
    features = tuple(by_dtype)
    dtypes = {each.name: dtype for each, dtype in by_dtype.items()}
    module = tf.Module()
    module.same = tf.function(lambda **inputs: dict(inputs))
    specs = {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in dtypes.items()}
    signatures = {"serving_default": module.same.get_concrete_function(**specs)}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    rows = watched_rows(
        {
            "temp": [1.5, None],
            "stops": [2, None],
            "seats": [189, None],
            "carrier": [b"\xff", None],
            "flight": [2**60 + 1, None],
            "cabin": [-7, None],
            "departure": [-1, 1_388_966_400],
        },
        features,
    )
    model = SessionModel(str(tmp_path))
    try:
        inputs = raw_inputs(model, rows, features)
        answered = model.run("serving_default", inputs)
    finally:
        model.close()
    expected = {
        "temp": [1.5, np.nan],
        "stops": [2, 0],
        "seats": [189, np.nan],
        "carrier": [b"\xff", b""],
        "flight": [2**60 + 1, 0],
        "cabin": [-7, np.nan],
        "departure": [-1, 1_388_966_400],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(inputs[name], np.array(values, dtypes[name].as_numpy_dtype))
        np.testing.assert_array_equal(answered[name], inputs[name])
