"""JSON examples → tf.Examples: the requests of Classify and Regress (`util/json_tensor.cc`)."""

from __future__ import annotations

from typing import Any

from tensorflow.core.example import example_pb2

from serving.server.json_values import as_bytes, decode_base64, is_base64_object, type_of, wrong
from serving.server.status import invalid_argument


def examples(document: dict[str, Any]) -> list[bytes]:
    """The serialized tf.Examples of a classify or regress request, its context merged into each.

    Raises:
        StatusError: There is no example, or a feature mixes kinds of values.
    """
    context = _example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        raise wrong(document, "When method is classify, key 'examples' is expected and was not found")
    given = document["examples"]
    if type(given) is not list:
        raise wrong(document, "Expecting 'examples' value to be an list/array")
    if not given:
        raise wrong(document, "'examples' value is an empty array")
    return [context + _example(each) for each in given]


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_of(value)}")
    example = example_pb2.Example()
    features = example.features.feature
    for name, content in value.items():
        try:
            feature = features[name]
        except UnicodeEncodeError:
            raise invalid_argument(f"Feature: {name} has a name that is not UTF-8") from None
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(feature, name, item)
    return bytes(example.SerializeToString())


_KIND_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def _add_to_feature(feature: example_pb2.Feature, name: str, item: Any) -> None:
    value: bytes | float
    if isinstance(item, str) or is_base64_object(item):
        kind, value = "bytes_list", as_bytes(item) if isinstance(item, str) else decode_base64(item["b64"])
    elif isinstance(item, float):
        kind, value = "float_list", item
    elif isinstance(item, int):  # true and false are 1 and 0
        kind, value = "int64_list", int(item)
    else:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_of(item)}")
    known = feature.WhichOneof("kind")
    if known not in (None, kind):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[known]}")
    try:
        getattr(feature, kind).value.append(value)
    except ValueError:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.") from None
