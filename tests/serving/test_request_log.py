"""The request log: files that are whole, a queue that is bounded, and errors that harm nobody but the log."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from serving import request_log
from serving.config import RequestLogConfig
from serving.request_log import PART, SUFFIX, Fate, RequestLog, log_metadata, prediction_log


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "logs" / "requests"


@pytest.fixture
def fates():
    return Counter()


@pytest.fixture
def start(folder, fates):
    """Starts logs in the folder, and ends them."""
    opened = []

    def act(name="m", **options):
        config = RequestLogConfig(path=str(folder), **options)
        opened.append(RequestLog(config, name, lambda fate: fates.update([fate])))
        return opened[-1]

    yield act
    for each in opened:
        if each._thread.is_alive():
            each.close()


def written(folder: Path, pattern="*"):
    """The records of all whole files, in order of the files' names."""
    return [
        record
        for path in sorted(folder.glob(f"{pattern}{SUFFIX}"))
        for record in tf.compat.v1.io.tf_record_iterator(str(path))
    ]


def eventually(is_so, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_everything_that_was_offered_is_written_by_the_end(start, folder, fates):
    log = start()
    for number in range(1000):
        log.offer(lambda number=number: f"record {number}".encode())
    log.close()
    assert written(folder) == [f"record {number}".encode() for number in range(1000)]
    assert fates == {Fate.LOGGED: 1000}


def test_a_files_name_tells_where_it_comes_from(start, folder):
    log = start("flights")
    log.offer(lambda: b"x")
    log.close()
    (path,) = folder.iterdir()
    assert path.name.startswith(f"flights-{socket.gethostname()}-")
    assert path.suffix == SUFFIX


def test_a_file_has_another_name_until_it_is_whole(start, folder):
    log = start()
    log.offer(lambda: b"x")
    eventually(lambda: folder.is_dir() and list(folder.iterdir()))
    (path,) = folder.iterdir()
    assert path.name.endswith(f"{SUFFIX}{PART}")
    log.close()
    assert [each.name for each in folder.iterdir()] == [path.name.removesuffix(PART)]


def test_without_requests_there_is_no_file(start, folder):
    start().close()
    assert not folder.exists()


def test_a_file_ends_at_its_size(start, folder):
    log = start(rotate_mib=0.01)
    for number in range(30):
        log.offer(lambda number=number: bytes([number]) * 2000)
    log.close()
    paths = sorted(folder.iterdir())
    assert len(paths) == 5
    assert all(path.stat().st_size < 0.01 * 2**20 + 2100 for path in paths)
    assert written(folder) == [bytes([number]) * 2000 for number in range(30)]


def test_a_file_ends_at_its_age_even_if_no_more_requests_come(start, folder, monkeypatch):
    monkeypatch.setattr(request_log, "_FLUSH_SECONDS", 0.02)
    log = start(rotate_seconds=0.1)
    log.offer(lambda: b"one")
    eventually(lambda: written(folder) == [b"one"])
    log.offer(lambda: b"two")
    eventually(lambda: len(written(folder)) == 2)
    log.close()
    assert len(list(folder.iterdir())) == 2


def test_what_was_written_outlives_a_crash(start, folder, monkeypatch):
    monkeypatch.setattr(request_log, "_FLUSH_SECONDS", 0.02)
    log = start()
    log.offer(lambda: b"x")
    eventually(lambda: [path for path in folder.glob("*") if path.stat().st_size > 0])
    (path,) = folder.glob(f"*{PART}")
    assert list(tf.compat.v1.io.tf_record_iterator(str(path))) == [b"x"]


def test_two_logs_after_one_another_do_not_overwrite_one_another(start, folder):
    """As when a reload changes a model's sampling rate twice in a second."""
    for number in range(3):
        log = start()
        log.offer(lambda number=number: bytes([number]))
        log.close()
    assert sorted(written(folder)) == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("name", ["team/model", "..", "a b", "模型", "x" * 500])
def test_any_model_name_can_be_logged(start, folder, fates, name):
    log = start(name)
    log.offer(lambda: b"x")
    log.close()
    assert written(folder) == [b"x"]
    assert fates == {Fate.LOGGED: 1}


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0, 0), (0.1, 800, 1200), (1.0, 10_000, 10_000)])
def test_sampling(start, rate, least, most):
    log = start(sampling_rate=rate)
    assert log.sampling_rate == rate
    assert least <= sum(log.samples() for _ in range(10_000)) <= most


def test_a_full_queue_drops_and_does_not_delay(start, folder, fates):
    log, gate = start(), threading.Event()
    log.offer(lambda: gate.wait() and b"first")
    began = time.monotonic()
    for _ in range(10_000):
        log.offer(lambda: b"next")
    assert time.monotonic() - began < 1.0
    gate.set()
    log.close()
    assert fates[Fate.DROPPED] > 5000
    assert fates[Fate.LOGGED] == 10_001 - fates[Fate.DROPPED] == len(written(folder))


def test_a_folder_that_cannot_be_written_is_counted_and_tried_again(start, folder, fates, monkeypatch, caplog):
    monkeypatch.setattr(request_log, "_RETRY_SECONDS", 0.2)
    folder.parent.mkdir()
    folder.write_text("a file, where the folder should be")
    log = start()
    for _ in range(3):
        log.offer(lambda: b"lost")
    eventually(lambda: fates == {Fate.FAILED: 3})
    assert caplog.text.count("The request log cannot be written") == 1
    folder.unlink()
    time.sleep(0.25)
    log.offer(lambda: b"kept")
    log.close()
    assert written(folder) == [b"kept"]
    assert fates == {Fate.FAILED: 3, Fate.LOGGED: 1}


def test_a_full_disk_keeps_what_is_whole_and_recovers(start, folder, fates, monkeypatch):
    monkeypatch.setattr(request_log, "_RETRY_SECONDS", 0.2)
    monkeypatch.setattr(request_log, "_FLUSH_SECONDS", 0.02)
    log, record = start(), b"r" * 100_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (450_000, hard))
    try:
        for _ in range(10):
            log.offer(lambda: record)
            time.sleep(0.03)
        eventually(lambda: fates[Fate.FAILED] > 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    time.sleep(0.25)
    log.offer(lambda: b"after")
    log.close()
    assert written(folder)[-1] == b"after"
    whole = 0
    for path in folder.glob(f"*{PART}"):
        with contextlib.suppress(tf.errors.DataLossError):  # the last record is torn
            for read in tf.compat.v1.io.tf_record_iterator(str(path)):
                assert read == record
                whole += 1
    assert whole >= 4


def test_a_record_that_cannot_be_made_fails_alone(start, folder, fates):
    """It is not the disk's fault: the file goes on."""

    def fail():
        raise ValueError("no such message")

    log = start()
    log.offer(lambda: b"before")
    log.offer(fail)
    log.offer(lambda: b"after")
    log.close()
    assert written(folder) == [b"before", b"after"]
    assert fates == {Fate.LOGGED: 2, Fate.FAILED: 1}


@pytest.mark.parametrize(
    ("kind", "request_", "response"),
    [
        ("predict_log", predict_pb2.PredictRequest, predict_pb2.PredictResponse),
        ("classify_log", classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
        ("regress_log", regression_pb2.RegressionRequest, regression_pb2.RegressionResponse),
        ("multi_inference_log", inference_pb2.MultiInferenceRequest, inference_pb2.MultiInferenceResponse),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 100, 200, 20_000, 3_000_000])
def test_a_prediction_log_around_serialized_messages(kind, request_, response, size):
    asked, answered = request_(), response()
    if kind == "multi_inference_log":
        asked.tasks.add().model_spec.name = "m" * size
        answered.results.add().model_spec.name = "n" * size
    else:
        asked.model_spec.name, answered.model_spec.name = "m" * size, "n" * size
    raw = prediction_log(
        kind, log_metadata("m", 3, "serve", 0.25, time.time()), asked.SerializeToString(), answered.SerializeToString()
    )
    read = prediction_log_pb2.PredictionLog.FromString(raw)
    assert read.WhichOneof("log_type") == kind
    assert getattr(read, kind).request == asked
    assert getattr(read, kind).response == answered
    metadata = read.log_metadata
    assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("m", 3)
    assert metadata.model_spec.signature_name == "serve"
    assert metadata.sampling_config.sampling_rate == 0.25
    assert abs(metadata.timestamp_secs - time.time()) < 10


def test_a_version_below_zero_in_the_metadata():
    raw = prediction_log("predict_log", log_metadata("m", -7, "", 1.0, time.time()), b"", b"")
    assert prediction_log_pb2.PredictionLog.FromString(raw).log_metadata.model_spec.version.value == -7
