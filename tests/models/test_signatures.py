"""A pushed model, run as TensorFlow Serving runs it, answers what the trainer's Keras model answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from models.architectures import build
from models.config import FeaturesConfig, LinearConfig
from models.features import Feature, Role, model_features
from models.signatures import ServedModel, output_name, raw_dtype
from models.trainer import model_inputs
from schema.errors import SchemaError
from serving.session_model import SessionModel

TOLERANCE = 1e-6
NAN = float("nan")
ROWS = 24


@pytest.fixture(scope="module")
def served(binary):
    model = SessionModel(str(binary[1]))
    yield model
    model.close()


@pytest.fixture(scope="module")
def as_examples(make_example):
    def serialize(rows):
        return np.array([make_example(row) for row in rows], object)

    return serialize


@pytest.fixture(scope="module")
def as_columns(analysis):
    """Rows as the inputs of `serving_default`: what is missing is NaN or an empty string."""

    def columns(rows):
        inputs = {}
        for feature in analysis.features:
            dtype = raw_dtype(feature).as_numpy_dtype
            missing = b"" if feature.type == schema_pb2.BYTES else 0 if dtype is np.int64 else NAN
            values = [row.get(feature.name, missing) for row in rows]
            inputs[feature.name] = np.array([v.encode() if isinstance(v, str) else v for v in values], dtype)
        return inputs

    return columns


@pytest.fixture(scope="module")
def rows(make_row):
    return [{name: value for name, value in make_row(number).items() if name != "late"} for number in range(ROWS)]


@pytest.fixture(scope="module")
def by_keras(analysis):
    """A Keras model's own answers, on inputs that TFT's own layer made."""

    def predict(model, rows):
        names = {layer.name for layer in model.inputs}
        inputs = {name: value for name, value in analysis.inputs_of(rows).items() if name in names}
        return np.asarray(model(inputs, training=False))

    return predict


class TestBinary:
    @pytest.fixture(scope="class")
    def expected(self, by_keras, binary, rows):
        probabilities = 1 / (1 + np.exp(-by_keras(binary[0], rows)))
        assert probabilities.std() > 0.01  # so that agreement means something
        return probabilities

    def test_serving_default_agrees_with_keras(self, served, as_columns, rows, expected):
        answer = served.run("serving_default", as_columns(rows))
        assert list(answer) == ["probability"]
        assert (answer["probability"].shape, answer["probability"].dtype) == ((ROWS,), np.float32)
        np.testing.assert_allclose(answer["probability"], expected, atol=TOLERANCE)

    def test_serve_examples_agrees_with_keras(self, served, as_examples, rows, expected):
        answer = served.run("serve_examples", {"examples": as_examples(rows)})
        assert list(answer) == ["probability"]
        np.testing.assert_allclose(answer["probability"], expected, atol=TOLERANCE)

    def test_regress_agrees_with_keras(self, served, as_examples, rows, expected):
        answer = served.run("regress", {"inputs": as_examples(rows)})
        assert list(answer) == ["outputs"]
        assert (answer["outputs"].shape, answer["outputs"].dtype) == ((ROWS,), np.float32)
        np.testing.assert_allclose(answer["outputs"], expected, atol=TOLERANCE)

    def test_classify_agrees_with_keras(self, served, as_examples, rows, expected):
        answer = served.run("classify", {"inputs": as_examples(rows)})
        assert set(answer) == {"classes", "scores"}
        assert answer["classes"].tolist() == [[b"0", b"1"]] * ROWS
        assert answer["scores"].dtype == np.float32
        np.testing.assert_allclose(answer["scores"], np.stack([1 - expected, expected], axis=1), atol=TOLERANCE)

    def test_it_answers_all_documented_signatures(self, served):
        assert set(served.signatures) - {"__saved_model_init_op"} == {
            "serving_default",
            "serve_examples",
            "classify",
            "regress",
            "transform_features",
        }

    def test_one_row_is_answered_as_in_a_batch(self, served, as_columns, as_examples, rows, expected):
        one = rows[5:6]
        for answer in (
            served.run("serving_default", as_columns(one))["probability"],
            served.run("serve_examples", {"examples": as_examples(one)})["probability"],
        ):
            np.testing.assert_allclose(answer, expected[5:6], atol=TOLERANCE)

    def test_no_rows_are_answered_with_none(self, served, as_columns):
        assert served.run("serving_default", as_columns([]))["probability"].shape == (0,)
        empty = np.array([], object)
        assert served.run("serve_examples", {"examples": empty})["probability"].shape == (0,)
        assert served.run("regress", {"inputs": empty})["outputs"].shape == (0,)
        assert served.run("classify", {"inputs": empty})["scores"].shape == (0, 2)
        assert {len(each) for each in served.run("transform_features", {"examples": empty}).values()} == {0}


class TestRegression:
    def test_every_signature_agrees_with_keras_and_there_is_no_classify(
        self, regression, as_columns, as_examples, rows, by_keras
    ):
        by_hand, saved = regression
        expected = by_keras(by_hand, rows)
        assert expected.std() > 0.01
        model = SessionModel(str(saved))
        assert "classify" not in model.signatures
        answers = {
            "serving_default": model.run("serving_default", as_columns(rows)),
            "serve_examples": model.run("serve_examples", {"examples": as_examples(rows)}),
            "regress": model.run("regress", {"inputs": as_examples(rows)}),
        }
        assert {name: list(answer) for name, answer in answers.items()} == {
            "serving_default": ["prediction"],
            "serve_examples": ["prediction"],
            "regress": ["outputs"],
        }
        for answer in answers.values():
            (values,) = answer.values()
            np.testing.assert_allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE)
        model.close()


class TestMissing:
    def test_nan_and_the_empty_string_in_a_request_are_an_absent_feature(
        self, analysis, served, as_columns, as_examples, rows
    ):
        """One request for each feature that may be missing, in which it is."""
        whole = {name: value for row in rows for name, value in row.items()}
        optional = [feature.name for feature in analysis.features if not feature.required]
        without = [{name: value for name, value in whole.items() if name != missing} for missing in optional]
        from_columns = served.run("serving_default", as_columns(without))["probability"]
        from_examples = served.run("serve_examples", {"examples": as_examples(without)})["probability"]
        np.testing.assert_allclose(from_columns, from_examples, atol=TOLERANCE)

        complete = served.run("serving_default", as_columns([whole]))["probability"]
        unseen = {"hollow", "hollow_name"}  # are missing from `whole` as well
        changed = np.abs(from_columns - complete) > TOLERANCE
        assert dict(zip(optional, changed, strict=True)) == {name: name not in unseen for name in optional}

    def test_nan_and_the_empty_string_in_an_example_are_an_absent_feature(self, analysis, served, as_examples, rows):
        spelled, absent = [], []
        for feature in analysis.features:
            for row in rows[8:10]:
                if feature.type == schema_pb2.BYTES:
                    spelled.append({**row, feature.name: ""})
                elif feature.type == schema_pb2.FLOAT and feature.name != "fixed":
                    spelled.append({**row, feature.name: NAN})
                else:
                    spelled.append({**row, feature.name: []} if feature.name != "fixed" else row)
                absent.append({name: value for name, value in row.items() if name != feature.name or name == "fixed"})
        np.testing.assert_array_equal(
            served.run("serve_examples", {"examples": as_examples(spelled)})["probability"],
            served.run("serve_examples", {"examples": as_examples(absent)})["probability"],
        )

    def test_a_request_in_which_everything_is_missing_is_answered(self, served, as_columns, as_examples):
        nothing = [{"stops": 0, "fixed": NAN}] * 2
        answer = served.run("serving_default", as_columns(nothing))["probability"]
        assert np.isfinite(answer).all()
        np.testing.assert_allclose(
            answer, served.run("serve_examples", {"examples": as_examples(nothing)})["probability"], atol=TOLERANCE
        )

    @pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.int64, tf.string])
    def test_inputs_of_different_lengths_are_refused(self, served, as_columns, rows, dtype):
        inputs = served.signatures["serving_default"].inputs
        for name in (name for name, info in inputs.items() if info.dtype == dtype.as_datatype_enum):
            for length in (2, 4):
                columns = as_columns(rows[:3])
                columns[name] = as_columns(rows[:length])[name]
                with pytest.raises(tf.errors.InvalidArgumentError):
                    served.run("serving_default", columns)

    def test_it_does_not_matter_which_other_features_are_missing(self, analysis, served, as_columns, rows):
        """What is missing is left out of the tensors of the optional integers, so no row may take another's."""
        random = np.random.default_rng(2)
        holed = [{name: value for name, value in row.items() if random.random() < 0.6} for row in rows]
        holed = [{"stops": 1, "fixed": 0.5, **row} for row in holed]
        together = served.run("serving_default", as_columns(holed))["probability"]
        alone = [served.run("serving_default", as_columns([row]))["probability"] for row in holed]
        np.testing.assert_allclose(together, np.concatenate(alone), atol=TOLERANCE)


class TestInputs:
    def test_dtypes_are_as_documented(self, analysis, served):
        inputs = served.signatures["serving_default"].inputs
        dtypes = {name: tf.as_dtype(info.dtype) for name, info in inputs.items()}
        text = ("refundable", "origin", "tailnum", "hollow_name", "route", "note")
        optional_ints = ("seats", "weekend", "cabin", "flight", "departure")
        assert dtypes == {
            **dict.fromkeys(("temp", "constant", "hollow", "spiky", "fixed"), tf.float32),
            **dict.fromkeys(text, tf.string),
            **dict.fromkeys(optional_ints, tf.float64),
            "stops": tf.int64,
        }
        assert set(inputs) == {feature.name for feature in analysis.features}

    def test_every_input_and_output_has_a_batch_of_any_size(self, served):
        for name, signature in served.signatures.items():
            if name == "__saved_model_init_op":
                continue
            for info in [*signature.inputs.values(), *signature.outputs.values()]:
                assert info.tensor_shape.dim[0].size == -1, (name, info.name)

    @pytest.mark.parametrize(
        ("signature", "name"),
        [
            ("serve_examples", "examples"),
            ("transform_features", "examples"),
            ("classify", "inputs"),
            ("regress", "inputs"),
        ],
    )
    def test_examples_are_one_input_of_strings(self, served, signature, name):
        inputs = served.signatures[signature].inputs
        assert {key: tf.as_dtype(info.dtype) for key, info in inputs.items()} == {name: tf.string}

    def test_an_integer_keeps_its_value_on_the_way_through_a_double(self, served, as_columns, as_examples, rows):
        row = {**rows[1], "departure": 2**53 - 1, "cabin": 2, "flight": 2**40}
        np.testing.assert_allclose(
            served.run("serving_default", as_columns([row]))["probability"],
            served.run("serve_examples", {"examples": as_examples([row])})["probability"],
            atol=TOLERANCE,
        )


def test_transform_features_gives_exactly_the_models_inputs(analysis, binary, served, as_examples, rows):
    answer = served.run("transform_features", {"examples": as_examples(rows)})
    assert set(answer) == {layer.name for layer in binary[0].inputs}
    expected = analysis.inputs_of(rows)
    for name, value in answer.items():
        np.testing.assert_allclose(value, expected[name], atol=TOLERANCE, err_msg=name)


def test_a_feature_is_served_under_its_own_name_or_refused_before_anything_is_trained(analyse, tmp_path):
    """TensorFlow makes arguments of the names, so it alters or refuses some of them, and only when a model is saved."""
    names = []
    for name in ("speed", "class", "max speed", "sepal-length", "a.b", "1st", "größe", "self"):
        schema = schema_pb2.Schema(
            default_environment=["TRAINING", "SERVING"],
            feature=[schema_pb2.Feature(name=name, type=schema_pb2.INT, bool_domain=schema_pb2.BoolDomain())],
        )
        try:
            model_features(schema, FeaturesConfig(), "late")
        except SchemaError:
            continue
        names.append(name)
    assert "speed" in names

    schema = schema_pb2.Schema(default_environment=["TRAINING", "SERVING"])
    example = tf.train.Example()
    for name in [*names, "late"]:
        schema.feature.add(name=name, type=schema_pb2.INT).bool_domain.SetInParent()
        example.features.feature[name].int64_list.value.append(1)
    made = analyse(schema, FeaturesConfig(), [example.SerializeToString()], tmp_path)
    model = build(LinearConfig(architecture="linear"), model_inputs(made.features, made.transform))
    ServedModel(model, made.transform, made.features, "binary").save(str(tmp_path / "saved"))
    served = SessionModel(str(tmp_path / "saved"))
    assert set(served.signatures["serving_default"].inputs) == set(names)
    np.testing.assert_allclose(
        served.run("serving_default", {name: np.array([1.0]) for name in names})["probability"],
        served.run("serve_examples", {"examples": np.array([example.SerializeToString()], object)})["probability"],
        atol=TOLERANCE,
    )
    served.close()


@pytest.mark.parametrize("signature", ["serving_default", "serve_examples", "transform_features"])
def test_a_signature_runs_as_one_graph_without_calls(binary, as_columns, as_examples, rows, signature):
    """A function that TensorFlow does not inline is a second executor and hides its ops from the optimizer."""
    feeds = as_columns(rows) if signature == "serving_default" else {"examples": as_examples(rows)}
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(binary[1]))
        info, metadata = meta_graph.signature_def[signature], tf.compat.v1.RunMetadata()
        session.run(
            [output.name for output in info.outputs.values()],
            {info.inputs[name].name: value for name, value in feeds.items()},
            options=tf.compat.v1.RunOptions(output_partition_graphs=True),
            run_metadata=metadata,
        )
    ops = {node.op for graph in metadata.partition_graphs for node in graph.node}
    assert "LookupTableFindV2" in ops
    assert not {op for op in ops if "PartitionedCall" in op}


def test_the_saved_model_does_not_hold_what_only_training_needs(binary):
    # The trained model has an optimizer with two moments for each weight.
    trained, saved_model = binary
    weights = sum(keras.ops.size(variable) for variable in trained.variables)
    reader = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    saved = [shape for name, shape in reader.get_variable_to_shape_map().items() if "VARIABLE_VALUE" in name]
    assert sum(int(np.prod(shape)) for shape in saved) == int(weights)


@pytest.mark.parametrize(
    ("type_", "required", "dtype"),
    [
        (schema_pb2.BYTES, True, tf.string),
        (schema_pb2.BYTES, False, tf.string),
        (schema_pb2.FLOAT, True, tf.float32),
        (schema_pb2.FLOAT, False, tf.float32),
        (schema_pb2.INT, True, tf.int64),
        (schema_pb2.INT, False, tf.float64),
    ],
)
def test_a_raw_dtype_can_say_missing_where_a_value_may_be(type_, required, dtype):
    assert raw_dtype(Feature("x", Role.NUMERIC, type_, required)) == dtype


def test_a_task_names_its_output():
    assert output_name("binary") == "probability"
    assert output_name("regression") == "prediction"
