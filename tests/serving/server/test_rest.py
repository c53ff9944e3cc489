"""The REST API of a real server, point by point, and what it does with clients that behave badly."""

import base64
import concurrent.futures
import contextlib
import gzip
import http.client
import json
import math
import re
import socket
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.server.rest import parse_target
from serving.server.status import StatusError

PREDICT = "/v1/models/half_plus_two:predict"
ONE = b'{"instances":[1]}'
HALF = {"predictions": [2.5]}
CLOSE = b"\r\nhost: x\r\nconnection: close\r\n"
PATIENCE = 2.0
"""The server's --rest_api_timeout_in_ms, in seconds."""

MALFORMED = "Malformed request: "


def zoo(server, signature_name, **document):
    return server.predict("zoo", {"signature_name": signature_name, **document})


def assert_error(reply, status, told):
    assert (reply.status, reply.headers["content-type"]) == (status, "application/json")
    assert list(reply.json) == ["error"]
    assert told in reply.json["error"]


def responses(raw):
    """The statuses and bodies in what came over a connection."""
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])
        found.append((int(head.split(b" ", 2)[1]), rest[:length]))
        raw = rest[length:]
    return found


@pytest.fixture(autouse=True)
def _still_answers(server):
    yield
    assert server.predict("half_plus_two", {"instances": [1]}).json == HALF


class TestTarget:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/v1/models/m:predict", ("m", None, None, "predict")),
            ("/V1/Models/M:classify", ("M", None, None, "classify")),
            ("/v1/models/m/versions/00007:regress", ("m", 7, None, "regress")),
            ("/v1/models/m/versions/9223372036854775807:predict", ("m", (1 << 63) - 1, None, "predict")),
            ("/v1/models/m/labels/a%2Fb%20c:predict", ("m", None, "a/b c", "predict")),
            ("/v1/models/%C3%A9%2f..%3A:predict", ("é/..:", None, None, "predict")),
            ("/v1/models/%zz%4:predict", ("%zz%4", None, None, "predict")),
            ("/v1/models/a+b:predict", ("a+b", None, None, "predict")),
            ("/v1/models/versions/labels/5:predict", ("versions", None, "5", "predict")),
        ],
    )
    def test_post(self, path, expected):
        target = parse_target("POST", path)
        assert (target.name, target.version, target.label, target.verb) == expected

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/v1/models/m", ("m", None, None, "")),
            ("/v1/models/m/metadata", ("m", None, None, "metadata")),
            ("/v1/models/m/METADATA", ("m", None, None, "")),  # matches, and then is compared with `metadata`
            ("/v1/models/m/versions/7", ("m", 7, None, "")),
            ("/v1/models/m/labels/l/metadata", ("m", None, "l", "metadata")),
            ("/v1/models/metadata", ("metadata", None, None, "")),
            ("/v1/models/m/labels/versions", ("m", None, "versions", "")),
        ],
    )
    def test_get(self, path, expected):
        target = parse_target("GET", path)
        assert (target.name, target.version, target.label, target.verb) == expected

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v1/models/m:PREDICT"),
            ("POST", "/v1/models/m:Classify"),
            ("POST", "/v1/models/m:predicts"),
            ("POST", "/v1/models/m"),
            ("POST", "/v1/models/:predict"),
            ("POST", "/v1/models/a/b:predict"),
            ("POST", "/v1/models/../m:predict"),
            ("POST", "/v1/models/m/versions/-1:predict"),
            ("POST", "/v1/models/m/versions/1.0:predict"),
            ("POST", "/v1/models/m/versions/٣:predict"),
            ("POST", "/v1/models/m/versions/1/labels/l:predict"),
            ("POST", "/v1/models/m/versions/:predict"),
            ("POST", "/v1/models/m/labels/:predict"),
            ("POST", "/v1/models/m:predict/"),
            ("GET", "/v1/models/m:predict"),
            ("GET", "/v1/models/m/"),
            ("GET", "/v1/models/"),
            ("GET", "/v1/models/m/metadata/versions/1"),
            ("GET", "/v1/"),
            ("GET", "/v1/model/m"),
            ("PUT", "/v1/models/m:predict"),
            ("DELETE", "/v1/models/m"),
        ],
    )
    def test_what_names_nothing(self, method, path):
        with pytest.raises(StatusError) as raised:
            parse_target(method, path)
        assert raised.value.message == f"{MALFORMED}{method} {path}"

    @pytest.mark.parametrize("digits", ["9223372036854775808", "9" * 100, "9" * 10_000], ids=len)
    @pytest.mark.parametrize(("method", "verb"), [("GET", ""), ("GET", "/metadata"), ("POST", ":predict")])
    def test_a_version_beyond_64_bits(self, method, verb, digits):
        with pytest.raises(StatusError, match=f"Failed to convert version: {digits} to numeric."):
            parse_target(method, f"/v1/models/m/versions/{digits}{verb}")

    @given(
        st.sampled_from(["GET", "POST", "PUT"]),
        st.text(st.sampled_from("/v1models:predictversionslabels%2e5é."), max_size=40),
    )
    def test_any_path_is_a_target_or_a_status(self, method, path):
        with contextlib.suppress(StatusError):
            parse_target(method, f"/v1/models{path}")


class TestUrls:
    @pytest.mark.parametrize(
        "path",
        [
            PREDICT,
            "/V1/MODELS/half_plus_two:predict",
            "/v1/models/half%5Fplus%5ftwo:predict",
            "/v1/models/half_plus_two/versions/123:predict",
            "/v1/models/half_plus_two/versions/0000123:predict",
            f"{PREDICT}?trace=1&x",
            f"http://elsewhere{PREDICT}",
        ],
    )
    def test_predict(self, server, path):
        assert server.post(path, ONE).json == HALF

    @pytest.mark.parametrize(
        ("path", "status", "told"),
        [
            ("/v1/models/nobody:predict", 404, "Servable not found for request: Latest(nobody)"),
            ("/v1/models/HALF_PLUS_TWO:predict", 404, "Servable not found for request: Latest(HALF_PLUS_TWO)"),
            ("/v1/models/half_plus_two/versions/50:predict", 404, "request: Specific(half_plus_two, 50)"),
            ("/v1/models/half_plus_two/labels/stable:predict", 400, "Unrecognized servable version label: stable"),
            ("/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd:predict", 404, "Latest(../../etc/passwd)"),
            ("/v1/models/..:predict", 404, "Latest(..)"),
            ("/v1/models/%00:predict", 404, "Latest(\0)"),
            ("/v1/models/%ff:predict", 404, "Servable not found"),
            ("/v1/models/half_plus_two/versions/9223372036854775808:predict", 400, "Failed to convert version: 922"),
            (f"/v1/models/m/versions/{'9' * 10_000}:predict", 400, "Failed to convert version: 999"),
            ("/v1/models/half_plus_two:PREDICT", 400, f"{MALFORMED}POST /v1/models/half_plus_two:PREDICT"),
            ("/v1/models/half_plus_two:explain", 400, MALFORMED),
            ("/v1/models/../half_plus_two:predict", 400, MALFORMED),
            ("/v1/", 400, f"{MALFORMED}POST /v1/"),
            (f"/v1/models/{'a' * 60_000}:predict", 404, "Servable not found"),
        ],
        ids=lambda each: str(each)[:40],
    )
    def test_what_is_not_there(self, server, path, status, told):
        assert_error(server.post(path, ONE), status, told)

    @pytest.mark.parametrize(
        "path", ["/", "/v1", "/v2/models/half_plus_two", "/../etc/passwd", "/favicon.ico", "//v1/models/x"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_outside_the_api(self, server, method, path):
        reply = server.request(method, path)
        assert (reply.status, reply.headers["content-type"]) == (404, "text/html")
        assert b"<H1>Not Found</H1>" in reply.body

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
    def test_other_methods(self, server, method):
        assert_error(server.request(method, PREDICT), 400, f"{MALFORMED}{method} {PREDICT}")

    def test_head_has_no_body(self, server):
        reply = server.request("HEAD", PREDICT)
        assert (reply.status, reply.body) == (400, b"")

    def test_an_unknown_method_is_no_http(self, server):
        assert server.request("BREW", PREDICT).status == 400


class TestStatusAndMetadata:
    def test_status(self, server):
        version = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for path in ("", "/versions/123", "/labels/whatever"):
            assert server.get(f"/v1/models/half_plus_two{path}").json == {"model_version_status": [version]}

    def test_status_of_what_is_not_there(self, server):
        assert_error(server.get("/v1/models/nobody"), 404, "Could not find any versions of model nobody")
        assert_error(
            server.get("/v1/models/half_plus_two/versions/5"), 404, "Could not find version 5 of model half_plus_two"
        )
        assert_error(server.get("/v1/models"), 400, "Missing model name in request.")
        assert_error(server.get("/v1/models/versions/5"), 400, "Missing model name in request.")

    def test_metadata(self, server):
        found = server.get("/v1/models/half_plus_two/versions/123/metadata").json
        assert found["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
        signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
        assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        assert signature["outputs"]["y"]["name"]

    def test_metadata_of_what_is_not_there(self, server):
        assert_error(server.get("/v1/models/nobody/metadata"), 404, "Servable not found for request: Latest(nobody)")
        assert_error(
            server.get("/v1/models/half_plus_two/labels/x/metadata"), 400, "Unrecognized servable version label: x"
        )


class TestPredict:
    @pytest.mark.parametrize(
        ("document", "answer"),
        [
            ({"instances": [1, 2, 5]}, {"predictions": [2.5, 3.0, 4.5]}),
            ({"instances": [{"x": 1.0}]}, HALF),
            ({"signature_name": "", "instances": [1]}, HALF),
            ({"signature_name": "serving_default", "inputs": [1]}, {"outputs": [2.5]}),
            ({"inputs": {"x": [1, 2]}}, {"outputs": [2.5, 3.0]}),
            ({"inputs": []}, {"outputs": []}),
        ],
        ids=str,
    )
    def test_rows_and_columns(self, server, document, answer):
        assert server.predict("half_plus_two", document).json == answer

    def test_nan_and_infinity_in_and_out(self, server):
        reply = server.post(PREDICT, b'{"instances":[NaN,Infinity,-Infinity,1e39]} and more')
        assert reply.body == b'{"predictions":[NaN,Infinity,-Infinity,Infinity]}'

    def test_several_inputs_and_outputs(self, server):
        rows = [{"text": "Ada", "number": 36}, {"text": {"b64": "/w=="}, "number": 7}]
        reply = zoo(server, "greet", instances=rows)
        first, second = json.loads(reply.body.decode("utf-8", "surrogateescape"))["predictions"]
        assert first == {
            "greeting": "Ada is 36",
            "greeting_bytes": {"b64": base64.b64encode(b"Ada is 36").decode()},
            "next": 37,
        }
        assert second["greeting"] == "\udcff is 7"
        assert base64.b64decode(second["greeting_bytes"]["b64"]) == b"\xff is 7"
        reply = zoo(server, "greet", inputs={"text": ["Ada"], "number": [36]})
        assert reply.json["outputs"]["next"] == [37]

    def test_bytes_come_back_as_base64(self, server):
        values = ["a", {"b64": "/wA="}, ""]
        expected = [{"b64": "YQ=="}, {"b64": "/wA="}, {"b64": ""}]
        assert zoo(server, "echo_bytes", instances=values).json == {"predictions": expected}
        assert zoo(server, "echo_bytes", inputs=values).json == {"outputs": expected}
        assert zoo(server, "echo_text", instances=['"\n\t\\é\0']).json == {"predictions": ['"\n\t\\é\0']}

    def test_vectors(self, server):
        reply = zoo(server, "vectors", instances=[[1, 2, 3], [4, 5, 6]])
        assert reply.json == {
            "predictions": [{"total": 6.0, "doubled": [2, 4, 6]}, {"total": 15.0, "doubled": [8, 10, 12]}]
        }
        assert_error(zoo(server, "vectors", instances=[1, 2]), 400, "")

    def test_scalars(self, server):
        assert zoo(server, "scalar", inputs=1).json == {"outputs": 2.0}
        assert zoo(server, "scalar", inputs={"x": 1}).json == {"outputs": 2.0}
        assert_error(
            zoo(server, "scalar", instances=[{"x": [1]}, {"x": [1, 2]}]), 400, "Expecting tensor size: 1 but got: 2"
        )
        assert zoo(server, "to_scalar", inputs=[1, 2]).json == {"outputs": 3.0}
        assert_error(zoo(server, "to_scalar", instances=[1, 2]), 400, "Tensor name: total has no shape information ")

    def test_outputs_of_different_lengths(self, server):
        reply = zoo(server, "uneven", instances=[1, 2])
        assert re.search(r"Tensor name: [ab] has inconsistent batch size: [24] expecting: [24]", reply.json["error"])
        assert zoo(server, "uneven", inputs=[1]).json == {"outputs": {"a": [1.0], "b": [1.0, 1.0]}}

    @pytest.mark.parametrize(
        ("dtype", "values"),
        [
            ("float32", [0.2, -5.0, 3e38]),
            ("float64", [0.1, 1e300]),
            ("int8", [-128, 127]),
            ("int16", [-32768, 32767]),
            ("int32", [-(1 << 31), (1 << 31) - 1]),
            ("int64", [-(1 << 63), (1 << 63) - 1]),
            ("uint8", [0, 255]),
            ("uint32", [0, (1 << 32) - 1]),
            ("uint64", [0, (1 << 64) - 1]),
            ("bool", [True, False]),
        ],
    )
    def test_values_of_each_type(self, server, dtype, values):
        assert zoo(server, f"echo_{dtype}", instances=values).json == {"predictions": pytest.approx(values, rel=1e-7)}
        assert zoo(server, f"echo_{dtype}", inputs=values).json == {"outputs": pytest.approx(values, rel=1e-7)}
        wrong = "text" if dtype != "bool" else 1
        told = f"Type: {'Number' if dtype == 'bool' else 'String'} is not of expected type"
        assert_error(zoo(server, f"echo_{dtype}", inputs=[wrong]), 400, told)
        if "int" in dtype:
            for beyond in (values[0] - 1, values[1] + 1, 1.0, True):
                assert_error(zoo(server, f"echo_{dtype}", instances=[beyond]), 400, "is not of expected type")

    @pytest.mark.parametrize("dtype", ["float16", "uint16"])
    def test_types_that_json_cannot_carry(self, server, dtype):
        assert_error(zoo(server, f"echo_{dtype}", inputs=[1]), 501, "Conversion of JSON Value: 1 to type: ")
        assert_error(
            zoo(server, f"echo_{dtype}", instances=[1]), 400, "UNIMPLEMENTED: Conversion of JSON Value: 1 to type: "
        )
        assert_error(zoo(server, "half_precision", inputs=[1]), 400, "Failed to write JSON value for tensor type: half")

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"", "JSON Parse error: The document is empty"),
            (b"[]", "Is not object"),
            (b'{"instances":[1', "JSON Parse error: "),
            (b"\xff\xfe", "JSON Parse error: "),
            (b"{}", "Missing 'inputs' or 'instances' key"),
            (b'{"instances":[]}', "No values in 'instances' array"),
            (b'{"instances":[1],"inputs":[1]}', "expecting only one of"),
            (b'{"instances":["a"]}', "Type: String is not of expected type: float"),
            (b'{"instances":[1],"signature_name":3}', "'signature_name' key must be a string value."),
            (b'{"instances":[1],"signature_name":"x"}', 'Serving signature name: "x" not found in signature def'),
            (b'{"instances":[1' + b"0" * 400 + b"]}", "Number too big to be stored in double."),
            (b'{"instances":' + b"[" * 500_000, "Nested too deeply"),
            (b'{"instances":' + b"[" * 33 + b"1" + b"]" * 33 + b"}", "nested 32 lists deep"),
            (b'{"instances":' + b"[" * 32 + b"1" + b"]" * 32 + b"}", None),
        ],
        ids=lambda each: str(each)[:40],
    )
    def test_mistakes(self, server, body, told):
        reply = server.post(PREDICT, body)
        if told is not None:
            assert_error(reply, 400, told)
        else:
            assert reply.json == {"predictions": json.loads("[" * 32 + "2.5" + "]" * 32)}

    def test_a_model_that_fails(self, server):
        assert_error(zoo(server, "fail", instances=[4, -1]), 400, "x is negative")
        assert zoo(server, "fail", instances=[4]).json == {"predictions": [2.0]}

    def test_a_model_that_remembers(self, server):
        before = zoo(server, "counter", inputs=0).json["outputs"]
        for _ in range(5):
            zoo(server, "counter", inputs=2)
        assert zoo(server, "counter", inputs=0).json["outputs"] == before + 10

    def test_a_model_that_takes_too_long(self, server):
        started = time.monotonic()
        assert_error(zoo(server, "slow", instances=[1_200_000]), 504, "Timed out waiting for notification")
        assert time.monotonic() - started == pytest.approx(PATIENCE, abs=1)


class TestExamples:
    @staticmethod
    def ask(server, verb, signature_name, *examples, **more):
        document = {"signature_name": signature_name, "examples": list(examples), **more}
        return server.post(f"/v1/models/half_plus_two:{verb}", document)

    def test_regress(self, server):
        assert self.ask(server, "regress", "regress", {"x": 1.0}, {"x": [2.0]}).json == {"results": [2.5, 3.0]}
        assert self.ask(server, "regress", "regress", {}, context={"x": 4.0}).json == {"results": [4.0]}

    def test_classify(self, server):
        found = self.ask(server, "classify", "classify", {"x": 1.0}, {})
        assert found.json == {"results": [[["low", -2.5], ["high", 2.5]], [["low", -2.0], ["high", 2.0]]]}
        assert self.ask(server, "classify", "scores_only", {"x": 1.0}).json == {"results": [[["", 1.0]]]}
        assert self.ask(server, "classify", "classes_only", {"x": 1.0}).json == {"results": [[["1.000000", 0.0]]]}

    def test_nan(self, server):
        body = '{"signature_name":"regress","examples":[{"x":NaN},{"x":-Infinity}]}'
        assert server.post("/v1/models/half_plus_two:regress", body).body == b'{"results":[NaN,-Infinity]}'

    @pytest.mark.parametrize(
        ("verb", "signature_name", "examples", "told"),
        [
            ("regress", "regress", [], "'examples' value is an empty array"),
            ("regress", "regress", [3], "Example must be JSON object but got JSON Number"),
            ("regress", "regress", [{"x": [10, 10.0]}], "Unexpected element type in feature: x expecting type: int64"),
            ("regress", "regress", [{"x": "text"}], "x"),
            ("regress", "regress", [{"x": [1.0, 2.0]}], "x"),
            ("regress", "classify", [{}], "Expected one output Tensor."),
            ("classify", "regress", [{}], "Expected classification signature outputs to contain at least one of"),
            ("classify", "serving_default", [{}], "No classification inputs found in SignatureDef"),
            ("classify", "nothing", [{}], "No signature was found with the name: nothing"),
        ],
        ids=str,
    )
    def test_mistakes(self, server, verb, signature_name, examples, told):
        assert_error(self.ask(server, verb, signature_name, *examples), 400, told)

    def test_a_feature_name_that_is_not_utf8(self, server):
        body = b'{"signature_name":"regress","examples":[{"\xff":1.0}]}'
        assert_error(server.post("/v1/models/half_plus_two:regress", body), 400, "has a name that is not UTF-8")


class TestGzip:
    @staticmethod
    def post(server, body, encoding="gzip"):
        return server.post(PREDICT, body, {"Content-Encoding": encoding})

    def test_good(self, server):
        assert self.post(server, gzip.compress(ONE)).json == HALF
        assert self.post(server, gzip.compress(ONE), "GZIP").json == HALF
        assert self.post(server, gzip.compress(ONE[:5]) + gzip.compress(b"") + gzip.compress(ONE[5:])).json == HALF

    @pytest.mark.parametrize(
        "body",
        [
            ONE,
            gzip.compress(ONE)[:-3],
            gzip.compress(ONE)[:5],
            gzip.compress(ONE) + b"x",
            zlib.compress(ONE),
            b"\x1f\x8b",
        ],
        ids=["plain", "cut", "cut early", "garbage after", "zlib", "magic"],
    )
    def test_bad(self, server, body):
        assert_error(self.post(server, body), 400, "Failed to uncompress the gzip body: ")

    def test_nothing(self, server):
        assert_error(self.post(server, b""), 400, "The document is empty")

    def test_a_bomb(self, server):
        assert_error(
            self.post(server, gzip.compress(b"0" * 50_000_000)), 413, "The request is larger than 1000000 bytes"
        )

    def test_thousands_of_empty_members(self, server):
        started = time.monotonic()
        assert_error(self.post(server, gzip.compress(b"") * 45_000), 400, "more than 1000 members")
        assert time.monotonic() - started < 5

    def test_an_encoding_that_is_not_known_is_no_json(self, server):
        assert_error(self.post(server, zlib.compress(ONE), "deflate"), 400, "JSON Parse error: ")


class TestBodies:
    def test_the_largest(self, server):
        padded = ONE + b" " * (1_000_000 - len(ONE))
        assert server.post(PREDICT, padded).json == HALF
        assert_error(server.post(PREDICT, padded + b" "), 413, "The request is larger than 1000000 bytes")

    def test_chunks(self, server):
        head = b"POST " + PREDICT.encode() + b" HTTP/1.1" + CLOSE + b"transfer-encoding: chunked\r\n\r\n"
        chunks = b"".join(b"1\r\n" + bytes([each]) + b"\r\n" for each in ONE)
        assert responses(server.raw(head + chunks + b"0\r\n\r\n")) == [(200, b'{"predictions":[2.5]}')]
        assert server.raw(head + b"zz\r\n{").startswith(b"HTTP/1.1 400 ")
        endless = b"f4240\r\n" + b" " * 1_000_000 + b"\r\n5\r\n     \r\n"
        assert server.raw(head + endless).startswith(b"HTTP/1.1 413 ")

    @pytest.mark.parametrize("length", ["-4", "1e3", "99999999999999999999999", "17, 18", "0x11", ""])
    def test_a_wrong_length(self, server, length):
        head = b"POST " + PREDICT.encode() + b" HTTP/1.1" + CLOSE + b"content-length: " + length.encode() + b"\r\n\r\n"
        assert responses(server.raw(head + ONE))[0][0] == 400

    def test_a_length_and_chunks_are_refused(self, server):
        head = (
            b"POST "
            + PREDICT.encode()
            + b" HTTP/1.1"
            + CLOSE
            + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert server.raw(head + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")

    def test_expect_continue(self, server):
        head = (
            b"POST " + PREDICT.encode() + b" HTTP/1.1" + CLOSE + b"expect: 100-continue\r\ncontent-length: 17\r\n\r\n"
        )
        received = server.raw(head + ONE)
        assert received.startswith(b"HTTP/1.1 100 ")
        assert received.endswith(b'{"predictions":[2.5]}')

    def test_pipelined_requests_are_answered_in_order(self, server):
        sent = b""
        for number in range(40):
            body = b'{"instances":[%d]}' % number
            sent += (
                b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
        received = server.raw(sent + b"GET / HTTP/1.1" + CLOSE + b"\r\n")
        found = responses(received)
        assert [json.loads(body)["predictions"][0] for _, body in found[:-1]] == [
            number / 2 + 2 for number in range(40)
        ]
        assert found[-1][0] == 404

    @pytest.mark.parametrize(
        "start",
        [
            b"GET / HTTP/1.1\r\nx: ",
            b"GET /",
            b"POST " + PREDICT.encode() + b" HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx: ",
        ],
        ids=["header", "url", "trailer"],
    )
    def test_an_endless_head(self, server, start):
        started = time.monotonic()
        received = server.raw(start + b"a" * 8_000_000)
        assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
        assert time.monotonic() - started < PATIENCE

    def test_a_long_head_within_the_limit(self, server):
        head = (
            b"POST "
            + PREDICT.encode()
            + b" HTTP/1.1"
            + CLOSE
            + b"x: "
            + b"a" * 500_000
            + b"\r\ncontent-length: 17\r\n\r\n"
        )
        assert responses(server.raw(head + ONE)) == [(200, b'{"predictions":[2.5]}')]

    @pytest.mark.parametrize("split", [0, 1, 60, 140], ids=str)
    def test_an_offer_of_another_protocol_is_not_taken_up(self, server, split):
        """Java's HttpClient and `curl --http2` offer h2c with every request."""
        offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ\r\n"
        post = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\n" + offer + b"content-length: 17\r\n\r\n" + ONE
        websocket = b"GET /v1/models/half_plus_two HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        sent = post + post + websocket + b"GET / HTTP/1.1" + CLOSE + b"\r\n"
        with socket.create_connection(server.rest, timeout=8) as connection:
            connection.sendall(sent[:split])
            time.sleep(0.05)
            connection.sendall(sent[split:])
            received = b""
            while chunk := connection.recv(1 << 16):
                received += chunk
        found = responses(received)
        assert [status for status, _ in found] == [200, 200, 200, 404]
        assert found[0] == found[1] == (200, b'{"predictions":[2.5]}')

    @pytest.mark.parametrize(
        "sent",
        [
            b"\x16\x03\x01\x02\0\x01\0",
            b"GET /v1/models/\xff HTTP/1.1\r\n\r\n",
            b"GET\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"CONNECT x:80 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ],
        ids=ascii,
    )
    def test_what_is_no_http(self, server, sent):
        assert server.raw(sent).startswith(b"HTTP/1.1 400 ")


class TestCors:
    def test_preflight(self, server):
        reply = server.request("OPTIONS", PREDICT, headers={"Origin": "https://example.com"})
        assert (reply.status, reply.body) == (200, b"")
        assert_error(server.request("OPTIONS", PREDICT), 400, "Origin header is missing in CORS preflight")
        assert server.request("OPTIONS", PREDICT, headers={"Origin": "null"}).status == 400

    @pytest.mark.parametrize("path", [PREDICT, "/v1/models/nobody:predict", "/v1/nothing"])
    def test_headers(self, server, path):
        headers = server.post(path, ONE).headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == "POST, GET"
        assert headers["access-control-allow-headers"] == "Content-Type"


class TestMetricsPage:
    @staticmethod
    def count(server, name, status):
        page = server.get("/monitoring/prometheus/metrics")
        assert (page.status, page.headers["content-type"]) == (200, "text/plain")
        pattern = f':tensorflow:serving:request_count{{model_name="{name}",status="{status}"}} (\\d+)'
        found = re.search(pattern, page.body.decode())
        return int(found[1]) if found else 0

    @pytest.mark.parametrize(
        ("name", "body", "status"),
        [("half_plus_two", ONE, "OK"), ("half_plus_two", b"{", "INVALID_ARGUMENT"), ("nobody", ONE, "NOT_FOUND")],
    )
    def test_requests_are_counted(self, server, name, body, status):
        before = self.count(server, name, status)
        server.post(f"/v1/models/{name}:predict", body)
        assert self.count(server, name, status) == before + 1

    def test_it_reads_as_prometheus_text(self, server):
        for name in ('"', "\\", "%0a", "%22%7d", "%ff"):
            server.post(f"/v1/models/{name}:predict", ONE)
        line = re.compile(
            r'(# TYPE \S+ (counter|histogram)|[a-zA-Z_:]\w*(:\w+)*\{(\w+="([^"\\\n]|\\.)*",?)*\} [-+.e\d]+)'
        )
        for each in server.get("/monitoring/prometheus/metrics").body.decode().rstrip("\n").split("\n"):
            assert line.fullmatch(each), each


class TestSlowClients:
    """All wait at the same time: the server's patience is 2 s."""

    WAYS = {
        "nothing": b"",
        "blank line": b"\r\n",
        "half a line": b"POST /v1/mod",
        "half a head": b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\nconte",
        "no body": b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\n\r\n",
        "half a body": b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\n\r\n" + ONE[:9],
        "half a chunk": b"POST "
        + PREDICT.encode()
        + b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
        "a second request": b"GET /v1/models/half_plus_two HTTP/1.1\r\nhost: x\r\n\r\nGET /v1",
    }

    @staticmethod
    def wait(server, sent):
        """How long until the server closes the connection."""
        with socket.create_connection(server.rest, timeout=15) as connection:
            started = time.monotonic()
            connection.sendall(sent)
            while connection.recv(1 << 16):
                pass
            return time.monotonic() - started

    @staticmethod
    def blank_lines(server):
        """The same for a client that sends nothing but blank lines after an answer."""
        with socket.create_connection(server.rest, timeout=15) as connection:
            connection.sendall(b"GET /v1/models/half_plus_two HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.2)
            started = time.monotonic()
            connection.sendall(b"\r\n\r\n")
            while connection.recv(1 << 16):
                pass
            return time.monotonic() - started

    @staticmethod
    def trickle(server):
        """The same for a client that sends a byte of its body every 50 ms."""
        with socket.create_connection(server.rest, timeout=15) as connection:
            started = time.monotonic()
            connection.sendall(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - started < 15:
                    connection.sendall(b" ")
                    time.sleep(0.05)
            return time.monotonic() - started

    def test_they_are_cut_off_and_disturb_nobody(self, server):
        idle = [socket.create_connection(server.rest) for _ in range(500)]
        with concurrent.futures.ThreadPoolExecutor(len(self.WAYS) + 2) as threads:
            waits = {name: threads.submit(self.wait, server, sent) for name, sent in self.WAYS.items()}
            waits["trickle"] = threads.submit(self.trickle, server)
            waits["blank lines"] = threads.submit(self.blank_lines, server)
            for _ in range(20):
                assert server.post(PREDICT, ONE).json == HALF
            waited = {name: each.result() for name, each in waits.items()}
        assert {name: seconds for name, seconds in waited.items() if not 1 < seconds < 6} == {}
        time.sleep(0.3)
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 300
        for each in idle:
            each.close()

    def test_clients_that_go_away_while_they_are_served(self, server):
        body = b'{"signature_name":"slow","instances":[20000]}'
        sent = b"POST /v1/models/zoo:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        for cut in (len(sent), len(sent) - 5, 30):
            for _ in range(5):
                with socket.create_connection(server.rest) as connection:
                    connection.sendall(sent[:cut])
        assert zoo(server, "slow", instances=[1]).json == {"predictions": [1]}

    def test_a_client_that_does_not_read(self, server):
        size = 60_000
        body = b'{"instances":[' + b",".join([b"1.25"] * size) + b"]}"
        sent = b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        with socket.create_connection(server.rest) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                for _ in range(20):
                    connection.sendall(sent)
            assert server.post(PREDICT, ONE).json == HALF


class TestFuzz:
    SETTINGS = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)

    @staticmethod
    def assert_answered(server, sent):
        """Whatever was sent and then ended: a response or a closed connection, and no hang."""
        with socket.create_connection(server.rest, timeout=8) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(1 << 16):
                    received += chunk
        assert received == b"" or re.match(rb"HTTP/1\.1 [1-5]\d\d ", received)
        assert not re.search(rb"HTTP/1\.1 500 ", received)

    @SETTINGS
    @given(sent=st.binary(max_size=200))
    def test_random_bytes(self, server, sent):
        self.assert_answered(server, sent)

    @SETTINGS
    @given(
        start=st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"HEAD"]),
        path=st.sampled_from(
            [PREDICT, "/v1/models/zoo:predict", "/", "*", "/v1/models/%", "/v1/models/half_plus_two:regress"]
        ),
        headers=st.lists(
            st.sampled_from(
                [
                    b"content-length: 17",
                    b"content-length: 3",
                    b"transfer-encoding: chunked",
                    b"content-encoding: gzip",
                    b"expect: 100-continue",
                    b"connection: keep-alive",
                    b"upgrade: websocket",
                    b"connection: upgrade",
                    b"x:",
                    b"origin: http://a",
                    b"content-length: -1",
                    b": x",
                    b"host: \xff",
                    b"content-type: \0",
                ]
            ),
            max_size=4,
        ),
        body=st.sampled_from([ONE, b"", b'5\r\n{"ins\r\n0\r\n\r\n', gzip.compress(ONE)]) | st.binary(max_size=40),
    )
    def test_requests_out_of_parts(self, server, start, path, headers, body):
        self.assert_answered(
            server,
            b"\r\n".join([start + b" " + path.encode() + b" HTTP/1.1", *headers, b"connection: close", b"", body]),
        )

    _VALUES = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"b64": "YQ=="}),
        lambda each: (
            st.lists(each, max_size=4)
            | st.dictionaries(st.sampled_from(["x", "text", "number", "v"]), each, max_size=3)
        ),
        max_leaves=8,
    )

    @SETTINGS
    @given(
        name=st.sampled_from(
            [
                "greet",
                "vectors",
                "echo_int8",
                "echo_bool",
                "echo_bytes",
                "fail",
                "scalar",
                "ragged",
                "uneven",
                "regress",
            ]
        ),
        verb=st.sampled_from(["predict", "classify", "regress"]),
        key=st.sampled_from(["instances", "inputs", "examples"]),
        value=_VALUES,
    )
    def test_documents(self, server, name, verb, key, value):
        reply = server.post(f"/v1/models/zoo:{verb}", {"signature_name": name, key: value})
        assert reply.status in (200, 400, 501)
        if reply.status != 200:
            assert list(reply.json) == ["error"]


class TestConcurrency:
    def test_each_client_gets_its_own_answer(self, server):
        def client(number):
            for turn in range(25):
                value = number * 1000 + turn
                reply = server.predict("half_plus_two", {"instances": [value, -value]})
                assert reply.json == {"predictions": [value / 2 + 2, -value / 2 + 2]}

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            list(threads.map(client, range(8)))

    def test_good_and_bad_requests_at_once(self, server):
        """They share runs; each gets what is its own, on connections that stay open."""

        def client(number):
            with contextlib.closing(http.client.HTTPConnection(*server.rest, timeout=30)) as connection:
                for turn in range(30):
                    value = number * 100 + turn
                    good = (number + turn) % 3
                    rows = [value, "text" if good == 1 else -1 if good == 2 else 1]
                    connection.request(
                        "POST", "/v1/models/zoo:predict", json.dumps({"signature_name": "fail", "instances": rows})
                    )
                    response = connection.getresponse()
                    answer = json.loads(response.read())
                    if good:
                        assert response.status == 400
                        assert ("is not of expected type" if good == 1 else "x is negative") in answer["error"]
                    else:
                        assert answer == {"predictions": pytest.approx([math.sqrt(value), 1.0], rel=1e-6)}

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            list(threads.map(client, range(8)))

    def test_what_arrives_together_shares_a_run(self, server):
        busy, *clients = (http.client.HTTPConnection(*server.rest, timeout=10) for _ in range(17))
        large = json.dumps(
            {"instances": [{"x": each / 7} for each in range(40_000)]}
        )  # holds the event loop for a moment
        small = [json.dumps({"signature_name": "size", "instances": [number, number]}) for number in range(16)]
        most = 0
        for _ in range(20):
            busy.request("POST", PREDICT, large)
            for each, body in zip(clients, small, strict=True):
                each.request("POST", "/v1/models/zoo:predict", body)
            assert len(json.loads(busy.getresponse().read())["predictions"]) == 40_000
            for number, each in enumerate(clients):
                rows = json.loads(each.getresponse().read())["predictions"]
                assert [row["x"] for row in rows] == [number, number]
                most = max(most, *(row["rows"] for row in rows))
        for each in (busy, *clients):
            each.close()
        assert most > 2

    def test_a_slow_request_does_not_hold_up_a_fast_one(self, server):
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            slow = threads.submit(zoo, server, "slow", instances=[300_000])
            time.sleep(0.1)
            waits = []
            for _ in range(10):
                started = time.monotonic()
                assert server.post(PREDICT, ONE).json == HALF
                waits.append(time.monotonic() - started)
            assert slow.result().status in (200, 504)
        assert math.fsum(waits) / len(waits) < 0.3
