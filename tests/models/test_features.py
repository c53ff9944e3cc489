"""The role of a feature follows from the schema, and only what it cannot say from the configuration."""

import json

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from models.config import FeaturesConfig
from models.features import Feature, Role, model_features
from schema.errors import SchemaError

ENVIRONMENTS = 'default_environment: "TRAINING" default_environment: "SERVING"'


def features_of(text, label="late", **config):
    schema = text_format.Parse(ENVIRONMENTS + text, schema_pb2.Schema())
    return model_features(schema, FeaturesConfig(**config), label)


@pytest.mark.parametrize(
    ("text", "role", "values", "size"),
    [
        ("type: FLOAT", Role.NUMERIC, (), 0),
        ("type: INT", Role.NUMERIC, (), 0),
        ("type: INT int_domain { min: 0 max: 9 }", Role.NUMERIC, (), 0),
        ("type: INT int_domain { is_categorical: true }", Role.VOCABULARY, (), 50),
        ("type: INT bool_domain {}", Role.BOOLEAN, ("true",), 0),
        ("type: BYTES bool_domain {}", Role.BOOLEAN, ("true",), 0),
        ('type: BYTES bool_domain { true_value: "Y" }', Role.BOOLEAN, ("Y",), 0),
        ('type: BYTES string_domain { value: "a" value: "b" }', Role.CATEGORICAL, ("a", "b"), 0),
        ('type: BYTES domain: "airports"', Role.CATEGORICAL, ("EWR", "JFK"), 0),
        ("type: BYTES", Role.VOCABULARY, (), 50),
        ("type: INT time_domain { integer_format: UNIX_SECONDS }", Role.TIME, (), 0),
        ("type: BYTES natural_language_domain {}", Role.TEXT, (), 64),
    ],
)
def test_the_schema_gives_the_role(text, role, values, size):
    (feature,) = features_of(
        'string_domain { name: "airports" value: "EWR" value: "JFK" } feature { name: "x" ' + text + " }",
        vocabulary_size=50,
        text_buckets=64,
    )
    assert (feature.role, feature.values, feature.size) == (role, values, size)


@pytest.mark.parametrize(
    "text",
    ["type: BYTES", "type: INT", "type: INT int_domain { is_categorical: true }", "type: BYTES string_domain {}"],
)
def test_the_configuration_hashes_what_the_schema_would_list(text):
    (feature,) = features_of(f'feature {{ name: "x" {text} }}', hashed={"x": 512})
    assert (feature.role, feature.size) == (Role.HASHED, 512)


def test_types_presence_and_order_are_the_schemas():
    features = features_of(
        """
        feature { name: "b" type: BYTES presence { min_fraction: 1.0 } }
        feature { name: "a" type: INT presence { min_fraction: 0.99 } }
        feature { name: "c" type: FLOAT }
        """
    )
    assert [(feature.name, feature.type, feature.required) for feature in features] == [
        ("b", schema_pb2.BYTES, True),
        ("a", schema_pb2.INT, False),
        ("c", schema_pb2.FLOAT, False),
    ]


def test_the_label_the_excluded_and_what_no_request_carries_are_left_out():
    features = features_of(
        """
        feature { name: "kept" type: FLOAT }
        feature { name: "late" type: INT }
        feature { name: "year" type: INT }
        feature { name: "weight" type: FLOAT not_in_environment: "SERVING" }
        """,
        exclude={"year": "does not repeat"},
    )
    assert [feature.name for feature in features] == ["kept"]


def test_a_hashed_name_that_the_schema_does_not_have_is_an_error_with_the_choice():
    with pytest.raises(SchemaError) as caught:
        features_of('feature { name: "b" type: INT } feature { name: "a" type: INT }', hashed={"flihgt": 8})
    assert "'flihgt'" in caught.value.what
    assert caught.value.expected == "one of a, b"


def test_a_model_without_a_feature_is_an_error():
    with pytest.raises(SchemaError, match="No feature is left"):
        features_of('feature { name: "late" type: INT } feature { name: "x" type: INT }', exclude={"x": "not known"})


def test_a_feature_survives_json():
    for feature in features_of(
        """
        feature { name: "b" type: BYTES string_domain { value: "x" value: "y" } presence { min_fraction: 1.0 } }
        feature { name: "h" type: INT }
        """,
        hashed={"h": 7},
    ):
        back = Feature.from_json(json.loads(json.dumps(feature.to_json())))
        assert back == feature
        assert isinstance(back.role, Role)
        assert hash(back) == hash(feature)
