"""The role of each feature, read off the schema and the configuration."""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from models.config import FeaturesConfig
from schema.contract import is_required, serving_features, string_domain
from schema.errors import SchemaError


class Role(str, Enum):
    """How a raw feature becomes a model input."""

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"
    """One of the values that the schema lists."""
    VOCABULARY = "vocabulary"
    """One of many values, learned from the training examples."""
    HASHED = "hashed"
    TIME = "time"
    """Seconds since 1970-01-01; hour of the day and day of the week are derived. Month and year are not: they do
    not repeat within a window of spans."""
    TEXT = "text"


@dataclass(frozen=True)
class Feature:
    """A raw feature that the model reads."""

    name: str
    role: Role
    type: int
    """`schema_pb2.FeatureType`: BYTES, INT or FLOAT."""
    required: bool
    """Whether each example must carry it."""
    values: tuple[str, ...] = ()
    """CATEGORICAL: the domain. BOOLEAN of BYTES: the value that means true."""
    size: int = 0
    """VOCABULARY: the most values kept. HASHED and TEXT: the number of buckets."""

    def to_json(self) -> dict[str, Any]:
        """As plain values, for a component's parameters."""
        return dataclasses.asdict(self) | {"role": self.role.value}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Feature:
        """The inverse of `to_json`."""
        return cls(**(raw | {"role": Role(raw["role"]), "values": tuple(raw["values"])}))


def model_features(schema: schema_pb2.Schema, config: FeaturesConfig, label: str) -> list[Feature]:
    """The features that the model reads: all of the SERVING environment but the label and the excluded.

    Raises:
        SchemaError: A feature named in the configuration is not in the schema, or none is left.
    """
    known = {feature.name for feature in schema.feature}
    for name in config.hashed:
        if name not in known:
            raise SchemaError(
                f"features.hashed names {name!r}, which the schema does not have",
                expected=f"one of {', '.join(sorted(known))}",
            )
    features = [
        _feature(feature, schema, config)
        for feature in serving_features(schema)
        if feature.name != label and feature.name not in config.exclude
    ]
    if not features:
        raise SchemaError(
            "No feature is left for the model",
            expected="at least one feature of the SERVING environment that is neither the label nor excluded",
        )
    for each in features:
        _require_plain_name(each.name)
    return features


def label_feature(label: str, schema: schema_pb2.Schema) -> Feature:
    """The label as a number, for what watches it beside the features.

    Raises:
        SchemaError: The schema does not have it.
    """
    found = next((feature for feature in schema.feature if feature.name == label), None)
    if found is None:
        raise SchemaError(
            f"The schema does not have the label {label!r}",
            expected=f"one of {', '.join(sorted(feature.name for feature in schema.feature))}",
        )
    return Feature(label, Role.NUMERIC, found.type, is_required(found))


def _require_plain_name(name: str) -> None:
    """TensorFlow makes arguments of a signature's input names, and alters or refuses what is no identifier."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name) or name == "self":
        raise SchemaError(
            f"The feature {name!r} cannot be served under its name",
            expected="ASCII letters, digits and underscores, not starting with a digit, and no word of Python's own",
            mend="Rename the column where the data is made, or exclude it.",
        )


def _feature(feature: schema_pb2.Feature, schema: schema_pb2.Schema, config: FeaturesConfig) -> Feature:
    role, values, size = _role(feature, schema, config)
    return Feature(feature.name, role, feature.type, is_required(feature), tuple(values), size)


def _role(
    feature: schema_pb2.Feature, schema: schema_pb2.Schema, config: FeaturesConfig
) -> tuple[Role, Sequence[str], int]:
    if feature.name in config.hashed:
        return Role.HASHED, (), config.hashed[feature.name]
    if feature.HasField("bool_domain"):
        return Role.BOOLEAN, (feature.bool_domain.true_value or "true",), 0
    if feature.HasField("time_domain"):
        return Role.TIME, (), 0
    if feature.type == schema_pb2.BYTES:
        if feature.HasField("natural_language_domain"):
            return Role.TEXT, (), config.text_buckets
        domain = string_domain(feature, schema)
        return (Role.CATEGORICAL, domain, 0) if domain else (Role.VOCABULARY, (), config.vocabulary_size)
    if feature.type == schema_pb2.INT and feature.int_domain.is_categorical:
        return Role.VOCABULARY, (), config.vocabulary_size
    return Role.NUMERIC, (), 0
