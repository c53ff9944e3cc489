"""The warm-up requests that are written are those that a server answers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.warmup import WARMUP_FILE, write_warmup


def request(**inputs):
    made = predict_pb2.PredictRequest()
    made.model_spec.signature_name = "greet"
    for name, values in inputs.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return made


def read(model):
    records = tf.compat.v1.io.tf_record_iterator(str(model / WARMUP_FILE))
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_each_request_is_written_whole_and_as_its_first_row(tmp_path):
    requests = [request(name=[b"Ada", b"Max"], age=[36, 7]), request(name=[b"Eve"], age=[1])]
    write_warmup(tmp_path, requests, "people")
    logs = read(tmp_path)
    assert {log.WhichOneof("log_type") for log in logs} == {"predict_log"}
    sent = [log.predict_log.request for log in logs]
    assert {(each.model_spec.name, each.model_spec.signature_name) for each in sent} == {("people", "greet")}
    ages = [tf.make_ndarray(each.inputs["age"]).tolist() for each in sent]
    names = [tf.make_ndarray(each.inputs["name"]).tolist() for each in sent]
    assert ages == [[36], [36, 7], [1], [1]]
    assert names == [[b"Ada"], [b"Ada", b"Max"], [b"Eve"], [b"Eve"]]


def test_rows_of_any_shape_and_type_keep_them(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_warmup(tmp_path, [request(v=values, flag=[True, False])], "m")
    one, whole = (log.predict_log.request.inputs for log in read(tmp_path))
    np.testing.assert_array_equal(tf.make_ndarray(one["v"]), values[:1])
    np.testing.assert_array_equal(tf.make_ndarray(whole["v"]), values)
    assert tf.make_ndarray(one["flag"]).tolist() == [True]


def test_the_requests_themselves_are_left_alone(tmp_path):
    made = request(x=[1.0])
    write_warmup(tmp_path, [made], "m")
    assert made == request(x=[1.0])


def test_no_requests_are_an_empty_file(tmp_path):
    write_warmup(tmp_path, [], "m")
    assert read(tmp_path) == []


def test_a_folder_for_it_may_be_there_already(tmp_path):
    (tmp_path / WARMUP_FILE).parent.mkdir()
    write_warmup(tmp_path, [request(x=[1.0])], "m")
    write_warmup(tmp_path, [request(x=[1.0])], "m")
    assert len(read(tmp_path)) == 2


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_folder_that_is_none_is_an_os_error(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=folder):
        write_warmup(tmp_path / folder, [request(x=[1.0])], "m")
