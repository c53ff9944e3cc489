"""The infra gate's evidence, of a model that is not on this machine's disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from memory_places import new_place, remote
from small_artifacts import SmallModel
from tensorflow_serving.apis import predict_pb2

from pipeline.gates.config import InfraGateConfig
from pipeline.gates.infra import REQUESTS_FILE, check_model, load_report, save_report
from pipeline.gates.verdict import Outcome


def request(signature: str = "serving_default") -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.signature_name = signature
    columns = {"miles": np.float32([500]), "carrier": np.array([b"UA"], object)}
    for name, value in {**columns, "flight": np.float64([7]), "departure": np.float64([0])}.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


@pytest.fixture
def model(tmp_path: Path):
    SmallModel().save(tmp_path / "model")
    return remote(tmp_path / "model")


def test_a_model_in_an_object_store_is_asked(model) -> None:
    folder = new_place()
    findings = check_model(model, [request()], lambda: np.float32([0.5]), InfraGateConfig(), folder)
    assert {finding.outcome for finding in findings} == {Outcome.PASSED}
    assert {path.name for path in folder.iterdir()} >= {REQUESTS_FILE, "process.log"}
    save_report(findings, folder)
    assert load_report(folder) == findings


def test_the_log_of_a_process_that_failed_is_where_its_finding_says(model) -> None:
    folder = new_place()
    [finding] = check_model(model, [request("clasify")], lambda: np.float32([0.5]), InfraGateConfig(), folder)
    assert (finding.outcome, finding.check) == (Outcome.FAILED, "loads and answers")
    assert str(folder / "process.log") in finding.mend
    assert "clasify" in (folder / "process.log").read_text()
