"""Raw features → model inputs: ids, standardised numbers, flags of what is missing."""

import datetime as dt
import functools

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio import tf_example_record

from models.config import FeaturesConfig
from models.features import Role, model_features
from models.preprocessing import MISSING_SUFFIX, TIME_WIDTH, id_count, input_shapes, preprocessing_fn

NAN = float("nan")


def seconds(*moment):
    return int(dt.datetime(*moment, tzinfo=dt.timezone.utc).timestamp())


@pytest.fixture
def values(analysis):
    """The model input of one feature for some raw values; None is an absent feature."""

    def of(name, *raw):
        inputs = analysis.inputs_of([{} if value is None else {name: value} for value in raw])
        return inputs[name]

    return of


@pytest.fixture
def flags(analysis):
    def of(name, *raw):
        inputs = analysis.inputs_of([{} if value is None else {name: value} for value in raw])
        return inputs[name + MISSING_SUFFIX].tolist()

    return of


@pytest.fixture(scope="module")
def training(analysis, make_row):
    """The training rows and their model inputs."""
    rows = [make_row(number) for number in range(40)]
    return rows, analysis.inputs_of(rows)


class TestShapes:
    def test_every_role_is_there(self, analysis):
        assert {feature.role for feature in analysis.features} == set(Role)

    def test_inputs_are_as_described(self, analysis, training):
        _, inputs = training
        described = {name: shape for feature in analysis.features for name, shape in input_shapes(feature).items()}
        assert set(inputs) == {*described, "late"}
        for name, shape in described.items():
            assert inputs[name].shape == (40, *shape), name

    def test_ids_are_int64_and_below_their_count_and_all_else_is_float32(self, analysis, training):
        _, inputs = training
        for feature in analysis.features:
            count = id_count(feature, analysis.transform)
            for name in input_shapes(feature):
                assert inputs[name].dtype == (np.float32 if count is None else np.int64), name
            assert count is None or 0 <= inputs[feature.name].min() <= inputs[feature.name].max() < count

    def test_only_categories_are_ids(self, analysis):
        counts = {
            feature.name: count
            for feature in analysis.features
            if (count := id_count(feature, analysis.transform)) is not None and feature.name != "hollow_name"
        }
        # Missing and unknown are counted; a hash knows no unknown.
        assert counts == {"origin": 3 + 2, "tailnum": 3 + 2, "cabin": 2 + 2, "flight": 16 + 1, "route": 8 + 1}

    def test_the_transformed_examples_are_dense(self, analysis, training):
        spec = analysis.transform.transformed_feature_spec()
        assert all(isinstance(each, tf.io.FixedLenFeature) for each in spec.values())
        assert {name: tuple(each.shape) for name, each in spec.items()} == {
            name: value.shape[1:] for name, value in training[1].items()
        }

    def test_the_label_is_a_float(self, training):
        rows, inputs = training
        assert inputs["late"].dtype == np.float32
        assert inputs["late"].tolist() == [row["late"] for row in rows]

    def test_no_input_is_ever_nan(self, training):
        for name, value in training[1].items():
            assert not np.isnan(value).any(), name


class TestFeaturesOfAKind:
    """Features of one dtype go through the same ops; each must answer for itself."""

    @pytest.fixture(scope="class")
    def whole(self, make_row):
        rows = [make_row(number) for number in range(40)]
        return {name: value for row in rows for name, value in row.items()} | {"hollow": 1.0, "hollow_name": "N1"}

    def test_a_raw_feature_reaches_its_own_inputs_alone(self, analysis, whole):
        features = [feature for feature in analysis.features if feature.name != "fixed"]
        without = [{n: v for n, v in whole.items() if n != feature.name} for feature in features]
        inputs = analysis.inputs_of([whole, {**whole, "fixed": whole["fixed"] + 1}, *without])
        for index, name in enumerate(["fixed", *(feature.name for feature in features)], start=1):
            changed = {n for n, value in inputs.items() if not np.allclose(value[index], value[0], atol=1e-6)}
            own = {name, name + MISSING_SUFFIX}
            assert changed, name
            assert changed <= own, name

    def test_of_several_values_the_first_counts_however_many_the_others_have(self, analysis, whole, make_row):
        rows = [make_row(number) for number in range(12)]
        random = np.random.default_rng(1)
        several = [
            {
                name: value if name in ("fixed", "late") else [value, *[whole[name]] * random.integers(4)]
                for name, value in row.items()
            }
            for row in rows
        ]
        expected, inputs = analysis.inputs_of(rows), analysis.inputs_of(several)
        for name, value in expected.items():
            np.testing.assert_array_equal(inputs[name], value, err_msg=name)

    def test_a_feature_without_any_value_in_the_batch_is_missing_as_beside_one_that_has_it(self, analysis, whole):
        for feature in analysis.features:
            if feature.name == "fixed":
                continue
            without = {name: value for name, value in whole.items() if name != feature.name}
            alone, beside = analysis.inputs_of([without] * 2), analysis.inputs_of([without, whole, without])
            for name, value in alone.items():
                np.testing.assert_allclose(
                    value, beside[name][[0, 2]], atol=1e-6, err_msg=f"{name} without {feature.name}"
                )

    def test_features_with_a_shape_and_without_beside_each_other(self, analyse, tmp_path):
        """Two of each kind, or one, with and without a shape in the schema."""
        shape = "shape { dim { size: 1 } } presence { min_fraction: 1.0 }"
        schema = text_format.Parse(
            f"""
            default_environment: "TRAINING"
            default_environment: "SERVING"
            feature {{ name: "fixed_int" type: INT {shape} }}
            feature {{ name: "fixed_flag" type: INT bool_domain {{}} {shape} }}
            feature {{ name: "fixed_name" type: BYTES string_domain {{ value: "a" value: "b" }} {shape} }}
            feature {{ name: "int" type: INT }}
            feature {{ name: "name" type: BYTES string_domain {{ value: "a" value: "b" }} }}
            feature {{ name: "other_name" type: BYTES string_domain {{ value: "a" value: "b" }} }}
            feature {{ name: "late" type: INT not_in_environment: "SERVING" presence {{ min_fraction: 1.0 }} }}
            """,
            schema_pb2.Schema(),
        )
        rows = [
            {"fixed_int": [1], "fixed_flag": [1], "fixed_name": ["a"], "int": [], "name": ["b"], "other_name": []},
            {"fixed_int": [3], "fixed_flag": [0], "fixed_name": [""], "int": [8], "name": ["", "a"], "other_name": []},
            {"fixed_int": [5], "fixed_flag": [7], "fixed_name": ["b"], "int": [6, 9], "name": [], "other_name": ["a"]},
        ]
        examples = []
        for row in rows:
            example = tf.train.Example()
            for name, values in {**row, "late": [0]}.items():
                if "name" in name:
                    example.features.feature[name].bytes_list.value.extend(value.encode() for value in values)
                else:
                    example.features.feature[name].int64_list.value.extend(values)
            examples.append(example.SerializeToString())
        made = analyse(schema, FeaturesConfig(), examples, tmp_path)
        parsed = tf.io.parse_example(examples, made.transform.raw_feature_spec())
        inputs = {name: value.numpy().tolist() for name, value in made.layer(parsed).items()}
        assert inputs.pop("fixed_int") == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
        assert inputs == {
            "fixed_int_missing": [0.0, 0.0, 0.0],
            "fixed_flag": [1.0, 0.0, 1.0],
            "fixed_flag_missing": [0.0, 0.0, 0.0],
            "fixed_name": [1, 0, 2],
            "int": [0.0, 1.0, -1.0],
            "int_missing": [1.0, 0.0, 0.0],
            "name": [2, 0, 0],
            "other_name": [0, 0, 1],
            "late": [0.0, 0.0, 0.0],
        }


class TestGrowth:
    """Each analyzer is a set of Beam stages; a job with thousands of them is refused or spends its time starting."""

    KINDS = {
        "number": "type: FLOAT",
        "boolean": "type: INT bool_domain {}",
        "category": 'type: BYTES string_domain { value: "a" value: "b" }',
        "vocabulary": "type: BYTES",
        "numbers_as_ids": "type: INT int_domain { is_categorical: true }",
        "time": "type: INT time_domain { integer_format: UNIX_SECONDS }",
        "text": "type: BYTES natural_language_domain {}",
    }

    def stages(self, copies, folder):
        """Of the analysis of so many features of each kind, fused by Beam's own rules."""
        features = [
            f'feature {{ name: "{kind}_{n}" {told} }}' for kind, told in self.KINDS.items() for n in range(copies)
        ]
        schema = text_format.Parse(
            " ".join(['default_environment: "SERVING"', *features, 'feature { name: "late" type: INT }']),
            schema_pb2.Schema(),
        )
        config = {
            "features": [each.to_json() for each in model_features(schema, FeaturesConfig(), "late")],
            "label": "late",
        }
        io = tf_example_record.TFExampleBeamRecord(
            physical_format="inmem", telemetry_descriptors=["test"], schema=schema
        )
        pipeline = beam.Pipeline(runner=FnApiRunner())
        with tft_beam.Context(temp_dir=str(folder)):
            rows = pipeline | beam.Create([b""]) | io.BeamSource(batch_size=1)
            preprocessing = functools.partial(preprocessing_fn, custom_config=config)
            _ = (rows, io.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(preprocessing)
        return len(FnApiRunner().create_stages(pipeline.to_runner_api())[1])

    def test_the_stages_do_not_grow_with_the_features(self, tmp_path):
        assert self.stages(1, tmp_path) == self.stages(2, tmp_path)


class TestNumbers:
    @pytest.mark.parametrize("name", ["temp", "stops", "seats", "fixed"])
    def test_they_are_standardised_over_the_training_values_that_are_there(self, training, name):
        rows, inputs = training
        there = np.array([row[name] for row in rows if name in row], np.float64)
        expected = [(row[name] - there.mean()) / there.std() if name in row else 0.0 for row in rows]
        np.testing.assert_allclose(inputs[name], expected, atol=1e-5)
        assert inputs[name + MISSING_SUFFIX].tolist() == [float(name not in row) for row in rows]

    def test_far_values_are_clipped(self, values):
        assert values("temp", 1e9, -1e9).tolist() == [10.0, -10.0]

    def test_a_number_that_never_changed_says_nothing(self, values, flags):
        assert values("constant", 3.5, 99.0, None).tolist() == [0.0, 0.0, 0.0]
        assert flags("constant", 3.5, 99.0, None) == [0.0, 0.0, 1.0]

    def test_a_number_that_was_never_there_says_nothing_when_it_comes(self, values, flags):
        assert values("hollow", 5.0, None).tolist() == [0.0, 0.0]
        assert flags("hollow", 5.0, None) == [0.0, 1.0]

    def test_one_infinite_training_value_does_not_spoil_the_others(self, training):
        _, inputs = training
        others = np.delete(inputs["spiky"], 4)
        assert np.isfinite(others).all()
        assert others.std() > 0


class TestBooleans:
    def test_a_number_is_true_unless_zero(self, values, flags):
        assert values("weekend", 1, 0, 2, None).tolist() == [1.0, 0.0, 1.0, 0.0]
        assert flags("weekend", 1, 0, 2, None) == [0.0, 0.0, 0.0, 1.0]

    def test_a_text_is_true_if_it_is_the_schemas_true_value(self, values, flags):
        assert values("refundable", "yes", "no", "Yes", None).tolist() == [1.0, 0.0, 0.0, 0.0]
        assert flags("refundable", "yes", "no", "Yes", None) == [0.0, 0.0, 0.0, 1.0]


class TestIds:
    def test_a_domain_keeps_its_order_between_missing_and_unknown(self, values):
        assert values("origin", None, "EWR", "JFK", "LGA", "XXX", "ewr").tolist() == [0, 1, 2, 3, 4, 4]

    def test_a_vocabulary_keeps_the_most_frequent_values(self, values):
        # N4 is the rarest of four, and three are kept.
        assert values("tailnum", None, "N1", "N2", "N3", "N4", "N99").tolist() == [0, 1, 2, 3, 4, 4]

    def test_a_vocabulary_of_numbers(self, values):
        assert values("cabin", None, 1, 2, 9, -1).tolist() == [0, 1, 2, 3, 3]

    def test_a_name_that_was_never_there_is_unknown_when_it_comes(self, analysis, values):
        unknown = id_count(analysis.feature("hollow_name"), analysis.transform) - 1
        assert values("hollow_name", None, "N1", "N2").tolist() == [0, unknown, unknown]
        assert unknown > 0

    @pytest.mark.parametrize(("name", "size"), [("flight", 16), ("route", 8)])
    def test_a_hash_spreads_values_over_its_buckets_and_none_is_missing(self, values, name, size):
        raw = [number if name == "flight" else f"route {number}" for number in range(200)]
        ids = values(name, *raw)
        assert set(ids.tolist()) == set(range(1, size + 1))
        assert values(name, *raw).tolist() == ids.tolist()
        assert values(name, None).tolist() == [0]

    def test_of_several_values_the_first_counts(self, values):
        assert values("tailnum", ["N2", "N1"], ["N1", "N2", "N3"], "N3").tolist() == [2, 1, 3]


class TestTime:
    @pytest.mark.parametrize(
        ("moment", "weekday"),
        [
            ((1970, 1, 1), 3),
            ((2013, 1, 1, 5, 15), 1),
            ((2013, 1, 6, 23, 59, 59), 6),
            ((2013, 1, 7), 0),
            ((1969, 12, 31, 12), 2),
            ((2026, 11, 23), 0),
        ],
        ids=lambda each: "-".join(map(str, each)) if isinstance(each, tuple) else "",
    )
    def test_the_day_of_the_week_is_one_of_seven_from_monday(self, values, moment, weekday):
        (row,) = values("departure", seconds(*moment))
        assert row[4:].tolist() == np.eye(7)[weekday].tolist()

    @pytest.mark.parametrize(
        ("hour", "expected"),
        [
            (0, [0, 1, 0, 1]),
            (3, [0.5**0.5, 0.5**0.5, 1, 0]),
            (6, [1, 0, 0, -1]),
            (12, [0, -1, 0, 1]),
            (18, [-1, 0, 0, -1]),
        ],
    )
    def test_the_time_of_the_day_goes_round(self, values, hour, expected):
        (row,) = values("departure", seconds(2013, 7, 4, hour))
        np.testing.assert_allclose(row[:4], expected, atol=1e-6)

    def test_a_missing_time_is_all_zero(self, values, flags):
        assert values("departure", None).tolist() == [[0.0] * TIME_WIDTH]
        assert flags("departure", None, 0) == [1.0, 0.0]


class TestText:
    def test_words_count_whatever_their_case_order_and_punctuation(self, values):
        rows = values("note", "Gate closed, gate MOVED!", "moved  closed gate gate", "gate closed", "gate-closed")
        np.testing.assert_allclose(rows[0], rows[1])
        np.testing.assert_allclose(rows[2], rows[3])
        assert np.abs(rows[0] - rows[2]).max() > 0.1

    def test_letters_of_every_alphabet_are_letters_and_have_a_case(self, values):
        upper, lower, other = values("note", "ÉTÉ ЗИМА", "été зима", "hiver лето")
        np.testing.assert_allclose(upper, lower)
        assert np.abs(lower - other).max() > 0.1

    def test_a_bag_has_unit_length_unless_it_is_empty(self, values):
        rows = values("note", "a b c d e f g", "one", "...", " ", None)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 0, 0, 0], atol=1e-6)

    def test_a_word_that_comes_twice_weighs_twice(self, values):
        (row,) = values("note", "gate gate closed")
        np.testing.assert_allclose(sorted(row[row > 0]), np.array([1, 2]) / 5**0.5, atol=1e-6)


class TestMissing:
    def test_nan_the_empty_string_and_no_value_are_all_absent(self, analysis):
        for feature in analysis.features:
            if feature.name == "fixed":
                continue
            spellings = [{}, {feature.name: []}]
            if feature.type == schema_pb2.BYTES:
                spellings.append({feature.name: ""})
            elif feature.type == schema_pb2.FLOAT:
                spellings.append({feature.name: NAN})
            inputs = analysis.inputs_of(spellings)
            for name in input_shapes(feature):
                for row in inputs[name][1:]:
                    np.testing.assert_array_equal(row, inputs[name][0], err_msg=feature.name)

    def test_nan_is_missing_in_a_feature_with_a_shape(self, values, flags):
        assert values("fixed", NAN).tolist() == [0.0]
        assert flags("fixed", NAN, 0.0) == [1.0, 0.0]

    def test_a_row_that_misses_everything_beside_a_whole_one_changes_nothing(self, analysis, make_row):
        alone, together = analysis.inputs_of([make_row(11)]), analysis.inputs_of([{}, make_row(11), {}])
        for name, value in alone.items():
            if name != "late":
                np.testing.assert_array_equal(together[name][1], value[0], err_msg=name)

    def test_a_missing_value_differs_from_a_value(self, analysis):
        # Else the model could not tell a temperature at the mean from one that nobody measured.
        mean = 20.0  # of the training values of `temp`
        inputs = analysis.inputs_of([{"temp": mean}, {}])
        np.testing.assert_allclose(inputs["temp"], [0, 0], atol=1e-2)
        assert inputs["temp" + MISSING_SUFFIX].tolist() == [0.0, 1.0]
