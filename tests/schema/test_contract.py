"""The contract is read strictly: what is wrong with it is told with its place."""

from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from schema.contract import (
    SERVING,
    TRAINING,
    in_environment,
    is_required,
    load_schema,
    serving_features,
    string_domain,
)
from schema.errors import ExitCode, SchemaError

SHIPPED = Path(__file__).parents[2] / "schema" / "flights.pbtxt"
ENVIRONMENTS = 'default_environment: "TRAINING"\ndefault_environment: "SERVING"\n'
SMALL = (
    ENVIRONMENTS
    + """
    string_domain { name: "airports" value: "EWR" value: "JFK" }
    feature { name: "origin" type: BYTES domain: "airports" presence { min_fraction: 1.0 } }
    feature { name: "season" type: BYTES string_domain { value: "winter" value: "summer" } }
    feature { name: "tailnum" type: BYTES presence { min_fraction: 0.97 } }
    feature { name: "distance" type: FLOAT }
    feature { name: "departure" type: INT time_domain { integer_format: UNIX_SECONDS } }
    feature { name: "late" type: INT not_in_environment: "SERVING" }
    """
)


@pytest.fixture
def schema_file(tmp_path):
    def write(text):
        path = tmp_path / "schema.pbtxt"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def small(schema_file):
    return load_schema(schema_file(SMALL))


def refused(path):
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    assert "\n" not in str(caught.value)
    return caught.value


def feature_of(schema, name):
    return next(feature for feature in schema.feature if feature.name == name)


def test_a_good_schema_loads_with_its_features_in_order(small):
    names = [feature.name for feature in small.feature]
    assert names == ["origin", "season", "tailnum", "distance", "departure", "late"]


def test_a_missing_file_is_a_schema_error_that_names_it(tmp_path):
    error = refused(tmp_path / "absent.pbtxt")
    assert error.where == str(tmp_path / "absent.pbtxt")
    assert "does not exist" in str(error)
    assert error.exit_code is ExitCode.SCHEMA


def test_a_folder_in_place_of_the_file_is_a_schema_error(tmp_path):
    error = refused(tmp_path)
    assert error.where == str(tmp_path)
    assert "cannot be read" in str(error)


def test_a_file_that_is_not_utf_8_is_a_schema_error(tmp_path):
    path = tmp_path / "latin.pbtxt"
    path.write_bytes(b"# caf\xe9\n" + ENVIRONMENTS.encode())
    assert "cannot be read" in str(refused(path))


@pytest.mark.parametrize(
    ("bad_line", "told"),
    [
        ('feature { name: "a" typ: INT }', "typ"),
        ('feature { name: "a" type: STRING }', "STRING"),
        ('feature { name: "a" type: INT', "}"),
    ],
    ids=["unknown field", "unknown enum value", "unclosed brace"],
)
def test_bad_text_is_told_with_its_line(schema_file, bad_line, told):
    path = schema_file(ENVIRONMENTS + bad_line)
    error = refused(path)
    assert error.where == f"{path}:3"
    assert told in error.received


def test_a_repeated_feature_is_named(schema_file):
    twice = 'feature { name: "a" type: INT }\n' * 2 + 'feature { name: "b" type: INT }'
    error = refused(schema_file(ENVIRONMENTS + twice))
    assert error.received == "repeated: a"


def test_a_schema_without_any_feature_is_refused(schema_file):
    assert refused(schema_file(ENVIRONMENTS)).received == "no feature"


@pytest.mark.parametrize(
    ("declared", "received"),
    [
        ("", "no SERVING and no TRAINING"),
        ('default_environment: "TRAINING"\n', "no SERVING"),
        ('default_environment: "SERVING"\n', "no TRAINING"),
    ],
    ids=["none", "only training", "only serving"],
)
def test_missing_environments_are_named(schema_file, declared, received):
    error = refused(schema_file(declared + 'feature { name: "a" type: INT }'))
    assert error.received == received
    assert 'default_environment: "SERVING"' in error.expected


@pytest.mark.parametrize(("type_", "received"), [("", "TYPE_UNKNOWN"), ("type: STRUCT", "STRUCT")])
def test_a_feature_without_a_usable_type_is_named(schema_file, type_, received):
    error = refused(schema_file(ENVIRONMENTS + f'feature {{ name: "odd" {type_} }}'))
    assert "'odd'" in error.what
    assert error.received == received


@pytest.mark.parametrize("type_", ["FLOAT", "BYTES"])
def test_a_time_domain_on_anything_but_int_is_refused(schema_file, type_):
    feature = f'feature {{ name: "when" type: {type_} time_domain {{ integer_format: UNIX_SECONDS }} }}'
    error = refused(schema_file(ENVIRONMENTS + feature))
    assert "'when'" in error.what
    assert "time_domain" in error.what
    assert error.received == type_


def test_a_domain_that_the_schema_does_not_define_is_refused(schema_file):
    # Else the misspelt domain is silently no domain, and the feature gets a learned vocabulary.
    error = refused(
        schema_file(
            ENVIRONMENTS
            + 'string_domain { name: "airports" value: "EWR" }\n'
            + 'feature { name: "origin" type: BYTES domain: "airprots" }'
        )
    )
    assert "'origin'" in error.what


def test_serving_features_are_all_but_the_label_in_order(small):
    assert [feature.name for feature in serving_features(small)] == [
        "origin",
        "season",
        "tailnum",
        "distance",
        "departure",
    ]


def test_environments_follow_the_rules_of_tfdv(small):
    feature = schema_pb2.Feature(name="x", in_environment=["AUDIT"], not_in_environment=[TRAINING])
    assert in_environment(feature, small, "AUDIT")
    assert in_environment(feature, small, SERVING)
    assert not in_environment(feature, small, TRAINING)
    assert not in_environment(schema_pb2.Feature(name="y"), small, "AUDIT")


def test_a_string_domain_is_found_inline_and_shared(small):
    assert string_domain(feature_of(small, "season"), small) == ["winter", "summer"]
    assert string_domain(feature_of(small, "origin"), small) == ["EWR", "JFK"]
    assert string_domain(feature_of(small, "tailnum"), small) is None


def test_only_a_feature_that_every_example_carries_is_required(small):
    required = [feature.name for feature in small.feature if is_required(feature)]
    assert required == ["origin"]


def test_the_shipped_flights_schema_loads():
    schema = load_schema(SHIPPED)
    assert len(schema.feature) == 22
    assert "late" not in {feature.name for feature in serving_features(schema)}
    assert is_required(feature_of(schema, "late"))
    assert string_domain(feature_of(schema, "origin"), schema) == ["EWR", "JFK", "LGA"]
    assert len(string_domain(feature_of(schema, "dest"), schema)) == 105
