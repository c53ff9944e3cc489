"""PredictionService and ModelService over gRPC: answers, codes and messages."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from model_server import model_config
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

MODEL = "half_plus_two"
SERVICE = "/tensorflow.serving.PredictionService"
Code = grpc.StatusCode
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def channel(server):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=[*options, ("grpc.enable_http_proxy", 0)]) as opened:
        yield opened


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return ModelServiceStub(channel)


@pytest.fixture
def reload(models, half_plus_two_base, zoo_base):
    """Reloads the server's config, and puts it back in the end."""
    paths = {MODEL: half_plus_two_base, "zoo": zoo_base}

    def act(config=None, labels=None):
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(config or model_config(paths, labels), request.config)
        return models.HandleReloadConfigRequest(request, timeout=30)

    yield act
    act()


def spec_of(request, name=MODEL, signature="", version=None, label=None):
    spec = getattr(request, "model_spec", request)
    spec.name, spec.signature_name = name, signature
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return request


def predict_request(inputs, model=MODEL, signature="", outputs=(), **spec):
    """Inputs are values, or TensorProtos."""
    request = spec_of(predict_pb2.PredictRequest(output_filter=outputs), model, signature, **spec)
    for name, given in inputs.items():
        is_proto = isinstance(given, TensorProto)
        request.inputs[name].CopyFrom(given if is_proto else tf.make_tensor_proto(given))
    return request


def tensor(text):
    return text_format.Parse(text, TensorProto())


def with_examples(request, *values, context=None):
    listed = request.input.example_list_with_context if context is not None else request.input.example_list
    if context is not None:
        listed.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        example = listed.examples.add()
        if value is not None:
            example.features.feature["x"].float_list.value.append(value)
    return request


def classify_request(*values, signature="classify", model=MODEL, context=None, **spec):
    request = spec_of(classification_pb2.ClassificationRequest(), model, signature, **spec)
    return with_examples(request, *values, context=context)


def regress_request(*values, signature="regress", model=MODEL, context=None, **spec):
    request = spec_of(regression_pb2.RegressionRequest(), model, signature, **spec)
    return with_examples(request, *values, context=context)


def multi_request(*tasks, values=(1.0,)):
    request = with_examples(inference_pb2.MultiInferenceRequest(), *values)
    for model, signature, method in tasks:
        spec_of(request.tasks.add(method_name=method), model, signature)
    return request


def refused(call, request, code, told, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10, **options)
    assert (caught.value.code(), told) == (code, told if told in caught.value.details() else caught.value.details())


def spec_as_tuple(spec):
    return spec.name, spec.version.value, spec.signature_name


class TestPredict:
    def test_the_known_answers(self, prediction):
        response = prediction.Predict(predict_request({"x": [1.0, 2.0, 5.0]}))
        assert dict(response.outputs) == {"y": tensor("dtype: DT_FLOAT tensor_shape { dim { size: 3 } } "
                                                      "float_val: [2.5, 3.0, 4.5]")}  # fmt: skip
        assert spec_as_tuple(response.model_spec) == (MODEL, 123, "serving_default")

    def test_the_version_and_the_signature_that_are_named(self, prediction):
        response = prediction.Predict(predict_request({"x": [1.0]}, signature="serving_default", version=123))
        assert spec_as_tuple(response.model_spec) == (MODEL, 123, "serving_default")

    @pytest.mark.parametrize(
        ("spec", "code", "told"),
        [
            ({"model": "unknown"}, Code.NOT_FOUND, "Servable not found for request: Latest(unknown)"),
            ({"version": 7}, Code.NOT_FOUND, "Servable not found for request: Specific(half_plus_two, 7)"),
            ({"version": -1}, Code.NOT_FOUND, "Servable not found for request: Specific(half_plus_two, -1)"),
            ({"version": 0}, Code.NOT_FOUND, "Servable not found for request: Specific(half_plus_two, 0)"),
            ({"label": "stable"}, Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable"),
            ({"label": ""}, Code.INVALID_ARGUMENT, "Unrecognized servable version label: "),
            ({"model": ""}, Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
            ({"signature": "no"}, Code.FAILED_PRECONDITION, 'Serving signature key "no" not found.'),
            ({"model": "zoo"}, Code.FAILED_PRECONDITION, 'Serving signature key "serving_default" not found.'),
        ],
        ids=str,
    )
    def test_a_spec_that_names_nothing(self, prediction, spec, code, told):
        refused(prediction.Predict, predict_request({"x": [1.0]}, **spec), code, told)

    def test_a_missing_spec(self, prediction):
        refused(prediction.Predict, predict_pb2.PredictRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec")

    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            (
                {},
                "input size does not match signature: 0!=2 len({}) != len({number,text}). Sent extra: {}. "
                "Missing but required: {number,text}.",
            ),
            (
                {"text": ["a"]},
                "input size does not match signature: 1!=2 len({text}) != len({number,text}). Sent extra: {}. "
                "Missing but required: {number}.",
            ),
            (
                {"text": ["a"], "number": [1], "z": [1]},
                "input size does not match signature: 3!=2 len({number,text,z}) != len({number,text}). "
                "Sent extra: {z}. Missing but required: {}.",
            ),
            ({"text": ["a"], "Number": [1]}, "Signature input alias: number(feed name: "),
        ],
    )
    def test_inputs_that_are_not_the_signatures(self, prediction, inputs, told):
        refused(prediction.Predict, predict_request(inputs, "zoo", "greet"), Code.INVALID_ARGUMENT, told)

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ([1], "Expects arg[0] to be float but int32 is provided"),
            (np.array([1.0]), "Expects arg[0] to be float but double is provided"),
            (["a"], "Expects arg[0] to be float but string is provided"),
            (np.array([1.0], np.float16), "Expects arg[0] to be float but half is provided"),
            (np.array([True]), "Expects arg[0] to be float but bool is provided"),
        ],
        ids=str,
    )
    def test_an_input_of_another_type(self, prediction, given, told):
        refused(prediction.Predict, predict_request({"x": given}), Code.INVALID_ARGUMENT, told)

    @pytest.mark.parametrize(
        "text",
        [
            "dtype: DT_FLOAT tensor_shape { dim { size: -1 } } float_val: 1",
            "dtype: DT_FLOAT tensor_shape { dim { size: -9223372036854775808 } } float_val: 1",
            "dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: -1 } } float_val: 1",
            "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1",
            "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: [1, 2]",
            "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: '123'",
            "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: '123456789'",
            "dtype: DT_FLOAT tensor_shape { dim { size: 0 } } float_val: 1",
            "dtype: DT_INVALID tensor_shape { dim { size: 1 } }",
            "dtype: DT_RESOURCE tensor_shape { dim { size: 1 } }",
            "dtype: DT_VARIANT tensor_shape { dim { size: 1 } } variant_val { type_name: 'x' }",
            "dtype: DT_FLOAT_REF tensor_shape { dim { size: 1 } } float_val: 1",
            "dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\\377\\377\\377\\377\\377'",
            "",
        ],
    )
    def test_a_tensor_that_is_none(self, prediction, text):
        told = "tensor parsing error: x"
        request = predict_request({"x": tensor(text)})
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(request, timeout=10)
        assert caught.value.code() is Code.INVALID_ARGUMENT
        assert caught.value.details() == told or "FLOAT_REF" in text

    def test_a_type_number_that_does_not_exist(self, prediction):
        request = predict_request({"x": [1.0]})
        request.inputs["x"].dtype = 9999
        refused(prediction.Predict, request, Code.INVALID_ARGUMENT, "tensor parsing error: x")

    @pytest.mark.parametrize(
        "sides", [[1 << 40], [1 << 62, 1 << 62], [(1 << 63) - 1], [1 << 20, 1 << 20], [(1 << 26) + 1]], ids=str
    )
    def test_a_few_bytes_do_not_become_a_huge_tensor(self, prediction, sides):
        request = predict_request({"x": [1.0]})
        del request.inputs["x"].tensor_shape.dim[:]
        for side in sides:
            request.inputs["x"].tensor_shape.dim.add().size = side
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(request, timeout=10)
        assert caught.value.code() is Code.INVALID_ARGUMENT

    @pytest.mark.parametrize("sides", [[0, 1 << 62], [1 << 62, 0], [0, 1 << 40, 1 << 40]], ids=str)
    def test_an_empty_tensor_with_huge_sides(self, prediction, sides):
        request = predict_request({"x": tensor("dtype: DT_FLOAT")})
        for side in sides:
            request.inputs["x"].tensor_shape.dim.add().size = side
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(request, timeout=10)
        assert caught.value.code() is Code.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("tensor_shape { dim { size: 3 } } float_val: 4", [4.0] * 3),
            ("tensor_shape { dim { size: 3 } } float_val: [2, 4]", [3.0, 4.0, 4.0]),
            ("tensor_shape { dim { size: 3 } }", [2.0, 2.0, 2.0]),
            ("tensor_shape { dim { size: 0 } }", []),
            (r"tensor_shape { dim { size: 2 } } tensor_content: '\0\0\200?\0\0\0@'", [2.5, 3.0]),
        ],
    )
    def test_other_ways_to_write_a_tensor(self, prediction, text, expected):
        request = predict_request({"x": tensor(f"dtype: DT_FLOAT {text}")})
        assert list(prediction.Predict(request).outputs["y"].float_val) == expected

    def test_texts_repeat_their_last_value_too(self, prediction):
        text = tensor("dtype: DT_STRING tensor_shape { dim { size: 3 } } string_val: ['a', 'b']")
        response = prediction.Predict(predict_request({"text": text}, "zoo", "echo_text"))
        assert list(response.outputs["text"].string_val) == [b"a", b"b", b"b"]

    def test_texts_and_bytes(self, prediction):
        inputs = {"text": [b"Ada", "Zoë \u2603".encode(), b"\xff\x00"], "number": np.array([1, -2, 1 << 62])}
        response = prediction.Predict(predict_request(inputs, "zoo", "greet"))
        said = [b"Ada is 1", "Zoë \u2603 is -2".encode(), b"\xff\x00 is 4611686018427387904"]
        assert list(response.outputs["greeting"].string_val) == said
        assert list(response.outputs["next"].int64_val) == [2, -1, (1 << 62) + 1]

    def test_texts_in_tensor_content(self, prediction):
        text = tensor(r"dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\001\003aBCD'")
        response = prediction.Predict(predict_request({"text": text}, "zoo", "echo_text"))
        assert list(response.outputs["text"].string_val) == [b"a", b"BCD"]

    @pytest.mark.parametrize(
        ("dtype", "values", "field"),
        [
            ("float32", [1.5, -0.0, float("inf"), 1e-45], "float_val"),
            ("float64", [0.1, 1e308], "double_val"),
            ("int8", [-128, 127], "int_val"),
            ("int16", [-(1 << 15)], "int_val"),
            ("int32", [-(1 << 31), (1 << 31) - 1], "int_val"),
            ("int64", [-(1 << 63), (1 << 63) - 1], "int64_val"),
            ("uint8", [0, 255], "int_val"),
            ("uint16", [65535], "int_val"),
            ("uint32", [(1 << 32) - 1], "uint32_val"),
            ("uint64", [(1 << 64) - 1], "uint64_val"),
            ("bool", [True, False], "bool_val"),
            ("float16", [1.5, -2.0], None),
        ],
    )
    def test_every_type_comes_back_as_it_went(self, prediction, dtype, values, field):
        given = np.array(values, dtype)
        response = prediction.Predict(predict_request({"x": given}, "zoo", f"echo_{dtype}"))
        output = response.outputs["y"]
        assert output.dtype == tf.as_dtype(dtype).as_datatype_enum
        np.testing.assert_array_equal(tf.make_ndarray(output), given)
        if field:
            assert len(getattr(output, field)) == len(values)
            assert not output.tensor_content

    def test_nan_comes_back(self, prediction):
        output = prediction.Predict(predict_request({"x": [float("nan")]})).outputs["y"]
        assert np.isnan(output.float_val[0])

    def test_scalars(self, prediction):
        output = prediction.Predict(predict_request({"x": np.float32(2)}, "zoo", "scalar")).outputs["y"]
        assert (list(output.float_val), len(output.tensor_shape.dim)) == ([3.0], 0)
        assert not output.tensor_shape.unknown_rank

    @pytest.mark.parametrize("given", [np.float32(1), np.ones([3], np.float32)], ids=str)
    def test_a_shape_that_the_graph_refuses(self, prediction, given):
        request = predict_request({"v": given}, "zoo", "vectors")
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(request, timeout=10)
        assert caught.value.code() is Code.INVALID_ARGUMENT

    def test_a_graph_that_fails(self, prediction):
        request = predict_request({"x": np.array([-1.0], np.float32)}, "zoo", "fail")
        refused(prediction.Predict, request, Code.INVALID_ARGUMENT, "x is negative")

    def test_a_signature_that_only_classifies_answers_predict_too(self, prediction):
        example = classify_request(4.0).input.example_list.examples[0].SerializeToString()
        response = prediction.Predict(predict_request({"inputs": [example]}, signature="classify"))
        assert list(response.outputs["scores"].float_val) == [-4.0, 4.0]

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ([], {"total", "doubled"}),
            (["total"], {"total"}),
            (["doubled", "total"], {"total", "doubled"}),
        ],
    )
    def test_an_output_filter(self, prediction, names, expected):
        request = predict_request({"v": np.ones([1, 3], np.float32)}, "zoo", "vectors", names)
        assert set(prediction.Predict(request).outputs) == expected

    @pytest.mark.parametrize(
        ("names", "told"),
        [
            (
                ["no"],
                "output tensor alias not found in signature: no Outputs expected to be in the set {doubled,total}.",
            ),
            (["total", ""], "output tensor alias not found in signature:  Outputs expected to be in"),
            (["total", "total"], "duplicate output tensor alias: total"),
        ],
    )
    def test_a_wrong_output_filter(self, prediction, names, told):
        request = predict_request({"v": np.ones([1, 3], np.float32)}, "zoo", "vectors", names)
        refused(prediction.Predict, request, Code.INVALID_ARGUMENT, told)


class TestMessages:
    def test_a_long_message_is_cut(self, prediction):
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(predict_request({"x": [1.0]}, "m" * 5000))
        assert caught.value.code() is Code.NOT_FOUND
        assert caught.value.details() == f"Servable not found for request: Latest({'m' * 5000}"[:1024] + "...TRUNCATED"

    def test_a_message_is_not_cut_within_a_character(self, prediction):
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(predict_request({"x": [1.0]}, "€" * 1000))
        told = caught.value.details()
        assert told.endswith("€...TRUNCATED")
        assert len(told.encode()) <= 1024 + len("...TRUNCATED")

    @pytest.mark.parametrize("name", ["a\nb", "a\0b", "%41", "Zoë"])
    def test_odd_characters_survive(self, prediction, name):
        told = f"Servable not found for request: Latest({name})"
        refused(prediction.Predict, predict_request({"x": [1.0]}, name), Code.NOT_FOUND, told)

    @pytest.mark.parametrize("method", ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"])
    @pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\xff", b"garbage" * 100], ids=len)
    def test_bytes_that_are_no_message(self, channel, prediction, method, raw):
        refused(channel.unary_unary(f"{SERVICE}/{method}"), raw, Code.INTERNAL, "")
        assert prediction.Predict(predict_request({"x": [1.0]})).outputs["y"].float_val == [2.5]

    def test_no_bytes_at_all(self, channel):
        refused(channel.unary_unary(f"{SERVICE}/Predict"), b"", Code.INVALID_ARGUMENT, "Missing ModelSpec")

    def test_an_unknown_field_is_ignored(self, channel):
        raw = predict_request({"x": [1.0]}).SerializeToString() + b"\xfa\x7f\x01x"
        answer = channel.unary_unary(f"{SERVICE}/Predict")(raw)
        assert list(predict_pb2.PredictResponse.FromString(answer).outputs["y"].float_val) == [2.5]

    def test_an_unknown_method(self, channel):
        refused(channel.unary_unary(f"{SERVICE}/Pretend"), b"", Code.UNIMPLEMENTED, "")

    def test_a_message_that_is_too_large(self, prediction):
        request = predict_request({"x": np.zeros(300_000, np.float32)})
        refused(prediction.Predict, request, Code.RESOURCE_EXHAUSTED, "larger than max")
        assert prediction.Predict(predict_request({"x": [1.0]})).outputs["y"].float_val == [2.5]

    def test_a_deadline(self, prediction):
        slow = predict_request({"steps": np.array([300_000])}, "zoo", "slow")
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            prediction.Predict(slow, timeout=0.1)
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 0.6
        assert prediction.Predict(predict_request({"x": [1.0]}), timeout=1).outputs["y"].float_val == [2.5]

    def test_a_call_that_is_cancelled(self, prediction):
        call = prediction.Predict.future(predict_request({"steps": np.array([100_000])}, "zoo", "slow"))
        time.sleep(0.05)
        assert call.cancel()
        assert prediction.Predict(predict_request({"x": [1.0]}), timeout=1).outputs["y"].float_val == [2.5]

    def test_many_at_once_get_their_own_answers(self, prediction):
        def ask(number):
            response = prediction.Predict(predict_request({"x": np.array([number] * (number % 7 + 1), np.float32)}))
            return list(response.outputs["y"].float_val) == [number / 2 + 2] * (number % 7 + 1)

        with ThreadPoolExecutor(16) as threads:
            assert all(threads.map(ask, range(400)))


class TestClassify:
    def test_the_known_answers(self, prediction):
        response = prediction.Classify(classify_request(2.0, 4.0))
        found = [[(each.label, each.score) for each in row.classes] for row in response.result.classifications]
        assert found == [[("low", -3.0), ("high", 3.0)], [("low", -4.0), ("high", 4.0)]]
        assert spec_as_tuple(response.model_spec) == (MODEL, 123, "classify")

    def test_scores_alone_and_classes_alone(self, prediction):
        scores = prediction.Classify(classify_request(2.0, signature="scores_only")).result.classifications
        assert [(each.label, each.score) for each in scores[0].classes] == [("", 2.0)]
        classes = prediction.Classify(classify_request(2.0, signature="classes_only")).result.classifications
        assert [(each.label, each.score) for each in classes[0].classes] == [("2.000000", 0.0)]

    def test_a_context_is_for_all_examples_and_an_example_wins_over_it(self, prediction):
        response = prediction.Classify(classify_request(None, 4.0, context=8.0, signature="scores_only"))
        assert [row.classes[0].score for row in response.result.classifications] == [8.0, 4.0]

    @pytest.mark.parametrize(
        ("request_", "code", "told"),
        [
            (classify_request(), Code.INVALID_ARGUMENT, "Input is empty."),
            (classify_request(context=1.0), Code.INVALID_ARGUMENT, "Input is empty."),
            (classify_request(1.0, signature="no"), Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
            (classify_request(1.0, model="zoo", signature=""), Code.INVALID_ARGUMENT, "with the name: serving_default"),
            (classify_request(1.0, signature=""), Code.INVALID_ARGUMENT, "No classification inputs found in Signature"),
            (
                classify_request(1.0, signature="regress"),
                Code.INVALID_ARGUMENT,
                "Expected classification signature out",
            ),
            (
                classify_request(1.0, model="zoo", signature="greet"),
                Code.INVALID_ARGUMENT,
                "Expected one input Tensor.",
            ),
            (classify_request(1.0, model="no"), Code.NOT_FOUND, "Servable not found for request: Latest(no)"),
            (classify_request(1.0, version=5), Code.NOT_FOUND, "Specific(half_plus_two, 5)"),
            (classification_pb2.ClassificationRequest(), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_refused(self, prediction, request_, code, told):
        refused(prediction.Classify, request_, code, told)


class TestRegress:
    def test_the_known_answers(self, prediction):
        response = prediction.Regress(regress_request(1.0, 2.0, None))
        assert [each.value for each in response.result.regressions] == [2.5, 3.0, 2.0]
        assert spec_as_tuple(response.model_spec) == (MODEL, 123, "regress")

    def test_a_context(self, prediction):
        response = prediction.Regress(regress_request(None, 2.0, context=6.0))
        assert [each.value for each in response.result.regressions] == [5.0, 3.0]

    @pytest.mark.parametrize(
        ("request_", "told"),
        [
            (regress_request(), "Input is empty."),
            (regress_request(1.0, signature="no"), "No signature was found with the name: no"),
            (regress_request(1.0, signature="classify"), "Expected one output Tensor."),
            (regress_request(1.0, signature="scores_only"), "No regression outputs found in SignatureDef"),
            (regress_request(1.0, signature=""), "No regression inputs found in SignatureDef"),
            (regression_pb2.RegressionRequest(), "Missing ModelSpec"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_refused(self, prediction, request_, told):
        refused(prediction.Regress, request_, Code.INVALID_ARGUMENT, told)

    def test_an_example_that_the_graph_refuses(self, prediction):
        request = regress_request(1.0)
        request.input.example_list.examples[0].features.feature["x"].int64_list.value.append(1)
        refused(prediction.Regress, request, Code.INVALID_ARGUMENT, "x")


class TestMultiInference:
    def test_tasks_answer_in_their_order(self, prediction):
        request = multi_request((MODEL, "regress", REGRESS), (MODEL, "classify", CLASSIFY), values=(1.0, 2.0))
        first, second = prediction.MultiInference(request).results
        assert spec_as_tuple(first.model_spec) == (MODEL, 123, "regress")
        assert [each.value for each in first.regression_result.regressions] == [2.5, 3.0]
        assert spec_as_tuple(second.model_spec) == (MODEL, 123, "classify")
        assert [row.classes[1].score for row in second.classification_result.classifications] == [2.5, 3.0]

    @pytest.mark.parametrize(
        ("request_", "code", "told"),
        [
            (multi_request(), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
            (multi_request(("", "regress", REGRESS)), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
            (
                multi_request((MODEL, "regress", REGRESS), ("", "classify", CLASSIFY)),
                Code.INVALID_ARGUMENT,
                "Found ModelSpec with an empty model name.",
            ),
            (
                multi_request((MODEL, "regress", REGRESS), ("zoo", "classify", CLASSIFY)),
                Code.INVALID_ARGUMENT,
                "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            ),
            (
                multi_request((MODEL, "regress", REGRESS), (MODEL, "regress", REGRESS)),
                Code.INVALID_ARGUMENT,
                "Duplicate evaluation of signature: regress",
            ),
            (
                multi_request((MODEL, "no", REGRESS)),
                Code.INVALID_ARGUMENT,
                "Requested signature not found in model graph: no",
            ),
            (
                multi_request((MODEL, "regress", "tensorflow/serving/predict")),
                Code.UNIMPLEMENTED,
                "Unsupported signature method_name: tensorflow/serving/predict",
            ),
            (multi_request((MODEL, "regress", CLASSIFY)), Code.INVALID_ARGUMENT, "Expected classification signature"),
            (multi_request((MODEL, "regress", REGRESS), values=()), Code.INVALID_ARGUMENT, "Input is empty."),
            (multi_request(("no", "regress", REGRESS)), Code.NOT_FOUND, "Servable not found for request: Latest(no)"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_refused(self, prediction, request_, code, told):
        refused(prediction.MultiInference, request_, code, told)


class TestMetadata:
    def ask(self, *fields, **spec):
        return spec_of(get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields), **spec)

    def test_the_signatures(self, prediction):
        response = prediction.GetModelMetadata(self.ask("signature_def"))
        assert spec_as_tuple(response.model_spec) == (MODEL, 123, "")
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        assert {"serving_default", "classify", "regress"} <= set(signatures.signature_def)
        given = signatures.signature_def["serving_default"].inputs["x"]
        assert (given.dtype, [dim.size for dim in given.tensor_shape.dim]) == (types_pb2.DT_FLOAT, [-1])

    def test_what_is_refused(self, prediction):
        call = prediction.GetModelMetadata
        told = "GetModelMetadataRequest must specify at least one metadata_field"
        refused(call, self.ask(), Code.INVALID_ARGUMENT, told)
        refused(call, self.ask("graph"), Code.INVALID_ARGUMENT, "Metadata field graph is not supported")
        both = self.ask("signature_def", "graph")
        refused(call, both, Code.INVALID_ARGUMENT, "Metadata field graph is not supported")
        refused(call, self.ask("signature_def", name="no"), Code.NOT_FOUND, "Latest(no)")
        refused(call, self.ask("signature_def", version=4), Code.NOT_FOUND, "Specific(half_plus_two, 4)")
        without = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        refused(call, without, Code.INVALID_ARGUMENT, "Missing ModelSpec")


class TestModelService:
    def ask(self, **spec):
        return spec_of(get_model_status_pb2.GetModelStatusRequest(), **spec)

    def test_status(self, models):
        for asked in (self.ask(), self.ask(version=123), self.ask(label="ignored")):
            (status,) = models.GetModelStatus(asked).model_version_status
            state = get_model_status_pb2.ModelVersionStatus.State.Name(status.state)
            assert (status.version, state) == (123, "AVAILABLE")
            assert (status.status.error_code, status.status.error_message) == (0, "")

    def test_status_of_nothing(self, models):
        call = models.GetModelStatus
        refused(call, self.ask(name="no"), Code.NOT_FOUND, "Could not find any versions of model no")
        refused(call, self.ask(version=5), Code.NOT_FOUND, "Could not find version 5 of model half_plus_two")
        missing = get_model_status_pb2.GetModelStatusRequest()
        refused(call, missing, Code.INVALID_ARGUMENT, "Missing ModelSpec")

    def test_labels(self, prediction, reload):
        request = predict_request({"x": [1.0]}, label="stable")
        refused(prediction.Predict, request, Code.INVALID_ARGUMENT, "Unrecognized servable version label: stable")
        reload(labels={MODEL: {"stable": 123}})
        response = prediction.Predict(request)
        assert spec_as_tuple(response.model_spec) == (MODEL, 123, "serving_default")
        assert response.model_spec.WhichOneof("version_choice") == "version"
        with pytest.raises(grpc.RpcError) as caught:
            reload(labels={MODEL: {"stable": 124}})
        assert caught.value.code() is Code.FAILED_PRECONDITION
        assert prediction.Predict(request).model_spec.version.value == 123

    def test_a_reload_serves_exactly_the_new_set(self, prediction, models, reload, half_plus_two_base):
        reload(model_config({MODEL: half_plus_two_base, "twin": half_plus_two_base}))
        request = predict_request({"x": [1.0]}, "twin")
        assert prediction.Predict(request).model_spec.name == "twin"
        told = "Servable not found for request: Latest(zoo)"
        refused(prediction.Predict, predict_request({"x": [1.0]}, "zoo"), Code.NOT_FOUND, told)
        reload()
        refused(prediction.Predict, request, Code.NOT_FOUND, "Servable not found for request: Latest(twin)")

    def test_a_wrong_reload_is_refused_and_changes_nothing(self, prediction, models, reload, half_plus_two_base):
        twice = ModelServerConfig()
        for _ in range(2):
            twice.model_config_list.config.add(name="a", base_path="/a", model_platform="tensorflow")
        with pytest.raises(grpc.RpcError, match="Illegal to list model a multiple times in config list"):
            reload(str(twice))
        with pytest.raises(grpc.RpcError, match="to have an absolute path or URI") as caught:
            reload(model_config({MODEL: "relative"}))
        assert caught.value.code() is Code.INVALID_ARGUMENT
        assert prediction.Predict(predict_request({"x": [1.0]})).outputs["y"].float_val == [2.5]

    def test_only_lists_of_models_can_be_reloaded(self, models):
        told = "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
        request = model_management_pb2.ReloadConfigRequest()
        refused(models.HandleReloadConfigRequest, request, Code.INVALID_ARGUMENT, told)
        request.config.custom_model_config.SetInParent()
        refused(models.HandleReloadConfigRequest, request, Code.INVALID_ARGUMENT, told)

    def test_a_reload_tells_its_status(self, reload):
        response = reload()
        assert response.HasField("status")
        assert response.status.error_code == 0

    def test_a_path_with_a_nul_does_not_stop_the_polling(self, models, reload, prediction, server):
        config = ModelServerConfig()
        config.model_config_list.config.add(name="nul", base_path="/a\0b", model_platform="tensorflow")
        request = model_management_pb2.ReloadConfigRequest(config=config)
        with pytest.raises(grpc.RpcError) as caught:
            models.HandleReloadConfigRequest(request, timeout=0.5)
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        reload()
        assert prediction.Predict(predict_request({"x": [1.0]})).outputs["y"].float_val == [2.5]


def test_requests_are_counted(prediction, server):
    def counted():
        page = server.get("/monitoring/prometheus/metrics").body.decode()
        lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        prefix = ":tensorflow:serving:"
        names = [
            f'{prefix}request_count{{model_name="{MODEL}",status="OK"}}',
            f'{prefix}request_count{{model_name="{MODEL}",status="FAILED_PRECONDITION"}}',
            f'{prefix}request_latency_count{{model_name="{MODEL}",API="Regress",entrypoint="GRPC"}}',
            f'{prefix}request_example_count_total{{model="{MODEL}"}}',
        ]
        return [int(lines.get(name, 0)) for name in names]

    before = counted()
    prediction.Predict(predict_request({"x": [1.0]}))
    prediction.Regress(regress_request(1.0, 2.0, 3.0))
    with pytest.raises(grpc.RpcError):
        prediction.Predict(predict_request({"x": [1.0]}, signature="no"))
    assert [after - first for first, after in zip(before, counted(), strict=True)] == [2, 1, 1, 3]
