"""ReferenceGen: what a version will be compared with, from its own window and its own answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import watched
from columns_of_shards import write_columns
from small_artifacts import SmallModel, artifact_at, execute, write_examples
from small_reference import FEATURES, LABEL, answers_of, flights_of, rows_of
from tfx.types.standard_artifacts import Model

from monitoring.bins import MISSING
from monitoring.quality import metrics
from monitoring.reference import PREDICTIONS, Reference
from monitoring.slicing import ALL_EXAMPLES
from pipeline.components.artifacts import ExampleProfile, ModelReference
from pipeline.components.reference_gen import ReferenceGenExecutor

SPANS = {span: flights_of(span, 800) for span in (1, 2, 3)}


@pytest.fixture(scope="module", params=["examples", "columns"])
def made(request, tmp_path_factory) -> Reference:
    folder: Path = tmp_path_factory.mktemp("reference_gen")
    SmallModel().save(folder / "model" / "Format-Serving")
    profile = watched.profile_of((*FEATURES, LABEL), {span: rows_of(table) for span, table in SPANS.items()})
    profile.save(folder / "profile")
    inputs = {
        "examples": write_examples(folder / "examples", SPANS),
        "model": artifact_at(Model, folder / "model"),
        "profile": artifact_at(ExampleProfile, folder / "profile"),
    }
    if request.param == "columns":
        for shard in (folder / "examples" / "Split-train").iterdir():
            write_columns(shard)
            shard.write_bytes(b"nobody reads this")
    properties = {"label": '{"name": "late", "task": "binary"}', "slices": json.dumps(["carrier"])}
    outputs = {"reference": artifact_at(ModelReference, folder / "reference")}
    execute(ReferenceGenExecutor, folder, inputs, outputs, properties)
    return Reference.load(folder / "reference")


def test_quality_is_that_of_the_evaluation_span(made: Reference) -> None:
    assert (made.task, made.label) == ("binary", "late")
    assert set(made.quality) == {ALL_EXAMPLES, "carrier=AA", "carrier=DL", "carrier=UA"}
    scores, labels = answers_of(SPANS[3]), SPANS[3]["late"].to_numpy().astype(np.float64)
    expected = {each.metric: each for each in metrics(made.counts_type.of(scores, labels))}
    for found in metrics(made.quality[ALL_EXAMPLES]):
        assert found.rows == 800
        assert found.value == pytest.approx(expected[found.metric].value, abs=1e-4)
    assert made.calibration() is not None


def test_importances_are_of_what_the_model_reads(made: Reference) -> None:
    assert sum(made.importances.values()) == pytest.approx(1)
    assert set(made.importances) == {each.name for each in FEATURES}
    assert made.importances["flight"] == made.importances["departure"] == 0
    assert min(made.importances["miles"], made.importances["carrier"]) > 0.1


def test_answers_are_counted_block_by_block(made: Reference) -> None:
    [key] = [key for key in made.profile.bins if key[0] == PREDICTIONS]
    counts, bins = made.profile.counts[key], made.profile.bins[key]
    assert len(counts) == len(made.profile.spans)
    assert counts.sum() == 3 * (3 * 64 + 8)  # every fourth row of each span: three whole blocks, and one of 32 rows
    assert counts[:, bins.labels.index(MISSING)].sum() == 0


def test_the_profile_is_taken_over(made: Reference) -> None:
    assert made.profile.rows == 2400
    assert made.profile.newest_span == 3
    assert made.profile.features == (*FEATURES, LABEL)
