"""Our bounds become TFMA's thresholds; TFMA's own results become findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from google.protobuf import text_format

from models.config import LabelConfig
from pipeline.gates.config import QualityBound
from pipeline.gates.quality import eval_config, quality_findings
from pipeline.gates.verdict import Outcome

LABEL = LabelConfig(name="late")


def bound(**values) -> QualityBound:
    return QualityBound(metric="auc", **values)


def test_bounds_become_thresholds() -> None:
    config = eval_config(LABEL, [bound(at_least=0.7), bound(not_worse_by=0.01), bound(at_least=0.6, slice="origin")])
    text = text_format.MessageToString(config)
    [auc] = [each for each in config.metrics_specs[0].metrics if each.class_name == "AUC"]
    assert not auc.HasField("threshold")  # it would hold each slice to the bound of all examples
    of = {tuple(each.slicing_specs[0].feature_keys): each.threshold for each in auc.per_slice_thresholds}
    assert of[()].value_threshold.lower_bound.value == 0.7
    assert of[()].change_threshold.absolute.value == -0.01
    assert of["origin",].value_threshold.lower_bound.value == 0.6
    assert 'signature_name: "serve_examples"' in text
    assert [list(each.feature_keys) for each in config.slicing_specs] == [[], ["origin"]]


def test_lower_is_better_turns_the_change_threshold() -> None:
    config = eval_config(LABEL, [QualityBound(metric="log_loss", not_worse_by=0.02)])
    [loss] = [each for each in config.metrics_specs[0].metrics if each.class_name == "BinaryCrossEntropy"]
    assert loss.per_slice_thresholds[0].threshold.change_threshold.absolute.value == 0.02


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real evaluation of given predictions: JFK is ranked perfectly, EWR backwards."""
    folder = tmp_path_factory.mktemp("evaluation")
    rows = pd.DataFrame(
        {
            "late": [0, 1, 0, 1] * 50,
            "prediction": [0.1, 0.9, 0.8, 0.3] * 50,
            "origin": ["JFK", "JFK", "EWR", "EWR"] * 50,
        }
    )
    config = eval_config(LABEL, [bound(at_least=0.7), bound(at_least=0.6, slice="origin")])
    del config.model_specs[1]
    config.model_specs[0].signature_name = ""
    config.model_specs[0].prediction_key = "prediction"
    tfma.analyze_raw_data(rows, config, output_path=str(folder))
    assert Path(folder, "validations.tfrecord").exists() or list(folder.glob("validations*"))
    return str(folder)


def test_each_slice_is_judged(evaluation: str) -> None:
    findings, note = quality_findings(evaluation, [bound(at_least=0.7), bound(at_least=0.6, slice="origin")])
    outcomes = {each.where: each.outcome for each in findings}
    assert outcomes == {
        "all examples": Outcome.PASSED,
        "origin=EWR": Outcome.FAILED,
        "origin=JFK": Outcome.PASSED,
    }
    values = {each.where: float(each.value) for each in findings}
    np.testing.assert_allclose(values["origin=JFK"], 1.0, atol=1e-3)
    np.testing.assert_allclose(values["origin=EWR"], 0.0, atol=1e-3)
    assert "no blessed model yet" in note


def test_a_refusal_that_no_bound_explains_is_still_told(evaluation: str) -> None:
    findings, _ = quality_findings(evaluation, [bound(at_least=0.1)])
    assert Outcome.FAILED in {each.outcome for each in findings}


def test_first_run_says_which_bounds_wait_for_a_baseline(evaluation: str) -> None:
    findings, note = quality_findings(evaluation, [bound(not_worse_by=0.01)])
    assert "1 bound(s) wait for a baseline" in note
    assert all(each.baseline == "-" for each in findings)
