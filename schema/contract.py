"""Reads the reviewed schema and answers what the other rooms ask of it.

The file is a `tensorflow_metadata.proto.v0.Schema` in text format, see
https://github.com/tensorflow/metadata/blob/master/tensorflow_metadata/proto/v0/schema.proto
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from upath import UPath

from schema.errors import SchemaError

SERVING = "SERVING"
TRAINING = "TRAINING"
_SECONDS = schema_pb2.TimeDomain.UNIX_SECONDS


def load_schema(path: Path | UPath) -> schema_pb2.Schema:
    """Parses and checks a schema file.

    Raises:
        SchemaError: The file is missing, is not a Schema in text format, names a feature twice, lacks the
            environments TRAINING and SERVING, or gives a feature no usable type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SchemaError(
            "The schema file does not exist",
            where=str(path),
            mend="Set `schema:` in the pipeline's YAML to the reviewed .pbtxt file, relative to the project's root.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError("The schema file cannot be read", where=str(path), received=str(error)) from None
    try:
        schema = text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise SchemaError(
            "The schema is not a Schema proto in text format",
            where=f"{path}:{error.GetLine()}",
            received=str(error),
            mend="Mend that line; the fields are those of tensorflow_metadata's schema.proto.",
        ) from None
    _check(schema, path)
    return schema


def _check(schema: schema_pb2.Schema, path: Path | UPath) -> None:
    names = [feature.name for feature in schema.feature]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        raise SchemaError(
            "The schema must name each feature once, and at least one",
            where=str(path),
            received=f"repeated: {', '.join(repeated)}" if repeated else "no feature",
        )
    missing = {TRAINING, SERVING} - set(schema.default_environment)
    if missing:
        raise SchemaError(
            "The schema does not declare its environments",
            where=str(path),
            expected='default_environment: "TRAINING" and default_environment: "SERVING"',
            received=f"no {' and no '.join(sorted(missing))}",
        )
    domains = {domain.name for domain in schema.string_domain}
    for feature in schema.feature:
        if feature.HasField("domain") and feature.domain not in domains:
            raise SchemaError(
                f"The feature {feature.name!r} names a domain that the schema does not define",
                where=str(path),
                expected=f"one of {', '.join(sorted(domains)) or 'no domain: none is defined'}",
                received=feature.domain,
            )
        if feature.time_domain.HasField("integer_format") and feature.time_domain.integer_format != _SECONDS:
            raise SchemaError(
                f"The feature {feature.name!r} does not count seconds",
                where=str(path),
                expected="time_domain { integer_format: UNIX_SECONDS }",
                received=schema_pb2.TimeDomain.IntegerTimeFormat.Name(feature.time_domain.integer_format),
                mend="Deliver dates and times as such (they become seconds), or as seconds.",
            )
        if feature.type not in (schema_pb2.BYTES, schema_pb2.INT, schema_pb2.FLOAT):
            raise SchemaError(
                f"The feature {feature.name!r} has no usable type",
                where=str(path),
                expected="type: BYTES, INT or FLOAT",
                received=schema_pb2.FeatureType.Name(feature.type),
            )
        if feature.type != schema_pb2.INT and feature.HasField("time_domain"):
            raise SchemaError(
                f"The feature {feature.name!r} has a time_domain but is not INT",
                where=str(path),
                expected="type: INT, in seconds since 1970-01-01",
                received=schema_pb2.FeatureType.Name(feature.type),
            )


def in_environment(feature: schema_pb2.Feature, schema: schema_pb2.Schema, environment: str) -> bool:
    """Whether `feature` is expected in `environment`, by TFDV's rules."""
    if environment in feature.not_in_environment:
        return False
    return environment in feature.in_environment or environment in schema.default_environment


def serving_features(schema: schema_pb2.Schema) -> list[schema_pb2.Feature]:
    """The features that a request carries, in the schema's order."""
    return [feature for feature in schema.feature if in_environment(feature, schema, SERVING)]


def string_domain(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> list[str] | None:
    """The values that a BYTES feature may take, if the schema lists them (inline or by a shared domain)."""
    if feature.HasField("string_domain"):
        return list(feature.string_domain.value)
    if feature.HasField("domain"):
        return next((list(d.value) for d in schema.string_domain if d.name == feature.domain), None)
    return None


def is_required(feature: schema_pb2.Feature) -> bool:
    """Whether every example must carry the feature."""
    return bool(feature.presence.min_fraction >= 1.0)
