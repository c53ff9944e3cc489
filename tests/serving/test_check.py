"""The check that a model answers in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.check import Measures, answer, main, measure
from serving.records import read_records
from serving.session_model import SessionModel

REPOSITORY = Path(__file__).parents[2]
BALLAST_MIB = 1536
"""More than the checked process needs."""


def request_of(signature, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "candidate"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


REQUESTS = [
    request_of("serving_default", x=np.array([1, 2, 5], np.float32)),
    request_of("greet", name=[b"Ada", b"\xff"], age=np.array([36, 7], np.int64)),
    request_of("serving_default", x=np.array([-4], np.float32)),
]


def write_requests(path, requests):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(request.SerializeToString())


def read_answers(path):
    return [predict_pb2.PredictResponse.FromString(record) for record in read_records(str(path))]


def assert_right(answers):
    """The answers to REQUESTS, known by heart."""
    outputs = [{name: tf.make_ndarray(value).tolist() for name, value in each.outputs.items()} for each in answers]
    assert outputs == [
        {"y": [2.5, 3.0, 4.5]},
        {"greeting": [b"Ada is 36", b"\xff is 7"], "next_age": [37, 8]},
        {"y": [0.0]},
    ]
    assert [each.model_spec.signature_name for each in answers] == ["serving_default", "greet", "serving_default"]
    assert {each.model_spec.name for each in answers} == {"candidate"}


class TestProcess:
    @pytest.fixture(scope="class")
    def checks(self, half_plus_two, tmp_path_factory):
        """Ended processes by name, each with the path of its answers, started by a process with a large memory."""
        folder = tmp_path_factory.mktemp("checks")
        cases = {
            "good": (half_plus_two, REQUESTS),
            "unknown signature": (half_plus_two, [*REQUESTS, request_of("classify", x=np.zeros(1, np.float32))]),
        }
        ballast = np.ones(BALLAST_MIB << 17)  # 8 bytes each
        started = {}
        for name, (model, requests) in cases.items():
            write_requests(folder / f"{name}.requests", requests)
            arguments = [model, str(folder / f"{name}.requests"), str(folder / f"{name}.answers")]
            started[name] = subprocess.Popen(
                [sys.executable, "-m", "serving.check", *arguments],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert ballast[-1] == 1
        del ballast
        ended = {}
        try:
            for name, process in started.items():
                _, stderr = process.communicate(timeout=120)
                ended[name] = (process.returncode, folder / f"{name}.answers", stderr)
        finally:
            for process in started.values():
                process.kill()
        return ended

    def test_a_good_model_answers_every_request_in_order(self, checks):
        code, answers, stderr = checks["good"]
        assert code == 0, stderr
        assert_right(read_answers(answers))

    def test_the_times_and_the_memory_are_written_beside_the_answers(self, checks):
        _, answers, _ = checks["good"]
        measures = Measures.model_validate_json(Path(f"{answers}.json").read_text())
        assert 0 < measures.load_seconds < 60
        assert 0 < measures.request_milliseconds < 1000
        assert measures.memory_mib > 50

    def test_the_memory_is_that_of_the_process_and_not_of_the_one_that_started_it(self, checks):
        _, answers, _ = checks["good"]
        assert json.loads(Path(f"{answers}.json").read_text())["memory_mib"] < BALLAST_MIB

    def test_a_model_that_cannot_answer_ends_with_an_error_and_without_measures(self, checks):
        code, answers, stderr = checks["unknown signature"]
        assert code != 0
        assert not Path(f"{answers}.json").exists()
        assert "classify" in stderr


def test_a_folder_without_a_model_cannot_be_checked(tmp_path):
    write_requests(tmp_path / "requests", REQUESTS)
    with pytest.raises(OSError, match="SavedModel"):
        main([str(tmp_path), str(tmp_path / "requests"), str(tmp_path / "answers")])
    assert not (tmp_path / "answers.json").exists()


def test_measuring_answers_each_request_once(half_plus_two, tmp_path):
    measures = measure(half_plus_two, REQUESTS, str(tmp_path / "answers"))
    assert_right(read_answers(tmp_path / "answers"))
    assert measures.load_seconds > 0


def test_a_request_whose_inputs_are_not_the_signatures_is_refused(half_plus_two):
    model = SessionModel(half_plus_two)
    with pytest.raises(ValueError, match="expected the inputs"):
        answer(model, request_of("serving_default", z=np.zeros(1, np.float32)))
    model.close()


def test_records_are_read_in_order(tmp_path):
    write_requests(tmp_path / "requests", REQUESTS)
    assert [predict_pb2.PredictRequest.FromString(record) for record in read_records(str(tmp_path / "requests"))] == (
        REQUESTS
    )
