"""Real models, whole and broken, with and without warm-up requests."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from served_models import HalfPlusTwo, save_half_plus_two
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.apis.input_pb2 import Input

from serving.server import inference
from serving.server.loading import MOST_WARMUP_RECORDS, LoadOptions, load_servable
from serving.server.status import Code, StatusError
from serving.warmup import WARMUP_FILE, write_warmup


@pytest.fixture
def saved(half_plus_two_base, tmp_path):
    """A version's folder of the test's own."""
    return Path(shutil.copytree(half_plus_two_base / "123", tmp_path / "123"))


def load(path, **options):
    return load_servable(LoadOptions(**options), "m", 123, str(path))


def ask(servable, *values, signature="serving_default"):
    (answer,) = servable.signature(signature).run([np.array(values, np.float32)])
    return answer.tolist()


def predict_log(values, alias="x", signature=""):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return log


def examples(*values):
    given = Input()
    for value in values:
        given.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return given


def example_log(kind, signature, *values):
    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, kind).request
    request.model_spec.signature_name = signature
    request.input.CopyFrom(examples(*values))
    return log


def multi_inference_log(*tasks):
    log = prediction_log_pb2.PredictionLog()
    request = log.multi_inference_log.request
    request.input.CopyFrom(examples(1.0))
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "m", signature
    return log


def warm_up_with(saved, *logs):
    path = saved / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())


def refused(code, told, saved, **options):
    with pytest.raises(StatusError) as caught:
        load(saved, **options)
    assert caught.value.code is code
    assert told in caught.value.message


def test_a_loaded_model_answers(saved):
    servable = load(saved)
    assert (servable.name, servable.version) == ("m", 123)
    assert ask(servable, 1.0, 2.0, 5.0) == [2.5, 3.0, 4.5]
    assert servable.signature("") is servable.signature("serving_default")
    assert servable.signature("nothing") is None
    servable.close()


def test_loading_does_not_change_what_a_model_keeps(zoo_base):
    servable = load_servable(LoadOptions(), "zoo", 1, str(zoo_base / "1"))
    (total,) = servable.signature("counter").run([np.array(5)])
    assert total == 5
    servable.close()


class TestBroken:
    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"Could not find SavedModel \.pb or \.pbtxt at supplied export"):
            load(tmp_path)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
    def test_a_graph_that_is_cut_off(self, saved, share):
        path = saved / "saved_model.pb"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(tf.errors.OpError):
            load(saved)

    def test_a_graph_that_is_none(self, saved):
        (saved / "saved_model.pb").write_bytes(os.urandom(1000))
        with pytest.raises(tf.errors.OpError):
            load(saved)

    @pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
    def test_variables_that_are_missing(self, saved, name):
        (saved / "variables" / name).unlink()
        with pytest.raises((tf.errors.OpError, StatusError)):
            ask(load(saved), 1.0)

    def test_variables_that_are_cut_off(self, saved):
        (saved / "variables" / "variables.data-00000-of-00001").write_bytes(b"")
        with pytest.raises(tf.errors.OpError):
            load(saved)

    def test_other_tags(self, saved):
        with pytest.raises(tf.errors.NotFoundError, match=r"matching supplied tags: \{ gpu serve \}"):
            load(saved, tags=("serve", "gpu"))

    def test_a_half_copied_model_is_whole_once_it_is_copied(self, half_plus_two_base, tmp_path):
        whole, copy = half_plus_two_base / "123", tmp_path / "5"
        copy.mkdir()
        with pytest.raises(OSError, match="Could not find SavedModel"):
            load(copy)
        shutil.copy(whole / "saved_model.pb", copy)
        with pytest.raises(StatusError, match="Could not find variable"):  # as in TensorFlow Serving, which loads it
            ask(load(copy), 1.0)
        shutil.copytree(whole, copy, dirs_exist_ok=True)
        assert ask(load(copy), 1.0) == [2.5]


def test_a_keras_3_model_saved_naively_fails_as_in_tensorflow_serving(tmp_path):
    """https://github.com/tensorflow/serving/issues/2250"""
    inputs = keras.Input((2,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    serve = tf.function(lambda x: {"y": model(x)}, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    tf.saved_model.save(model, str(tmp_path / "1"), signatures=serve)
    servable = load(tmp_path / "1")
    with pytest.raises(StatusError, match="Could not find variable") as caught:
        ask(servable, [1.0, 2.0])
    assert caught.value.code is Code.FAILED_PRECONDITION

    warm_up_with(tmp_path / "1", predict_log([[1.0, 2.0]], alias="x"))
    refused(Code.FAILED_PRECONDITION, "Could not find variable", tmp_path / "1")


def test_a_tf1_model_with_assets_and_an_init_op(tmp_path):
    v1 = tf.compat.v1
    words = tmp_path / "words.txt"
    words.write_text("zero\none\ntwo\n")
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.int64, [None], name="x")
        asset = tf.constant(str(words), name="asset")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        initializer = tf.lookup.TextFileInitializer(
            asset, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
        )
        table = tf.lookup.StaticHashTable(initializer, "?")
        count = v1.get_variable("count", initializer=tf.constant(2, tf.int64), use_resource=False)
        y = table.lookup(x + count - 2)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(tmp_path / "1"))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
    words.unlink()
    moved = Path(shutil.move(tmp_path / "1", tmp_path / "moved"))
    servable = load(moved)
    (answer,) = servable.signature("serving_default").run([np.array([2, 0, 7])])
    assert answer.tolist() == [b"two", b"zero", b"?"]


class TestWarmUp:
    def test_what_write_warmup_writes_is_answered(self, saved, caplog):
        caplog.set_level("INFO")
        request = predict_log([1.0, 2.0]).predict_log.request
        write_warmup(saved, [request] * 3, "m")
        servable = load(saved)
        assert "Warmed m version 123 up with 6 requests" in caplog.text
        assert ask(servable, 1.0) == [2.5]

    def test_every_kind_of_request(self, saved, caplog):
        caplog.set_level("INFO")
        both = multi_inference_log(("classify", inference.CLASSIFY), ("regress", inference.REGRESS))
        logs = [
            predict_log([1.0]),
            example_log("classify_log", "classify", 1.0, 2.0),
            example_log("regress_log", "regress", 1.0),
            both,
            b"",
        ]
        warm_up_with(saved, *logs)
        load(saved)
        assert "with 5 requests" in caplog.text

    def test_iterations(self, zoo_base, tmp_path):
        saved = Path(shutil.copytree(zoo_base / "1", tmp_path / "1"))
        warm_up_with(saved, predict_log(np.int64(1), "value", "counter"))
        totals = []
        for iterations in (1, 3):
            servable = load(saved, warmup_iterations=iterations)
            (total,) = servable.signature("counter").run([np.array(0)])
            totals.append(int(total))
        assert totals[1] == 3 * totals[0]

    def test_warm_up_can_be_switched_off(self, saved):
        warm_up_with(saved, b"junk")
        assert ask(load(saved, warms_up=False), 1.0) == [2.5]

    def test_an_empty_file(self, saved):
        warm_up_with(saved)
        assert ask(load(saved), 1.0) == [2.5]

    def test_as_many_requests_as_are_allowed(self, saved):
        warm_up_with(saved, *[predict_log([1.0])] * MOST_WARMUP_RECORDS)
        load(saved)

    def test_too_many_requests(self, saved):
        warm_up_with(saved, *[predict_log([1.0])] * (MOST_WARMUP_RECORDS + 1))
        told = f"Number of warmup records exceeds the maximum (1000) at {saved / WARMUP_FILE}"
        refused(Code.INVALID_ARGUMENT, told, saved)

    @pytest.mark.parametrize("damage", ["cut off", "no TFRecord", "one bit"])
    def test_a_corrupt_file(self, saved, damage):
        warm_up_with(saved, predict_log([1.0]), predict_log([2.0]))
        path = saved / WARMUP_FILE
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        contents = {"cut off": bytes(content[:-3]), "no TFRecord": b"{}" * 100, "one bit": bytes(content)}
        path.write_bytes(contents[damage])
        refused(Code.DATA_LOSS, "Please verify your warmup data is in TFRecord format.", saved)

    def test_a_record_that_is_no_prediction_log(self, saved):
        warm_up_with(saved, b"\xff\xff\xff")
        refused(Code.INVALID_ARGUMENT, "Failed to parse warmup record: ", saved)

    @pytest.mark.parametrize(
        ("log", "code", "told"),
        [
            (predict_log([1.0], "z"), Code.INVALID_ARGUMENT, "Signature input alias: x(feed name: "),
            (predict_log([1], "x"), Code.INVALID_ARGUMENT, "Expects arg[0] to be float but int32 is provided"),
            (predict_log([1.0], signature="no"), Code.FAILED_PRECONDITION, 'signature key "no" not found'),
            (example_log("classify_log", "no", 1.0), Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
            (example_log("classify_log", "classify"), Code.INVALID_ARGUMENT, "Input is empty."),
            (example_log("regress_log", "classify", 1.0), Code.INVALID_ARGUMENT, "Expected one output Tensor."),
            (multi_inference_log(("no", inference.REGRESS)), Code.INVALID_ARGUMENT, "Requested signature not found in"),
            (multi_inference_log(("regress", "odd")), Code.UNIMPLEMENTED, "Unsupported signature method_name: odd"),
            (multi_inference_log(("classify", inference.REGRESS)), Code.INVALID_ARGUMENT, "Expected one output Tensor"),
            (
                multi_inference_log(("regress", inference.REGRESS), ("regress", inference.REGRESS)),
                Code.INVALID_ARGUMENT,
                "Duplicate evaluation of signature: regress",
            ),
            (
                prediction_log_pb2.PredictionLog(session_run_log={}),
                Code.UNIMPLEMENTED,
                "Unsupported log_type for warmup: ",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_a_wrong_request_fails_the_load(self, saved, log, code, told):
        warm_up_with(saved, predict_log([1.0]), log)
        refused(code, told, saved)

    def test_a_request_that_the_graph_refuses_fails_the_load(self, zoo_base, tmp_path):
        saved = Path(shutil.copytree(zoo_base / "1", tmp_path / "1"))
        warm_up_with(saved, predict_log([-1.0], "x", "fail"))
        refused(Code.INVALID_ARGUMENT, "x is negative", saved)


class TestTflite:
    @pytest.fixture
    def lite(self, saved):
        """The model again, times 100 to tell it from the SavedModel beside it."""
        module = HalfPlusTwo(50.0, 200.0)
        function = module.predict.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        (saved / "model.tflite").write_bytes(converter.convert())
        return saved

    def test_it_is_preferred_if_that_is_asked_for(self, lite):
        assert ask(load(lite), 1.0) == [2.5]
        servable = load(lite, prefers_tflite=True)
        assert ask(servable, 1.0, 2.0, 5.0) == [250.0, 300.0, 450.0]
        assert ask(servable, 1.0) == [250.0]

    def test_without_one_the_saved_model_is_served(self, saved):
        assert ask(load(saved, prefers_tflite=True), 1.0) == [2.5]

    @pytest.mark.parametrize("content", [b"", b"junk" * 100])
    def test_a_file_that_is_no_model(self, lite, content):
        (lite / "model.tflite").write_bytes(content)
        with pytest.raises((OSError, ValueError, StatusError, tf.errors.OpError)):
            load(lite, prefers_tflite=True)

    def test_inputs_of_a_wrong_type(self, lite):
        servable = load(lite, prefers_tflite=True)
        signature = servable.signature("")
        alias = signature.input_names[0]
        with pytest.raises(StatusError, match=r"Expects arg\[0\] to be float but int64 is provided"):
            signature.arrange({alias: np.array([1])})


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_is_flat_over_many_loads(tmp_path):
    path = save_half_plus_two(tmp_path, 1) / "1"

    def cycle(times):
        for _ in range(times):
            servable = load(path)
            ask(servable, 1.0)
            servable.close()
        gc.collect()
        return resident_bytes()

    before = cycle(4)
    assert cycle(8) - before < 6 * 2**20
