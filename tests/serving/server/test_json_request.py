"""JSON requests → tensors and examples."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from signatures import signature

from serving.server.json_examples import examples
from serving.server.json_request import columns, instances, parse, scalar_columns, signature_name
from serving.server.status import Code, StatusError

X = signature({"x": (tf.float32, [None])})
TEXT = signature({"text": (tf.string, [None])})
GREET = signature({"number": (tf.int64, [None]), "text": (tf.string, [None])})
MANY = signature(
    {"a": (tf.float32, [None]), "b": (tf.float32, [None]), "n": (tf.int64, [None]), "t": (tf.string, [None])}
)
HALF = signature({"x": (tf.float16, [None])})
SIGNATURES = [X, TEXT, GREET, MANY, HALF, signature({"x": (tf.bool, None)}), signature({"v": (tf.int32, [None, 3])})]


def arrays(document, of=X):
    parsed = parse(document if isinstance(document, bytes) else json.dumps(document).encode())
    rows = instances(parsed, of)
    return columns(parsed, of) if rows is None else rows.arrays()


def refusal(act, *arguments):
    with pytest.raises(StatusError) as raised:
        act(*arguments)
    return raised.value


def assert_bad_request(error, *codes):
    assert error.code in (Code.INVALID_ARGUMENT, *codes)
    assert len(error.message) < 5_000


def row_error(position, told, key=""):
    where = f" key: {key}" if key else ""
    return f"Failed to process element: {position}{where} of 'instances' list. Error: INVALID_ARGUMENT: {told}"


class TestParse:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b'{"a": 1} and more', {"a": 1}),
            (b'{"a": 1}{"a": 2}', {"a": 1}),
            (b'\n {"a": [Infinity, -Infinity]}', {"a": [math.inf, -math.inf]}),
            (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
            (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
            (b'{"a": "\\ud83d\\ude00", "b": NaNny', None),
            (b'{"a": "\\\\ud800"} x', {"a": "\\ud800"}),
            (b'{"a": "\xff"}', {"a": "\udcff"}),
            (b'{"a": 18446744073709551615}', {"a": 18446744073709551615}),
            (b'{"a": 18446744073709551615, "b": Infinity}', {"a": 18446744073709551615, "b": math.inf}),
        ],
        ids=str,
    )
    def test_what_tensorflow_serving_accepts(self, body, expected):
        if expected is None:
            assert refusal(parse, body).code is Code.INVALID_ARGUMENT
        else:
            assert parse(body) == expected

    def test_nan(self):
        assert math.isnan(parse(b'{"a": NaN}')["a"])

    @pytest.mark.parametrize("tail", [b"}", b', "b": NaN}'], ids=["strict", "lenient"])
    @pytest.mark.parametrize("digits", [b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 300])
    def test_an_integer_of_more_than_64_bits_is_a_double(self, digits, tail):
        value = parse(b'{"a": ' + digits + tail)["a"]
        assert type(value) is float
        assert value == float(digits)

    @pytest.mark.parametrize("digits", [b"1" + b"0" * 400, b"-1" + b"0" * 5_000, b"1e400", b"-2e308"], ids=len)
    def test_a_number_beyond_double_is_refused(self, digits):
        error = refusal(parse, b'{"a": ' + digits + b"}")
        assert error.message == "JSON Parse error: Number too big to be stored in double."

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"", "The document is empty"),
            (b"  ", "Invalid value. at offset: 0"),
            (b"{", "Missing a name for object member. at offset: 1"),
            (b'{"a"', "Missing a colon after a name of object member. at offset: 4"),
            (b'{"a": [1, 2', "Missing a comma or } after an object member. at offset: 11"),
            (b'{"a": tru}', "Invalid value. at offset: 6"),
            (b'{"a": "x', "Missing a closing quotation mark in string. at offset: 6"),
            (b'{"a": "\n"}', "Invalid encoding in string. at offset: 7"),
            (b'{"a": "\\x"}', "Invalid escape character in string. at offset: 7"),
            (b'{"a": "\\u12"}', "Incorrect hex digit after \\u escape in string. at offset: 8"),
            (b'{"a": 1,}', "Missing a name for object member. at offset: 7"),
            (b'{"a": "\\ud800"}', "The surrogate pair in string is invalid."),
            (b'{"a": "\\udc80"}', "The surrogate pair in string is invalid."),
            (b'{"\\ud800\\u0041": 1}', "The surrogate pair in string is invalid."),
            (b'{"a": ' + b"[" * 500_000, "Nested too deeply"),
            (b'{"a": ' * 500_000, "Nested too deeply"),
        ],
        ids=lambda each: repr(each)[:40],
    )
    def test_what_is_no_json(self, body, told):
        error = refusal(parse, body)
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message.startswith("JSON Parse error: ")
        assert told.split(" at offset")[0] in error.message

    @pytest.mark.parametrize("depth", [1_500, 5_000, 100_000])
    @pytest.mark.parametrize("key", [b"instances", b"inputs", b"signature_name"])
    def test_what_is_nested_deeply(self, depth, key):
        """How deep Python's own parser goes differs between its versions; no tensor is that deep."""
        body = b'{"' + key + b'": ' + b"[" * depth + b"]" * depth + b"}"
        assert_bad_request(refusal(arrays, body))

    @pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"a"', b"[[[1]]]", b"NaN"])
    def test_what_is_no_object(self, body):
        assert refusal(parse, body).message == f"JSON Value: {body.decode()} Is not object"

    @given(st.binary(max_size=60))
    def test_bytes_are_an_object_or_a_status(self, body):
        try:
            assert type(parse(body)) is dict
        except StatusError as error:
            assert_bad_request(error)


class TestSignatureName:
    def test_it_may_be_missing_or_empty(self):
        assert signature_name({}) == ""
        assert signature_name({"signature_name": ""}) == ""
        assert signature_name({"signature_name": "a"}) == "a"

    @pytest.mark.parametrize("name", [None, 3, ["a"], {"b64": "YQ=="}, True], ids=str)
    def test_it_must_be_a_text(self, name):
        error = refusal(signature_name, {"signature_name": name})
        assert error.message.endswith(" not formatted correctly. 'signature_name' key must be a string value.")


class TestFormats:
    @pytest.mark.parametrize(
        ("document", "told"),
        [
            ({}, "Missing 'inputs' or 'instances' key"),
            ({"Instances": [1]}, "Missing 'inputs' or 'instances' key"),
            ({"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances' keys to exist "),
            ({"instances": 1}, "Expecting 'instances' to be an list/array"),
            ({"instances": None}, "Expecting 'instances' to be an list/array"),
            ({"instances": {"x": 1}}, "Expecting 'instances' to be an list/array"),
            ({"instances": []}, "No values in 'instances' array"),
        ],
        ids=str,
    )
    def test_one_of_two_formats(self, document, told):
        assert refusal(arrays, document).message.endswith(told)

    def test_other_keys_are_ignored(self):
        assert arrays({"x": [7], "instances": [1], "signature": None})[0].tolist() == [1.0]


class TestRows:
    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            ([1, 2.5], [1.0, 2.5]),
            ([{"x": 1}, {"x": 2.5}], [1.0, 2.5]),
            ([[1], [2]], [[1.0], [2.0]]),
            ([{"x": [[1, 2]]}], [[[1.0, 2.0]]]),
            ([[]], [[]]),
        ],
        ids=str,
    )
    def test_of_one_input(self, document, expected):
        assert arrays({"instances": document})[0].tolist() == expected

    def test_of_several_inputs_come_in_the_signatures_order(self):
        rows = [{"text": "a", "number": 1}, {"number": 2, "text": {"b64": "/w=="}}]
        found = dict(zip(GREET.input_names, arrays({"instances": rows}, GREET), strict=True))
        assert found["number"].tolist() == [1, 2]
        assert found["text"].tolist() == [b"a", b"\xff"]

    def test_base64_is_a_value(self):
        assert arrays({"instances": [{"b64": "YQ=="}, "b"]}, TEXT)[0].tolist() == [b"a", b"b"]
        assert arrays({"instances": [{"text": {"b64": "YQ=="}}]}, TEXT)[0].tolist() == [b"a"]

    @pytest.mark.parametrize(
        ("rows", "of", "told"),
        [
            ([1, {"x": 1}], X, "Expecting value/list but got object at item 1 of input list"),
            ([{"x": 1}, 1], X, "Expecting object but got list at item 1 of input list"),
            ([{"x": 1}, [1]], X, "Expecting object but got list at item 1 of input list"),
            ([1, [1]], X, row_error(1, "Expecting shape [] but got: [1]")),
            ([[1], [1, 2]], X, row_error(1, "Expecting tensor size: 1 but got: 2")),
            ([[[1, 2]], [[1], [2]]], X, row_error(1, "Expecting shape [1,2] but got: [2,1]")),
            ([{"y": 1}], X, row_error(0, "JSON object: does not have named input: y", "y")),
            (
                [{"x": 1}, {"x": "a"}],
                X,
                row_error(1, 'JSON Value: "a" Type: String is not of expected type: float', "x"),
            ),
            (
                [[[1], 2]],
                X,
                row_error(0, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
            ),
            (
                [1],
                HALF,
                row_error(0, "").replace(
                    "INVALID_ARGUMENT: ", "UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half"
                ),
            ),
        ],
        ids=str,
    )
    def test_mistakes(self, rows, of, told):
        error = refusal(arrays, {"instances": rows}, of)
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message == told

    @pytest.mark.parametrize("rows", [[1], ["a"], [[1, "a"]], [None], [{"b64": "YQ=="}]], ids=str)
    def test_several_inputs_need_objects(self, rows):
        error = refusal(arrays, {"instances": rows}, GREET)
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message.startswith("instances is a plain list, but expecting list of objects")

    @pytest.mark.parametrize("row", [{}, {"text": "a"}, {"number": 1}], ids=str)
    def test_an_object_must_hold_every_input(self, row):
        error = refusal(arrays, {"instances": [row]}, GREET)
        assert error.message.startswith("Failed to process element: 0 of 'instances' list. JSON object: {")
        assert error.message.endswith(" keys must be equal to: number,text")

    def test_nesting_as_deep_as_numpy_can(self):
        assert arrays(b'{"instances": ' + b"[" * 32 + b"1" + b"]" * 32 + b"}")[0].ndim == 32
        error = refusal(arrays, b'{"instances": ' + b"[" * 33 + b"1" + b"]" * 33 + b"}")
        assert error.message == row_error(0, "JSON Value is nested 32 lists deep, which is deeper than 31")

    def test_texts_need_not_be_utf8(self):
        assert arrays(b'{"instances": [{"text": "\xff\xc3\xa9"}]}', TEXT)[0].tolist() == [b"\xff\xc3\xa9"]

    def test_a_key_need_not_be_utf8(self):
        assert "does not have named input" in refusal(arrays, b'{"instances": [{"\xff": 1}]}').message


class TestColumns:
    @pytest.mark.parametrize("given", [1, [1], [[1], [2]], [], [[]]], ids=str)
    def test_of_one_input_may_be_bare(self, given):
        assert arrays({"inputs": given})[0].tolist() == given
        assert arrays({"inputs": {"x": given, "y": "ignored"}})[0].tolist() == given

    def test_bare_base64(self):
        assert arrays({"inputs": {"b64": "YQ=="}}, TEXT)[0].item() == b"a"

    def test_inputs_may_differ_in_shape(self):
        found = dict(
            zip(GREET.input_names, arrays({"inputs": {"text": [["a"], ["b"]], "number": 7}}, GREET), strict=True)
        )
        assert found["text"].tolist() == [[b"a"], [b"b"]]
        assert found["number"].shape == ()

    @pytest.mark.parametrize(
        ("given", "of", "told"),
        [
            ({"y": 1}, X, "Missing named input: x in 'inputs' object."),
            ({}, X, "Missing named input: x in 'inputs' object."),
            ({"text": "a"}, GREET, "Missing named input: number in 'inputs' object."),
            ([1], GREET, "inputs is a plain value/list, but expecting an object as multiple"),
            ({"b64": "YQ=="}, GREET, "inputs is a plain value/list, but expecting an object as multiple"),
            (None, X, "JSON Value: null Type: Null is not of expected type: float"),
            ([[1], [1, 2]], X, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ],
        ids=str,
    )
    def test_mistakes(self, given, of, told):
        error = refusal(arrays, {"inputs": given}, of)
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message.startswith(told)

    def test_a_type_that_json_cannot_carry_is_unimplemented(self):
        assert refusal(arrays, {"inputs": [1]}, HALF).code is Code.UNIMPLEMENTED


_ROWS = st.fixed_dictionaries(
    {
        "a": st.floats(width=32) | st.integers(-(1 << 70), 1 << 70),
        "b": st.integers(-5, 5) | st.booleans() | st.none(),
        "n": st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(),
        "t": st.text() | st.just({"b64": "/w=="}),
    }
)


@given(st.lists(_ROWS, min_size=1, max_size=4))
def test_the_fast_way_and_the_exact_way_agree(rows):
    """`scalar_columns` must give what the way with the complaints gives, or nothing."""
    fast = scalar_columns(rows, MANY)
    parsed = {"instances": [{**row, "a": [row["a"]]} for row in rows]}  # lists take the exact way
    try:
        exact = instances(parsed, MANY).arrays()
    except StatusError:
        assert fast is None
        return
    exact[MANY.input_names.index("a")] = exact[MANY.input_names.index("a")][:, 0]
    for one, other in zip(fast or [], exact, strict=False):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"b64": "YQ=="})
_VALUES = st.recursive(
    _SCALARS,
    lambda each: (
        st.lists(each, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "a", "b", "n", "t", "text", "number", "b64", "é"]), each, max_size=4)
    ),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(
    st.sampled_from(["instances", "inputs", "signature_name", "examples", "context", "other"]), _VALUES, max_size=3
)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(_DOCUMENTS, st.sampled_from(SIGNATURES))
def test_a_document_is_tensors_or_a_status(document, of):
    try:
        found = arrays(document, of)
    except StatusError as error:
        assert_bad_request(error, Code.UNIMPLEMENTED)
        return
    assert [array.dtype for array in found] == [each.dtype for each in of.inputs]


@given(_DOCUMENTS)
def test_a_document_is_examples_or_a_status(document):
    try:
        found = examples(document)
    except StatusError as error:
        assert_bad_request(error)
        return
    for each in found:
        tf.train.Example.FromString(each)


class TestExamples:
    @staticmethod
    def features(document):
        return [
            {
                name: list(getattr(feature, feature.WhichOneof("kind") or "int64_list").value)
                for name, feature in tf.train.Example.FromString(each).features.feature.items()
            }
            for each in examples(parse(document if isinstance(document, bytes) else json.dumps(document).encode()))
        ]

    def test_values_and_lists_of_each_kind(self):
        given = {
            "i": 1,
            "j": [1, -2],
            "f": 1.5,
            "g": [1.0, 2.5],
            "s": "é",
            "b": [{"b64": "/w=="}, "a"],
            "t": [True, 3],
            "e": [],
        }
        assert self.features({"examples": [given, {}]}) == [
            {
                "i": [1],
                "j": [1, -2],
                "f": [1.5],
                "g": [1.0, 2.5],
                "s": ["é".encode()],
                "b": [b"\xff", b"a"],
                "t": [1, 3],
                "e": [],
            },
            {},
        ]

    def test_nan_and_infinity(self):
        found = self.features(b'{"examples": [{"x": [NaN, Infinity, -Infinity, 1e39]}]}')[0]["x"]
        assert math.isnan(found[0])
        assert found[1:] == [math.inf, -math.inf, math.inf]

    def test_the_context_is_merged_into_each(self):
        given = {"context": {"c": 7, "x": 0}, "examples": [{"x": 1}, {"c": 8}]}
        assert self.features(given) == [{"c": [7], "x": [1]}, {"c": [8], "x": [0]}]

    def test_a_huge_integer_is_a_float(self):
        assert self.features(b'{"examples": [{"x": 18446744073709551616}]}') == [{"x": [2.0**64]}]

    @pytest.mark.parametrize(
        ("document", "told"),
        [
            ({}, "When method is classify, key 'examples' is expected and was not found"),
            ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
            ({"examples": []}, "'examples' value is an empty array"),
            ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
            ({"examples": [{}, None]}, "Example must be JSON object but got JSON Null"),
            ({"examples": [{}], "context": "a"}, "Example must be JSON object but got JSON String"),
            ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
            ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
            ({"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
            ({"examples": [{"x": [10, 10.0]}]}, "Unexpected element type in feature: x expecting type: int64"),
            ({"examples": [{"x": [1.5, 2]}]}, "Unexpected element type in feature: x expecting type: float"),
            ({"examples": [{"x": ["a", 2]}]}, "Unexpected element type in feature: x expecting type: bytes"),
            ({"examples": [{"x": [1.5, True]}]}, "Unexpected element type in feature: x expecting type: float"),
            ({"examples": [{"x": 1 << 63}]}, "Feature: x has uint64_t element. Only int64_t is supported."),
            ({"examples": [{"x": {"b64": "?"}}]}, "Unable to base64 decode"),
            (b'{"examples": [{"\xff": 1}]}', "has a name that is not UTF-8"),
        ],
        ids=str,
    )
    def test_mistakes(self, document, told):
        error = refusal(self.features, document)
        assert error.code is Code.INVALID_ARGUMENT
        assert error.message.endswith(told)
