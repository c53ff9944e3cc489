"""The client against a real server: the same answers over both protocols."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from client_tools import save_person
from model_server import ROOT, RunningServer, model_config, start_server
from served_models import save_half_plus_two, save_zoo
from tensorflow_serving.apis import prediction_log_pb2

from serving.client import Client, ClientError
from serving.config import RequestLogConfig

MOMENT = datetime.datetime(2013, 1, 1, 5, 15, 0, 900_000)
SECONDS = 1_357_017_300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def server(folder: Path):
    save_half_plus_two(folder / "half", 1)
    save_half_plus_two(folder / "half", 2, slope=3.0, offset=0.0)
    models = {name: folder / name for name in ("half", "zoo", "person", "changing")}
    save_zoo(models["zoo"])
    save_person(models["person"])
    save_half_plus_two(models["changing"], 1)
    (folder / "models.config").write_text(model_config(models, {"half": {"stable": 1, "canary": 2}}))
    flags = [f"--model_config_file={folder / 'models.config'}", "--allow_version_labels_for_unavailable_models=true"]
    with start_server(flags, log_path=folder / "log") as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def address(request: pytest.FixtureRequest, server: RunningServer) -> str:
    return address_of(server, request.param)


def address_of(server: RunningServer, protocol: str) -> str:
    return f"grpc://{server.grpc}" if protocol == "grpc" else server.url


def test_rows_in_arrays_out(address: str) -> None:
    with Client(address, "half", version=1) as client:
        answer = client.predict([{"x": 1.0}, {"x": 2}, {"x": 5.0}])
    assert list(answer) == ["y"]
    assert answer["y"].dtype == np.float32
    assert answer["y"].tolist() == [2.5, 3.0, 4.5]


@pytest.mark.parametrize("batch_size", [1, 7, 100, 512])
def test_many_rows_are_split_and_come_back_in_order(address: str, batch_size: int) -> None:
    with Client(address, "half", version=1, batch_size=batch_size) as client:
        answer = client.predict({"x": number} for number in range(100))
    assert answer["y"].tolist() == [number / 2 + 2 for number in range(100)]


def test_a_request_has_no_more_rows_than_told(address: str) -> None:
    with Client(address, "zoo", signature="size", batch_size=40) as client:
        assert set(client.predict([{"x": 0.0}] * 100)["rows"].tolist()) == {40, 20}


PEOPLE = [
    {"name": "Ada", "age": 36, "height": 1.65, "seen": SECONDS},
    {"name": "Åke", "age": 7, "height": None, "seen": None},
    {"name": None, "age": 0, "height": 1.8, "seen": 0},
]
FORMS = {
    "dicts": PEOPLE,
    "keys left out": [{key: value for key, value in row.items() if value is not None} for row in PEOPLE],
    "generator": lambda: (row for row in PEOPLE),
    "DataFrame": pd.DataFrame(PEOPLE),
    "nullable DataFrame": pd.DataFrame(PEOPLE).convert_dtypes(),
    "categories": pd.DataFrame(PEOPLE).astype({"name": "category"}),
    "times": pd.DataFrame(PEOPLE).assign(seen=pd.to_datetime([SECONDS, None, 0], unit="s")),
    "times with a zone": pd.DataFrame(PEOPLE).assign(
        seen=pd.to_datetime([SECONDS, None, 0], unit="s", utc=True).tz_convert("Asia/Tokyo")
    ),
    "Table": pa.Table.from_pylist(PEOPLE),
    "chunks": pa.concat_tables([pa.Table.from_pylist(PEOPLE[:1]), pa.Table.from_pylist(PEOPLE[1:])]),
    "dictionary": pa.Table.from_pylist(PEOPLE).set_column(
        0, "name", pa.array([row["name"] for row in PEOPLE]).dictionary_encode()
    ),
    "RecordBatch": pa.Table.from_pylist(PEOPLE).to_batches()[0],
    "reader": lambda: pa.RecordBatchReader.from_batches(
        pa.Table.from_pylist(PEOPLE).schema, pa.Table.from_pylist(PEOPLE).to_batches()
    ),
    "timestamps": pa.Table.from_pylist(PEOPLE).set_column(
        3, "seen", pa.array([SECONDS * 1000 + 999, None, 0], pa.timestamp("ms"))
    ),
}


@pytest.mark.parametrize("batch_size", [2, 512])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_means_the_same(address: str, form: str, batch_size: int) -> None:
    rows = FORMS[form]() if callable(FORMS[form]) else FORMS[form]
    with Client(address, "person", batch_size=batch_size) as client:
        answer = client.predict(rows)
    assert answer["name_is"].tolist() == ["Ada", "Åke", ""]
    assert answer["age_is"].tolist() == [36, 7, 0]
    np.testing.assert_array_equal(answer["height_is"], np.array([1.65, np.nan, 1.8], np.float32))
    np.testing.assert_array_equal(answer["seen_is"], [SECONDS, np.nan, 0])


@pytest.mark.parametrize(
    ("signature", "value", "arrives"),
    [
        ("echo_int64", MOMENT, SECONDS),
        ("echo_int64", MOMENT.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-5))), SECONDS + 18_000),
        ("echo_int64", datetime.datetime(1969, 12, 31, 23, 59, 59, 500_000), -1),
        ("echo_int64", datetime.date(1970, 1, 2), 86_400),
        ("echo_int64", np.datetime64("1969-12-31T23:59:59.5"), -1),
        ("echo_int64", pd.Timestamp("2013-01-01 05:15", tz="UTC"), SECONDS),
        ("echo_int64", True, 1),
        ("echo_int64", Decimal("12"), 12),
        ("echo_int64", 3.0, 3),
        ("echo_int64", np.int32(-4), -4),
        ("echo_int64", 2**63 - 1, 2**63 - 1),
        ("echo_uint64", 2**64 - 1, 2**64 - 1),
        ("echo_int8", -128, -128),
        ("echo_float64", Decimal("0.1"), 0.1),
        ("echo_float64", np.float32(0.1), float(np.float32(0.1))),
        ("echo_float64", MOMENT, SECONDS),
        ("echo_float64", np.datetime64("NaT"), np.nan),
        ("echo_float64", pd.NaT, np.nan),
        ("echo_float64", pd.NA, np.nan),
        ("echo_float64", np.bool_(True), 1.0),
        ("echo_float32", 0.1, np.float32(0.1)),
        ("echo_float32", float("inf"), np.inf),
        ("echo_float32", np.array(2.5), 2.5),
        ("echo_bool", True, True),
        ("echo_bool", np.bool_(False), False),
        ("echo_text", 'naïve ☃ "\\\n', 'naïve ☃ "\\\n'),
        ("echo_text", b"bytes", "bytes"),
        ("echo_bytes", b"\xff\x00", b"\xff\x00"),
        ("echo_text", float("nan"), ""),
    ],
)
def test_what_a_value_becomes(address: str, signature: str, value: object, arrives: object) -> None:
    """Also beside a plain value, which takes another way than a column of plain values only."""
    name = "text" if "te" in signature else "x"
    with Client(address, "zoo", signature=signature) as client:
        [outputs] = client.predict([{name: value}]).values()
    np.testing.assert_array_equal(outputs, np.array([arrives], outputs.dtype))


@pytest.mark.parametrize(
    ("signature", "value", "told"),
    [
        ("echo_int64", None, "missing"),
        ("echo_int64", float("nan"), "missing"),
        ("echo_int64", 1.5, "whole"),
        ("echo_int64", Decimal("1.5"), "whole"),
        ("echo_int64", "1", "number"),
        ("echo_int64", 2**63, "range"),
        ("echo_int64", float("inf"), "whole"),
        ("echo_int8", 128, "range"),
        ("echo_uint8", -1, "range"),
        ("echo_bool", None, "missing"),
        ("echo_bool", 2, "true or false"),
        ("echo_float32", 1e39, "range"),
        ("echo_float32", "1.0", "number"),
        ("echo_float32", [1.0], "number"),
        ("echo_text", 5, "text"),
    ],
)
@pytest.mark.parametrize("form", [list, pd.DataFrame, pa.Table.from_pylist])
def test_what_does_not_fit_is_told_by_row_and_feature(
    server: RunningServer, signature: str, value: object, told: str, form: object
) -> None:
    name, good = ("text", "a") if signature == "echo_text" else ("x", True if signature == "echo_bool" else 1)
    rows = [{name: good}] * 6 + [{name: value}, {name: good}]
    try:
        made = form(rows)
    except (pa.ArrowException, OverflowError, TypeError):
        pytest.skip("Arrow has no such column")
    client = Client(server.url, "zoo", signature=signature, batch_size=4)
    with client, pytest.raises(ClientError, match=told) as caught:
        client.predict(made)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert (caught.value.attempts, caught.value.row, caught.value.feature) == (0, 6, name)
    assert "not sent" in str(caught.value)


def test_lists_of_a_fixed_length(address: str) -> None:
    with Client(address, "zoo", signature="vectors", batch_size=2) as client:
        answer = client.predict([{"v": [1, 2, 3]}, {"v": np.arange(3.0)}, {"v": (0, 0, None)}])
        np.testing.assert_array_equal(answer["total"], np.array([6, 3, np.nan], np.float32))
        assert answer["doubled"][:2].tolist() == [[2, 4, 6], [0, 2, 4]]
        with pytest.raises(ClientError, match=r"row 1, feature 'v': expected a list of shape \[3\], received \[2\]"):
            client.predict([{"v": [1, 2, 3]}, {"v": [1, 2]}])


def test_a_misspelt_feature_is_no_missing_one(address: str) -> None:
    told = "no feature 'heigth'; did you mean 'height'"
    with Client(address, "person") as client, pytest.raises(ClientError, match=told) as caught:
        client.predict([{"name": "Ada", "age": 1, "heigth": 2.0}])
    assert (caught.value.feature, caught.value.attempts) == ("heigth", 0)


@pytest.mark.parametrize("ignore", [True, ["late", "when"]])
def test_columns_are_dropped_only_if_asked(address: str, ignore: object) -> None:
    rows = [{"x": 1.0, "late": 1, "when": MOMENT}]
    with Client(address, "half", version=1, ignore=ignore) as client:
        assert client.predict(rows)["y"].tolist() == [2.5]
    with Client(address, "half", version=1, ignore=["late"]) as client, pytest.raises(ClientError, match="'when'"):
        client.predict(rows)


@pytest.mark.parametrize(
    ("chosen", "answer"),
    [({}, 6.0), ({"version": 1}, 3.0), ({"version": 2}, 6.0), ({"label": "stable"}, 3.0), ({"label": "canary"}, 6.0)],
    ids=str,
)
def test_versions_and_labels(address: str, chosen: dict[str, object], answer: float) -> None:
    with Client(address, "half", **chosen) as client:
        assert client.predict([{"x": 2.0}])["y"].tolist() == [answer]
        assert client.metadata().version == (1 if answer == 3.0 else 2)


def test_classify_and_regress_find_their_signatures(address: str) -> None:
    rows = [{"x": 1.0}, {"x": None}, {"x": 5}]
    with Client(address, "half", version=1, batch_size=2) as client:
        found = client.classify(rows)
        assert found["classes"].tolist() == [["low", "high"]] * 3
        assert found["scores"].tolist() == [[-2.5, 2.5], [-2.0, 2.0], [-4.5, 4.5]]
        assert client.regress(rows).tolist() == [2.5, 2.0, 4.5]


def test_examples_have_the_types_of_the_features(address: str) -> None:
    """`seen` is DT_DOUBLE, which is what an INT that may be missing is; a frame makes floats of such a column."""
    rows = pd.DataFrame({"name": ["Ada", None], "age": [5, 0], "height": [2, np.nan], "seen": [7.0, np.nan]})
    with Client(address, "person") as client:
        assert client.regress(rows).tolist() == [3 + 5 + 7000 + 2, 0 + 0 - 1000 - 1]
        with pytest.raises(ClientError, match=r"row 1, feature 'age'.*whole"):
            client.regress([{"age": 1}, {"age": 1.5}])


def test_a_schema_gives_types_and_features(address: str, folder: Path) -> None:
    schema = folder / "schema.pbtxt"
    schema.write_text(
        'default_environment: "TRAINING" default_environment: "SERVING"\nfeature { name: "x" type: FLOAT }\n'
    )
    with Client(address, "half", version=1, schema=schema) as client:
        assert client.regress([{"x": 4}]).tolist() == [4.0]
        with pytest.raises(ClientError, match="no feature 'xx'"):
            client.regress([{"xx": 4}])


def test_metadata_and_status(address: str) -> None:
    with Client(address, "person") as client:
        metadata = client.metadata()
        signature = metadata.signatures["serving_default"]
        assert (metadata.model, metadata.version) == ("person", 1)
        assert {name: spec.dtype for name, spec in signature.inputs.items()} == {
            "name": "DT_STRING",
            "age": "DT_INT64",
            "height": "DT_FLOAT",
            "seen": "DT_DOUBLE",
        }
        assert signature.inputs["age"].shape == (-1,)
    with Client(address, "half") as client:
        assert [(each.version, each.state, each.code) for each in client.status()] == [
            (2, "AVAILABLE", "OK"),
            (1, "AVAILABLE", "OK"),
        ]
    with Client(address, "half", version=1) as client:
        assert [each.version for each in client.status()] == [1]


def test_both_protocols_tell_the_same_metadata(server: RunningServer) -> None:
    for model in ("half", "zoo", "person"):
        with Client(server.url, model) as rest, Client(f"grpc://{server.grpc}", model) as rpc:
            assert rest.metadata() == rpc.metadata()


def test_no_rows_are_no_mistake(address: str) -> None:
    with Client(address, "person") as client:
        answer = client.predict([])
        assert {name: (array.shape, array.dtype) for name, array in answer.items()} == {
            "name_is": ((0,), object),
            "age_is": ((0,), np.int64),
            "height_is": ((0,), np.float32),
            "seen_is": ((0,), np.float64),
        }
        assert client.regress([]).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ({"model": "nix"}, "NOT_FOUND", "Servable not found"),
        ({"model": "half", "version": 9}, "NOT_FOUND", "9"),
        ({"model": "half", "label": "nix"}, "INVALID_ARGUMENT", "Unrecognized servable version label: nix"),
        ({"model": "half", "signature": "nix"}, "FAILED_PRECONDITION", "there are classes_only"),
        ({"model": "zoo", "signature": "fail"}, "INVALID_ARGUMENT", "x is negative"),
    ],
    ids=str,
)
def test_what_the_server_refuses(address: str, arguments: dict[str, object], code: str, told: str) -> None:
    with Client(address, **arguments) as client, pytest.raises(ClientError, match=told) as caught:
        client.predict([{"x": -1.0}])
    assert caught.value.code == code
    assert caught.value.attempts <= 1
    assert address in caught.value.where
    assert caught.value.__suppress_context__ or not caught.value.__context__, "no traceback of the protocol's own"


@pytest.mark.parametrize("rows", [{"x": 1.0}, "x", 5, [1.0], [{1: 2}], pd.DataFrame([[1, 2]], columns=["x", "x"])])
def test_what_are_no_rows(address: str, rows: object) -> None:
    with Client(address, "half") as client, pytest.raises(ClientError, match="expected") as caught:
        client.predict(rows)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_outputs_that_cannot_be_put_together(address: str) -> None:
    with Client(address, "zoo", signature="to_scalar") as client:
        assert client.predict([{"x": 1.0}, {"x": 2.0}])["total"] == 3.0
    with Client(address, "zoo", signature="to_scalar", batch_size=1) as client, pytest.raises(ClientError) as caught:
        client.predict([{"x": 1.0}, {"x": 2.0}])
    assert "batch_size" in caught.value.message


def test_waiting_until_a_model_is_available(address: str) -> None:
    with Client(address, "half", label="canary") as client:
        assert client.wait_until_available(5).version == 2
    with Client(address, "half", version=77) as client, pytest.raises(ClientError, match="NOT_FOUND") as caught:
        client.wait_until_available(0.5)
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_many_threads_share_a_client(address: str) -> None:
    with Client(address, "half", version=1) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: client.predict([{"x": x}])["y"].tolist(), range(200)))
    assert answers == [[x / 2 + 2] for x in range(200)]


def test_a_new_version_may_take_other_features(server: RunningServer, folder: Path) -> None:
    """Also over REST with a log, for which the client asks for the version that it knows."""
    clients = [Client(address_of(server, protocol), "changing") for protocol in ("grpc", "http")]
    config = RequestLogConfig(path=str(folder / "changing-log"))
    clients.append(Client(server.url, "changing", request_log=config))
    for client in clients:
        assert client.predict([{"x": 1.0}])["y"].tolist() == [2.5]

    class Renamed(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float64, name="z")])
        def predict(self, z):
            return {"w": z * 10}

    module = Renamed()
    tf.saved_model.save(module, str(folder / "saving"), signatures={"serving_default": module.predict})
    (folder / "saving").rename(folder / "changing" / "2")
    with Client(server.url, "changing", version=2) as newest:
        newest.wait_until_available(30)
    for client in clients:
        assert client.predict([{"z": 1.5}])["w"].tolist() == [15.0]
        client.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_request_log_is_the_servers(server: RunningServer, protocol: str, tmp_path: Path) -> None:
    started = int(time.time())
    config = RequestLogConfig(path=str(tmp_path / "log"))
    address = address_of(server, protocol)
    with Client(address, "half", label="stable", request_log=config, batch_size=2) as client:
        client.predict([{"x": 1.0}, {"x": None}, {"x": 5.0}])
        client.classify([{"x": 1.0}])
        client.regress([{"x": 1.0}])
    [file] = (tmp_path / "log").glob("half-*.tfrecord")
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))
    ]
    assert [each.WhichOneof("log_type") for each in logs] == ["predict_log"] * 2 + ["classify_log", "regress_log"]
    for each in logs:
        spec = each.log_metadata.model_spec
        assert (spec.name, spec.version.value) == ("half", 1)
        assert started <= each.log_metadata.timestamp_secs <= time.time()
        assert each.log_metadata.sampling_config.sampling_rate == 1.0
    first = logs[0].predict_log
    np.testing.assert_array_equal(tf.make_ndarray(first.request.inputs["x"]), np.array([1, np.nan], np.float32))
    np.testing.assert_array_equal(tf.make_ndarray(first.response.outputs["y"]), np.array([2.5, np.nan], np.float32))
    assert first.response.model_spec.version.value == 1
    [example] = logs[2].classify_log.request.input.example_list.examples
    assert example.features.feature["x"].float_list.value[:] == [1.0]
    assert [each.label for each in logs[2].classify_log.response.result.classifications[0].classes] == ["low", "high"]
    assert logs[3].regress_log.response.result.regressions[0].value == 2.5


def test_only_a_share_is_logged(server: RunningServer, tmp_path: Path) -> None:
    with Client(server.url, "half", request_log=RequestLogConfig(path=str(tmp_path), sampling_rate=0.0)) as client:
        client.predict([{"x": 1.0}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("protocol", "forbidden"),
    [("http", ["tensorflow", "tfx", "apache_beam", "pandas", "grpc"]), ("grpc", ["tfx", "apache_beam"])],
)
def test_what_is_not_imported(server: RunningServer, protocol: str, forbidden: list[str]) -> None:
    code = (
        "import sys; from serving.client import Client\n"
        f"print(Client({address_of(server, protocol)!r}, 'half', version=1).predict([{{'x': 2.0}}])['y'].tolist())\n"
        f"print([name for name in {forbidden} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[3.0]", "[]"]
