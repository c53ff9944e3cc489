"""Loads a model in a process of its own and answers recorded requests: what the infra check runs.

    python -m serving.check MODEL REQUESTS ANSWERS

REQUESTS is a TFRecord of `PredictRequest` protos; ANSWERS becomes a TFRecord of `PredictResponse` protos, in the
same order, and `ANSWERS.json` the times and the memory. The process exits with 0 if every request was answered. It
begins at the end of its standard input, so that whoever started it may do its own part first. Other processes may
compute meanwhile: a request's time is the shortest of some rounds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import tensorflow as tf
from pydantic import NonNegativeFloat
from tensorflow_serving.apis import predict_pb2

from schema.strict import Strict
from serving.records import read_records
from serving.session_model import SessionModel

_ROUNDS = 5


class Measures(Strict):
    """What answering took."""

    load_seconds: NonNegativeFloat
    """From the start of loading to the first answer."""
    request_milliseconds: NonNegativeFloat
    """Median over the requests, each the fastest of some rounds after the first of its signature."""
    memory_mib: NonNegativeFloat
    """Peak resident memory of the process."""


def answer(model: SessionModel, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
    """Runs one request through the model."""
    inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
    response = predict_pb2.PredictResponse(model_spec=request.model_spec)
    for name, value in model.run(request.model_spec.signature_name, inputs).items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
    return response


def measure(model_path: str, requests: list[predict_pb2.PredictRequest], answers_path: str) -> Measures:
    """Loads, answers each request, and times more rounds."""
    start = time.monotonic()
    model = SessionModel(model_path)
    answers = [answer(model, requests[0])]
    loaded = time.monotonic() - start
    answers += [answer(model, request) for request in requests[1:]]
    with tf.io.TFRecordWriter(answers_path) as writer:
        for response in answers:
            writer.write(response.SerializeToString())
    times = sorted(min(_seconds(model, request) for _ in range(_ROUNDS)) for request in requests)
    return Measures(
        load_seconds=loaded,
        request_milliseconds=1000 * times[len(times) // 2],
        memory_mib=peak_memory_mib(os.getpid()),
    )


def peak_memory_mib(pid: int) -> float:
    """Peak resident memory of a process, 0 if it has ended.

    From /proc: `getrusage` carries the peak of the process that started this one across exec.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def _seconds(model: SessionModel, request: predict_pb2.PredictRequest) -> float:
    start = time.monotonic()
    answer(model, request)
    return time.monotonic() - start


def main(arguments: list[str]) -> None:
    """See the module."""
    model_path, requests_path, answers_path = arguments
    requests = [predict_pb2.PredictRequest.FromString(record) for record in read_records(requests_path)]
    measures = measure(model_path, requests, answers_path)
    Path(f"{answers_path}.json").write_text(json.dumps(measures.model_dump()), encoding="utf-8")


def be_process() -> NoReturn:
    """What the whole process does."""
    sys.stdin.read()
    main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is written, and TensorFlow takes half a second to put itself away


if __name__ == "__main__":
    be_process()
