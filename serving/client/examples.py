"""Columns → tf.Examples, for Classify and Regress: plain values here, messages in `serving.client.messages`.

Only FLOAT, INT and BYTES exist in a tf.Example. Which one a feature is, the reviewed schema says; without a schema
the inputs of `serving_default`, which are named as the features are (see `models.signatures`: an INT that may be
missing is DT_DOUBLE there); without those, the value itself. What is missing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client.rows import Chunk
from serving.client.signature import DEFAULT_SIGNATURE, STRING, Metadata
from serving.client.transport import Examples
from serving.client.values import is_missing, mistake, to_bytes, to_float, to_integer

FLOAT, INT, BYTES = "FLOAT", "INT", "BYTES"
_WHOLE_IF_ALL_ARE = "DOUBLE"


def types_of_schema(path: str | Path) -> dict[str, str]:
    """The type of each feature that a request carries.

    Raises:
        SchemaError: The file is no reviewed schema.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    from schema.contract import load_schema, serving_features

    features = serving_features(load_schema(Path(path)))
    return {feature.name: schema_pb2.FeatureType.Name(feature.type) for feature in features}


def types_of_signature(metadata: Metadata) -> dict[str, str]:
    """The same, of the inputs of `serving_default`; empty if these are tf.Examples themselves."""
    signature = metadata.signatures.get(DEFAULT_SIGNATURE)
    if signature is None or signature.takes_examples or set(signature.inputs) == {"examples"}:
        return {}
    kinds = {STRING: BYTES, "DT_DOUBLE": _WHOLE_IF_ALL_ARE, "DT_FLOAT": FLOAT, "DT_HALF": FLOAT}
    return {name: kinds.get(spec.dtype, INT) for name, spec in signature.inputs.items()}


def examples_of(chunk: Chunk, types: Mapping[str, str]) -> Examples:
    """The rows as plain tf.Examples.

    Args:
        chunk: The rows; a value may be a list.
        types: Of features; those without one have the type of their value.

    Raises:
        ClientError: A value does not fit.
    """
    examples: list[dict[str, list[Any]]] = [{} for _ in range(chunk.size)]
    for name, column in chunk.columns.items():
        wanted = types.get(name)
        is_array = isinstance(column, np.ndarray) and column.dtype.kind != "M"
        rows = [_present(value) for value in (column.tolist() if is_array else column)]  # type: ignore[union-attr]
        if wanted == _WHOLE_IF_ALL_ARE:
            wanted = INT if all(_is_whole(value) for values in rows for value in values) else FLOAT
        for index, values in enumerate(rows):
            try:
                made = [_CONVERT[wanted or _type_of(values)](value) for value in values]
            except (TypeError, ValueError, OverflowError) as error:
                row = chunk.start + index
                raise mistake(
                    f"row {row}, feature {name!r} ({wanted or 'no type known'}): {error}", row, name
                ) from None
            if made:
                examples[index][name] = made
    return examples


def _present(value: Any) -> list[Any]:
    listed = list(value) if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) else [value]
    return [each for each in listed if not is_missing(each) and each not in ("", b"")]


def _type_of(values: list[Any]) -> str:
    if any(isinstance(value, (str, bytes)) for value in values):
        return BYTES
    return FLOAT if any(isinstance(value, (float, np.floating)) for value in values) else INT


def _is_whole(value: Any) -> bool:
    try:
        to_integer(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _to_int64(value: Any) -> int:
    whole = to_integer(value)
    if not -(1 << 63) <= whole < 1 << 63:
        raise ValueError(f"{whole} is beyond the range of int64")
    return whole


def _to_float32(value: Any) -> float:
    number = to_float(value)
    with np.errstate(over="ignore"):
        made = float(np.float32(number))
    if np.isinf(made) and not np.isinf(number):
        raise ValueError(f"{number} is beyond the range of float32")
    return made


_CONVERT: dict[str, Callable[[Any], Any]] = {FLOAT: _to_float32, INT: _to_int64, BYTES: to_bytes}
