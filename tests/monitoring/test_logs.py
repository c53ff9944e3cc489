"""Reading the request log: every kind of call, every kind of damage, and nothing lost or counted twice."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from memory_places import remote
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from models.features import Feature, Role
from monitoring.logs import LogFile, find_logs, read_requests
from monitoring.problems import Problems
from schema.errors import DataError
from serving.client.log import ClientLog
from serving.client.transport import Reply, Target
from serving.config import RequestLogConfig
from serving.request_log import RequestLog, log_metadata, prediction_log

NOON = 1_370_000_000
FEATURES = [
    Feature("miles", Role.NUMERIC, schema_pb2.FLOAT, True),
    Feature("carrier", Role.VOCABULARY, schema_pb2.BYTES, True),
    Feature("flight", Role.VOCABULARY, schema_pb2.INT, False),
]


def tensors(named):
    """Arrays as TensorProtos; what is a proto already stays."""
    return {
        name: value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        for name, value in named.items()
    }


def predicted(inputs, outputs=None, seconds=NOON, version=3, model="m", signature="serving_default"):
    request, response = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
    for messages, named in ((request.inputs, inputs), (response.outputs, outputs or {})):
        for name, tensor in tensors(named).items():
            messages[name].CopyFrom(tensor)
    metadata = log_metadata(model, version, signature, 1.0, seconds)
    return prediction_log("predict_log", metadata, request.SerializeToString(), response.SerializeToString())


def one(miles=1.0, score=0.5, **options):
    """A request of one row."""
    inputs = {"miles": np.float32([miles]), "carrier": [b"UA"], "flight": np.float64([7])}
    return predicted(inputs, {"probability": np.float32([score])}, **options)


def example(**named):
    made = tf.train.Example()
    for name, value in named.items():
        for each in value if isinstance(value, list) else [value]:
            feature = made.features.feature[name]
            if isinstance(each, bytes):
                feature.bytes_list.value.append(each)
            elif isinstance(each, float):
                feature.float_list.value.append(each)
            else:
                feature.int64_list.value.append(each)
    return made


def logged(kind, request, response=None, seconds=NOON, version=3):
    raw = response.SerializeToString() if response else b""
    return prediction_log(kind, log_metadata("m", version, "s", 1.0, seconds), request.SerializeToString(), raw)


@pytest.fixture
def write(tmp_path):
    """Writes records as a log file."""

    def act(*records, name="m-host-1-20130601T000000Z-000001.tfrecord", is_open=False):
        path = tmp_path / (f"{name}.part" if is_open else name)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        return LogFile(tmp_path / name, "m", is_open)

    return act


@pytest.fixture
def problems():
    return Problems()


def rows_of(file, problems=None, features=FEATURES, **options):
    """All rows as tuples, with their scores; no problem may be met unless one is counted."""
    found = Problems() if problems is None else problems
    rows = []
    for batch in read_requests(file, features, found, **options):
        columns = [column.to_pylist() for column in batch.features.columns]
        assert batch.features.schema.names == [feature.name for feature in features]
        assert len(batch.scores) == len(batch.seconds) == len(batch.versions) == batch.features.num_rows
        rows += zip(*columns, batch.scores.tolist(), strict=True)
    assert problems is not None or not found.found()
    return rows


def told(problems):
    return {problem.what: problem.count for problem in problems.found()}


# Which files


def test_files_of_a_real_log_are_found_and_read(tmp_path):
    log = RequestLog(RequestLogConfig(path=str(tmp_path / "log"), rotate_mib=0.0005), "m")
    for number in range(20):
        log.offer(lambda number=number: one(miles=number))
    log.close()
    files = find_logs(str(tmp_path / "log"), "m")
    assert len(files) > 3
    assert not any(file.is_open for file in files)
    assert [row[0] for file in files for row in rows_of(file)] == list(range(20))


def test_without_a_folder_there_are_no_files(tmp_path):
    assert find_logs(str(tmp_path / "none"), "m") == []


def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be listed"):
        find_logs(str(tmp_path / "file"), "m")


def test_files_are_sorted_by_time_and_others_are_passed_over(tmp_path):
    ours = [
        "m-z-9-20130101T000000Z-000009.tfrecord",
        "m-a-1-20130102T000000Z-000001.tfrecord",
        "m-a-1-20130102T000000Z-000002.tfrecord",
    ]
    for name in [*ours, "other-a-1-20130101T000000Z-000001.tfrecord", "m-notes.txt", "mm-a-1.tfrecord", "m"]:
        (tmp_path / name).touch()
    (tmp_path / "m-folder.tfrecord").mkdir()
    assert [file.path.name for file in find_logs(str(tmp_path), "m")] == ours


@pytest.mark.parametrize("name", ["m.tfrecord", "m-00001-of-00003.tfrecord"])
def test_files_of_other_loggers_are_found(tmp_path, name):
    (tmp_path / name).touch()
    assert find_logs(str(tmp_path), "m") == [LogFile(tmp_path / name, "m")]


@pytest.mark.parametrize("name", ["team/model", "a b", "模型", "x" * 500])
def test_files_of_any_model_are_found(tmp_path, name):
    log = RequestLog(RequestLogConfig(path=str(tmp_path)), name)
    log.offer(lambda: one(model=name))
    log.close()
    (file,) = find_logs(str(tmp_path), name)
    assert len(rows_of(file)) == 1


def test_a_file_in_both_of_its_names_is_one(write, tmp_path):
    write(one(), one(), is_open=True)
    write(one(), one(), one())
    (file,) = find_logs(str(tmp_path), "m")
    assert not file.is_open
    assert len(rows_of(file)) == 3


def test_a_file_that_is_finished_after_it_was_listed_is_read(write, tmp_path):
    write(one(), is_open=True)
    (file,) = find_logs(str(tmp_path), "m")
    assert file.is_open
    Path(f"{file.path}.part").rename(file.path)
    assert len(rows_of(file)) == 1
    assert [each.path for each in find_logs(str(tmp_path), "m")] == [file.path]


def test_a_file_that_is_finished_while_it_is_read_is_read_once(write, problems):
    file = write(*(one(miles=number) for number in range(10)), is_open=True)
    batches = read_requests(file, FEATURES, problems, batch_rows=2)
    rows = next(batches).features.num_rows
    Path(f"{file.path}.part").rename(file.path)
    assert rows + sum(batch.features.num_rows for batch in batches) == 10
    assert not problems.found()


def test_a_file_that_vanished_is_counted(write, problems):
    file = write(one())
    file.path.unlink()
    assert rows_of(file, problems) == []
    assert told(problems) == {"a log file that vanished": 1}


def test_a_file_that_cannot_be_opened_is_counted(tmp_path, problems):
    (tmp_path / "m-1.tfrecord").mkdir()
    assert rows_of(LogFile(tmp_path / "m-1.tfrecord", "m"), problems) == []
    assert told(problems) == {"a log file that cannot be read": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_counted(write, problems):
    file = write(one())
    file.path.chmod(0)
    assert rows_of(file, problems) == []
    assert "Permission denied" in problems.found()[0].where


def test_a_model_whose_name_begins_another_models_name(write, tmp_path):
    write(one(), name="m-a-1-20130601T000000Z-000001.tfrecord")
    write(one(model="m-b"), one(model="m-b"), name="m-b-a-1-20130601T000000Z-000001.tfrecord")
    assert [len(rows_of(file)) for file in find_logs(str(tmp_path), "m")] == [1, 0]
    assert [len(rows_of(file)) for file in find_logs(str(tmp_path), "m-b")] == [2]


# In an object store


def test_a_log_in_an_object_store(write, tmp_path):
    whole = write(one(1.0), one(2.0), name="m-a-1-20130601T000000Z-000001.tfrecord")
    write(one(3.0), is_open=True, name="m-a-1-20130602T000000Z-000002.tfrecord")
    write(one(9.0), name="other-a-1-20130602T000000Z-000003.tfrecord")
    (tmp_path / "m-folder.tfrecord").mkdir()
    (tmp_path / "m-folder.tfrecord" / "file").write_text("keeps the folder")
    place = remote(tmp_path)
    first, second = find_logs(str(place), "m")
    assert (first.is_open, second.is_open) == (False, True)
    assert first.bytes == whole.path.stat().st_size
    assert [row[0] for row in rows_of(first)] == [1.0, 2.0]
    assert [row[0] for row in rows_of(second)] == [3.0]
    part = second.path.with_name(f"{second.path.name}.part")
    part.rename(second.path)
    assert [row[0] for row in rows_of(second)] == [3.0]
    assert find_logs(f"{place}/none", "m") == []


@pytest.mark.parametrize("is_open", [True, False])
def test_a_file_of_an_object_store_that_is_cut_off(write, tmp_path, problems, is_open):
    path = Path(f"{write(one(1.0), one(2.0), is_open=is_open).path}{'.part' if is_open else ''}")
    path.write_bytes(path.read_bytes()[:-5])
    (file,) = find_logs(str(remote(tmp_path)), "m")
    assert sum(batch.features.num_rows for batch in read_requests(file, FEATURES, problems)) == 1
    assert [problem.what for problem in problems.found()] == ([] if is_open else ["a log file that is cut off"])


def test_an_object_store_that_cannot_be_listed_is_told():
    with pytest.raises(DataError, match="cannot be listed"):
        find_logs("nosuchstore://bucket/requests", "m")


# Every kind of call


def test_tensors(write):
    inputs = {"miles": np.float32([1.5, np.nan]), "carrier": [b"UA", b""], "flight": np.float64([12, np.nan])}
    file = write(predicted(inputs, {"probability": np.float32([0.25, 0.75])}), one(2.5))
    assert rows_of(file) == [(1.5, b"UA", b"12", 0.25), (None, None, None, 0.75), (2.5, b"UA", b"7", 0.5)]


def test_what_the_client_logs(tmp_path):
    log = ClientLog(RequestLogConfig(path=str(tmp_path)), "m")
    target = Target("m", None, None, "serving_default")
    asked = {"miles": np.float32([1.5]), "carrier": np.array([b"UA"], object), "flight": np.float64([np.nan])}
    log.write("predict", target, asked, Reply({"probability": np.float32([0.25])}, 3), 3)
    classify = Target("m", None, None, "classify")
    classes = {"classes": np.array([[b"0", b"1"]], object), "scores": np.float32([[0.25, 0.75]])}
    log.write("classify", classify, [{"miles": [2.5], "carrier": [b"AA"]}], Reply(classes, 3), 3)
    log.close()
    (file,) = find_logs(str(tmp_path), "m")
    assert rows_of(file) == [(1.5, b"UA", None, 0.25), (2.5, b"AA", None, 0.75)]


def test_times_and_versions(write):
    file = write(one(seconds=NOON, version=3), one(seconds=NOON + 5, version=4), one(seconds=NOON + 6, version=0))
    (batch,) = read_requests(file, FEATURES, Problems())
    assert batch.seconds.tolist() == [NOON, NOON + 5, NOON + 6]
    assert batch.versions.tolist() == [3, 4, 0]
    assert batch.seconds.dtype == batch.versions.dtype == np.int64
    assert batch.scores.dtype == np.float64


@pytest.mark.parametrize("kind", ["predict_log", "classify_log", "regress_log", "multi_inference_log"])
def test_a_version_that_only_the_answer_tells(write, kind):
    raw = prediction_log_pb2.PredictionLog.FromString(one())
    raw.log_metadata.model_spec.ClearField("version")
    call = getattr(raw, kind)
    if kind == "multi_inference_log":
        call.response.results.add().model_spec.version.value = 8
    else:
        call.response.model_spec.version.value = 8
    if kind == "predict_log":
        call.request.inputs["miles"].CopyFrom(tf.make_tensor_proto([1.0]))
    else:
        call.request.input.example_list.examples.add()
    (batch,) = read_requests(write(raw.SerializeToString()), FEATURES, Problems())
    assert batch.versions.tolist() == [8]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "int64", "uint16", "bool", object])
@pytest.mark.parametrize("rows", [1, 3])
def test_every_type_as_content_and_as_values(write, dtype, rows):
    plain = np.array([1, 0, 1][:rows])
    array = plain.astype(str).astype("S").astype(object) if dtype is object else plain.astype(dtype)
    as_values = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    as_values.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    if dtype == "float16":
        as_values.half_val.extend(array.view(np.uint16).tolist())
    else:
        name = {"float32": "float", "float64": "double", "int64": "int64", "bool": "bool", object: "string"}
        getattr(as_values, f"{name.get(dtype, 'int')}_val").extend(array.tolist())
    as_content = tensor_pb2.TensorProto()
    as_content.CopyFrom(as_values)
    if dtype is not object:
        for field, _ in as_values.ListFields():
            if field.name.endswith("_val"):
                as_content.ClearField(field.name)
        as_content.tensor_content = array.tobytes()
    file = write(*(predicted({"miles": tensor, "flight": tensor}) for tensor in (as_values, as_content)))
    expected = [(float(value), b"%d" % value) for value in plain.tolist()]
    assert [(row[0], row[2]) for row in rows_of(file)] == expected * 2


def test_one_value_that_stands_for_all_rows(write):
    tensor = tf.make_tensor_proto(4.5, shape=[3])
    assert len(tensor.float_val) == 1
    assert [row[0] for row in rows_of(write(predicted({"miles": tensor})))] == [4.5] * 3


def test_texts_as_content(write):
    """As TensorFlow packs strings: their lengths, then all of them."""
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\2\1UAB")
    tensor.tensor_shape.dim.add().size = 2
    assert [row[1] for row in rows_of(write(predicted({"carrier": tensor})))] == [b"UA", b"B"]


def test_a_text_as_content_without_a_shape(write):
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=b"\3UA\0")
    tensor.tensor_shape.SetInParent()
    assert [row[1] for row in rows_of(write(predicted({"carrier": tensor})))] == [b"UA\0"]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_shapes_of_one_row(write, shape):
    assert rows_of(write(predicted({"miles": np.full(shape, 2.0, np.float32)})))[0][0] == 2.0


def test_clients_that_send_different_types_and_features(write):
    """Order is kept, whatever a client's types."""
    kinds = [
        lambda n: {"miles": np.float32([n]), "flight": np.int64([n])},
        lambda n: {"miles": np.float64([n, n]), "carrier": [b"UA"] * 2, "flight": np.float64([n, np.nan])},
        lambda n: {"carrier": [b"c%d" % n], "flight": [b"%d" % n]},
        lambda n: {"miles": np.int64([n]), "other": np.float32([n])},
    ]
    file = write(*(predicted(kinds[n % 4](n)) for n in range(40)))
    expected = []
    for n in range(40):
        number = b"%d" % n
        expected += [
            [(n, None, number)],
            [(n, b"UA", number), (n, b"UA", None)],
            [(None, b"c%d" % n, number)],
            [(n, None, None)],
        ][n % 4]
    assert [row[:3] for row in rows_of(file)] == expected
    assert [row[:3] for row in rows_of(file, batch_rows=7)] == expected


EXAMPLES = [example(miles=1.5, carrier=b"UA", flight=12), example(carrier=b""), example()]
EXAMPLE_ROWS = [(1.5, b"UA", b"12"), (None, None, None), (None, None, None)]


def test_serialized_examples(write):
    raw = [each.SerializeToString() for each in EXAMPLES]
    outputs = {"probability": np.float32([0.25, 0.5, 0.75])}
    file = write(predicted({"examples": raw}, outputs, signature="serve_examples"))
    assert rows_of(file) == [(*row, score) for row, score in zip(EXAMPLE_ROWS, [0.25, 0.5, 0.75], strict=True)]


def test_classification(write):
    request, response = classification_pb2.ClassificationRequest(), classification_pb2.ClassificationResponse()
    request.input.example_list.examples.extend(EXAMPLES)
    for labels in (("1", "0"), ("0", "1"), ("no", "yes")):
        row = response.result.classifications.add()
        row.classes.add(label=labels[0], score=0.25)
        row.classes.add(label=labels[1], score=0.75)
    file = write(logged("classify_log", request, response))
    assert [row[:3] for row in rows_of(file)] == EXAMPLE_ROWS
    assert [row[3] for row in rows_of(file)] == [0.25, 0.75, 0.75]


def test_regression(write):
    request, response = regression_pb2.RegressionRequest(), regression_pb2.RegressionResponse()
    request.input.example_list.examples.extend(EXAMPLES)
    for value in (1.0, 2.0, 3.0):
        response.result.regressions.add(value=value)
    assert [row[3] for row in rows_of(write(logged("regress_log", request, response)))] == [1.0, 2.0, 3.0]


def test_multi_inference(write):
    request, response = inference_pb2.MultiInferenceRequest(), inference_pb2.MultiInferenceResponse()
    request.input.example_list.examples.extend(EXAMPLES[:1])
    response.results.add().regression_result.regressions.add(value=9.0)
    row = response.results.add().classification_result.classifications.add()
    row.classes.add(label="1", score=0.25)
    file = write(logged("multi_inference_log", request, response))
    assert rows_of(file) == [(*EXAMPLE_ROWS[0], 0.25)]


def test_a_context_is_part_of_each_example_and_the_example_wins(write):
    request = regression_pb2.RegressionRequest()
    request.input.example_list_with_context.context.CopyFrom(example(carrier=b"UA", flight=1))
    request.input.example_list_with_context.examples.extend([example(flight=2), example(miles=3.0)])
    rows = rows_of(write(logged("regress_log", request)))
    assert [row[:3] for row in rows] == [(None, b"UA", b"2"), (3.0, b"UA", b"1")]


def test_examples_of_clients_that_give_a_feature_different_types(write):
    raw = [example(flight=value).SerializeToString() for value in (1, 2.0, b"3")]
    file = write(*(predicted({"examples": [raw[n % 3]]}) for n in range(9)))
    assert [row[2] for row in rows_of(file)] == [b"1", b"2", b"3"] * 3


@pytest.mark.parametrize(
    ("outputs", "score"),
    [
        ({"prediction": np.float32([4.0])}, 4.0),
        ({"probability": np.float32([[0.5]])}, 0.5),
        ({"anything": np.float64([3.0]), "names": [b"x"]}, 3.0),
        ({"one": np.float32([3.0]), "another": np.float32([3.0])}, None),
        ({"logits": np.float32([[3.0, 4.0]])}, None),
        ({}, None),
    ],
)
def test_which_output_is_the_score(write, outputs, score):
    ((*_, read),) = rows_of(write(predicted({"miles": np.float32([1])}, outputs)))
    assert read == score or (score is None and np.isnan(read))


@pytest.mark.parametrize("outputs", [{"probability": np.float32([1, 2])}, {"probability": [b"x"]}])
def test_an_answer_that_does_not_fit_is_counted_and_its_request_kept(write, outputs, problems):
    (row,) = rows_of(write(predicted({"miles": np.float32([1])}, outputs)), problems)
    assert np.isnan(row[3])
    assert told(problems) == {"an answer that does not fit its request": 1}


def test_batches(write):
    file = write(*(one(miles=number) for number in range(10)), predicted({"miles": np.arange(9, dtype=np.float32)}))
    sizes = [batch.features.num_rows for batch in read_requests(file, FEATURES, Problems(), batch_rows=4)]
    assert sizes == [4, 4, 11]


def test_an_empty_log(write):
    assert rows_of(write()) == []


# Every kind of damage


@pytest.mark.parametrize("is_open", [False, True])
def test_a_cut_anywhere_costs_only_what_is_behind_it(write, is_open):
    file = write(*(one(miles=number) for number in range(3)), is_open=is_open)
    path = Path(f"{file.path}.part") if is_open else file.path
    whole = path.read_bytes()
    frame = len(whole) // 3
    for cut in [*range(frame + 20), *range(frame + 20, len(whole) + 1, 7), len(whole)]:
        path.write_bytes(whole[:cut])
        problems = Problems()
        rows = rows_of(file, problems)
        assert [row[0] for row in rows] == list(range(cut // frame))
        is_told = cut % frame != 0 and not is_open
        assert told(problems) == ({"a log file that is cut off": 1} if is_told else {})
        assert not is_told or f": {cut % frame} bytes lost" in problems.found()[0].where


def test_a_flipped_byte_anywhere_costs_one_record_or_what_follows_it_and_is_told(write):
    file = write(*(one(miles=number) for number in range(3)))
    whole = file.path.read_bytes()
    frame = len(whole) // 3
    for place in range(frame, 2 * frame):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        file.path.write_bytes(damaged)
        problems = Problems()
        rows = [row[0] for row in rows_of(file, problems)]
        in_length = place - frame < 12
        assert rows == ([0] if in_length else [0, 2])
        assert told(problems) == {"a corrupt record, and what follows it" if in_length else "a corrupt record": 1}
        assert f": {2 * frame if in_length else frame} bytes lost" in problems.found()[0].where


@pytest.mark.parametrize("content", [b"PAR1" * 100, b"\x1f\x8b\x08" + bytes(500), bytes(100)])
def test_a_file_that_is_no_tfrecord(write, content, problems):
    file = write()
    file.path.write_bytes(content)
    assert rows_of(file, problems) == []
    assert told(problems) == {"a file that is no TFRecord": 1}


def test_a_length_beyond_all_memory_is_a_cut(write, problems):
    file = write(one())
    probe = file.path.with_name("length")
    with tf.io.TFRecordWriter(str(probe)) as writer:
        writer.write(struct.pack("<Q", 2**62))
    payload_checksum = probe.read_bytes()[-4:]
    file.path.write_bytes(file.path.read_bytes() + struct.pack("<Q", 2**62) + payload_checksum)
    assert len(rows_of(file, problems)) == 1
    assert told(problems) == {"a log file that is cut off": 1}


def impossible():
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    tensor.tensor_shape.dim.add().size = 2**40
    return tensor


def session_run():
    raw = prediction_log_pb2.PredictionLog.FromString(one())
    raw.session_run_log.SetInParent()
    return raw.SerializeToString()


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (b"", "an empty record"),
        (b"\xff\xff", "a record that is no PredictionLog"),
        (session_run(), "a log of a kind that cannot be read (session_run_log)"),
        (log_metadata("m", 1, "", 1.0, NOON).SerializeToString(), "a record that is no PredictionLog"),
        (prediction_log_pb2.PredictionLog().SerializeToString() + b"\xfa\x01\0", "a log of a kind that cannot be read"),
        (one(model="other"), "a request to another model"),
        (predicted({}), "a request without any of the model's features"),
        (predicted({"other": np.float32([1])}), "a request without any of the model's features"),
        (predicted({"miles": np.float32([])}), "a request without rows"),
        (predicted({"examples": np.array([], object)}), "a request without rows"),
        (predicted({"examples": np.float32([1])}), "a request whose examples are not serialized"),
        (logged("classify_log", classification_pb2.ClassificationRequest()), "a request without rows"),
        (predicted({"miles": impossible()}), "a request of an impossible number of rows"),
        (
            predicted({"miles": np.float32([1, 2]), "flight": np.float64([1])}),
            "a request whose tensors do not hold one value a row",
        ),
        (predicted({"miles": np.complex64([1])}), "a request with a tensor that is neither numbers nor text"),
        (
            predicted({"miles": tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"abc")}),
            "a request with a tensor that cannot be read",
        ),
        (
            predicted({"miles": tensor_pb2.TensorProto(dtype=types_pb2.DT_RESOURCE)}),
            "a request with a tensor that cannot be read",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_counted_alone(write, record, what, problems):
    file = write(one(1), record, one(2), record)
    assert [row[0] for row in rows_of(file, problems)] == [1, 2]
    ((found, count),) = told(problems).items()
    assert found.startswith(what)
    assert count == 2
    assert f"{file.path}, record 2" in problems.found()[0].where


def test_a_damaged_example_is_counted_alone(write, problems):
    raw = [example(flight=number).SerializeToString() for number in range(50)]
    raw[20] = raw[33] = b"\xff\xff"
    file = write(predicted({"examples": raw}, {"probability": np.arange(50, dtype=np.float32)}))
    rows = rows_of(file, problems)
    assert [row[3] for row in rows] == [number for number in range(50) if number not in (20, 33)]
    assert [row[2] for row in rows] == [b"%d" % row[3] for row in rows]
    assert told(problems) == {"a tf.Example that cannot be decoded": 2}


def test_a_feature_with_several_values_is_missing_and_counted(write, problems):
    raw = [example(flight=[1, 2], carrier=b"UA").SerializeToString(), example(flight=3).SerializeToString()]
    rows = rows_of(write(predicted({"examples": raw})), problems)
    assert [row[:3] for row in rows] == [(None, b"UA", None), (None, None, b"3")]
    assert told(problems) == {"a feature with several values in one tf.Example": 1}


@pytest.mark.parametrize(
    ("seconds", "what"),
    [
        ([NOON, 0, NOON + 1], {"a request without a time": 1}),
        ([NOON, int(time.time()) + 10**6, NOON + 1], {"a request of the future": 1, "a clock that went backwards": 1}),
        ([NOON, NOON - 3600, NOON - 3599], {"a clock that went backwards": 1}),
        ([NOON, NOON - 30, NOON], {}),
    ],
)
def test_clocks_that_are_wrong_are_counted_and_their_requests_kept(write, seconds, what, problems):
    file = write(*(one(seconds=each) for each in seconds))
    (batch,) = read_requests(file, FEATURES, problems)
    assert batch.seconds.tolist() == seconds
    assert told(problems) == what


def test_any_damage_within_records_is_survived(write, problems):
    """Whole frames around damaged messages: what a buggy logger may write."""
    chance = random.Random(1)
    request = regression_pb2.RegressionRequest()
    request.input.example_list.examples.extend(EXAMPLES)
    sources = [one(), predicted({"examples": [each.SerializeToString() for each in EXAMPLES]})]
    sources.append(logged("regress_log", request))
    records = []
    for _ in range(600):
        damaged = bytearray(chance.choice(sources))
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        records.append(bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])]))
    file = write(*(each for record in records for each in (record, one(miles=-77.0))))
    rows = rows_of(file, problems)
    assert sum(row[0] == -77.0 for row in rows) == 600
    assert problems.found()


# Problems


def test_problems_are_counted_by_kind_with_the_first_place():
    one_file, another = Problems(), Problems()
    one_file.add("a", "here")
    one_file.add("b", "there", 3)
    another.add("b", "elsewhere", 4)
    another.add("c", "nowhere")
    one_file.merge(another)
    found = [(problem.what, problem.count, problem.where) for problem in one_file.found()]
    assert found == [("a", 1, "here"), ("b", 7, "there"), ("c", 1, "nowhere")]
    assert [problem.count for problem in another.found()] == [4, 1]
