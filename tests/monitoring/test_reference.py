from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from memory_places import new_place
from watched import FLIGHTS, flights, profile_of

from monitoring.quality import BinaryCounts, RegressionCounts
from monitoring.reference import Reference
from monitoring.slicing import ALL_EXAMPLES
from schema.errors import DataError


def reference_of(task: str = "binary") -> Reference:
    random = np.random.default_rng(0)
    profile = profile_of(FLIGHTS, {span: flights(random, 300) for span in (1, 2)})
    scores = random.random(300)
    labels = (random.random(300) < scores).astype(float)
    kind = BinaryCounts if task == "binary" else RegressionCounts
    quality = {ALL_EXAMPLES: kind.of(scores, labels), "carrier=�": kind.of(scores[:9], labels[:9])}
    return Reference(task, "late", profile, quality, {"temp": 0.75, "carrier": 0.25})


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_it_travels_as_files(tmp_path: Path, task: str) -> None:
    reference = reference_of(task)
    reference.save(tmp_path / "reference")
    copy = Reference.load(tmp_path / "reference")
    assert (copy.task, copy.label, copy.importances) == (task, "late", reference.importances)
    assert copy.profile.bins == reference.profile.bins
    assert copy.counts_type is reference.counts_type is type(reference.quality[ALL_EXAMPLES])
    for name, counts in reference.quality.items():
        for key, value in vars(counts).items():
            np.testing.assert_equal(vars(copy.quality[name])[key], value)


def test_only_labelled_answers_of_a_binary_task_are_calibrated() -> None:
    found = reference_of().calibration()
    assert found is not None
    assert sum(found.rows) == 300
    assert reference_of("regression").calibration() is None
    unlabelled = {ALL_EXAMPLES: BinaryCounts.of(np.full(5, 0.5), np.full(5, np.nan))}
    assert Reference("binary", "late", reference_of().profile, unlabelled).calibration() is None


@pytest.mark.parametrize("name", ["profile.json", "counts.npz", "quality.json"])
def test_a_version_without_a_reference_says_how_to_get_one(tmp_path: Path, name: str) -> None:
    reference_of().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match="no reference") as refused:
        Reference.load(tmp_path)
    assert "Run the pipeline again" in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("name", ["profile.json", "counts.npz", "quality.json"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95])
def test_one_that_is_cut_off_is_told(tmp_path: Path, name: str, kept: float) -> None:
    reference_of().save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match="cannot be read"):
        Reference.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("quality", None), ("quality", [1]), ("quality", {"all examples": {"rows": 1}}), ("quality", {"all examples": 3})],
)
def test_one_of_another_form_is_told(tmp_path: Path, field: str, value: object) -> None:
    reference_of().save(tmp_path)
    described = json.loads((tmp_path / "quality.json").read_text())
    (tmp_path / "quality.json").write_text(json.dumps({**described, field: value}))
    with pytest.raises(DataError, match="cannot be read"):
        Reference.load(tmp_path)


def test_scores_in_other_bins_are_refused(tmp_path: Path) -> None:
    reference_of().save(tmp_path)
    described = json.loads((tmp_path / "quality.json").read_text())
    described["quality"][ALL_EXAMPLES]["positives"].pop()
    (tmp_path / "quality.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match="other bins"):
        Reference.load(tmp_path)


def test_it_is_the_same_in_an_object_store() -> None:
    reference, place = reference_of(), new_place()
    reference.save(place)
    found = Reference.load(place)
    assert found.quality.keys() == reference.quality.keys()
    assert all((found.profile.counts[key] == counts).all() for key, counts in reference.profile.counts.items())
    (place / "counts.npz").unlink()
    with pytest.raises(DataError, match="no reference"):
        Reference.load(place)
