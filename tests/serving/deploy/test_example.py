from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from model_server import start_server
from tensorflow_serving.apis import predict_pb2

from serving.deploy.example import example_request
from serving.deploy.vertex import upload
from serving.warmup import write_warmup
from storage.places import at


def request(signature: str = "serving_default", **inputs) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.signature_name = signature
    for name, values in inputs.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return made


def test_the_first_row_of_the_default_signature(tmp_path: Path) -> None:
    rows = request(carrier=[b"UA", b"DL"], distance=np.array([719.0, 1.0]), flight=np.array([4, 5]))
    write_warmup(tmp_path, [request("examples", examples=[b"\x08"]), rows], "flights")
    assert json.loads(example_request(at(tmp_path))) == {
        "instances": [{"carrier": "UA", "distance": 719.0, "flight": 4}]
    }


def test_a_row_that_json_cannot_carry_is_passed_over(tmp_path: Path) -> None:
    rows = [request(x=np.array([math.nan])), request(x=np.array([2.5]))]
    write_warmup(tmp_path, rows, "m")
    assert json.loads(example_request(at(tmp_path))) == {"instances": [{"x": 2.5}]}


def test_bytes_that_are_no_text_are_sent_as_base64(tmp_path: Path) -> None:
    write_warmup(tmp_path, [request(a=[b"\xff\x00"], b_bytes=[b"text"], c=[[b"x", b"\xff"]])], "m")
    assert json.loads(example_request(at(tmp_path))) == {
        "instances": [{"a": {"b64": "/wA="}, "b_bytes": {"b64": "dGV4dA=="}, "c": ["x", {"b64": "/w=="}]}]
    }


def test_a_version_without_requests_has_no_example(tmp_path: Path) -> None:
    assert example_request(at(tmp_path)) is None
    write_warmup(tmp_path, [request("other", x=[1.0])], "m")
    assert example_request(at(tmp_path)) is None


def test_a_version_in_a_store_is_read_where_it_is(tmp_path: Path) -> None:
    write_warmup(tmp_path, [request(x=[1.0])], "m")
    place = at("memory://example-of-a-version/5")
    target = place / "assets.extra" / "tf_serving_warmup_requests"
    target.parent.mkdir(parents=True)
    target.write_bytes((tmp_path / "assets.extra" / "tf_serving_warmup_requests").read_bytes())
    assert json.loads(example_request(place)) == {"instances": [{"x": 1.0}]}


def test_a_server_with_a_platforms_flags_and_routes_answers_it(tmp_path: Path, half_plus_two: str, release) -> None:
    folder = tmp_path / "one"
    shutil.copytree(half_plus_two, folder / "5")
    write_warmup(folder / "5", [request(x=np.array([3.0], np.float32))], "My_Model")
    container = upload(release("gs://bucket/m"), release("gs://bucket/m").stable)["model"]["containerSpec"]
    flags = [flag.replace("$(AIP_STORAGE_URI)", str(folder)) for flag in container["args"] if "port=" not in flag]
    with start_server(flags, log_path=tmp_path / "log") as server:
        assert server.get(container["healthRoute"]).status == 200
        assert server.get(container["startupProbe"]["httpGet"]["path"]).status == 200
        body = example_request(at(folder / "5"))
        assert server.post(container["predictRoute"], body).json == {"predictions": [3.5]}
