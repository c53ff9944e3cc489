r"""ML Metadata on PostgreSQL, mended: a text with a backslash is stored, and what is asked for by id comes in order.

ML Metadata escapes a text with libpq's PQescapeLiteral, and cuts the first and the last character off what it takes
for the text between quotes. With a backslash in the text the literal begins with ` E'`, so that the rest of the text is
read as SQL (ml_metadata/metadata_store/postgresql_metadata_source.cc, `EscapeString`). TFX stores JSON within JSON,
which has backslashes. So no backslash may ever reach that function: in the database, U+F05C stands for it, a character
for private use that no other text has.

PostgreSQL gives rows in no order, as soon as one was changed. TFX's cache takes them to be in the order in which it
asked for them (tfx/orchestration/portable/cache_utils.py, `_get_outputs_of_execution`): now and then an output of a
cached node would be another one's artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ml_metadata as mlmd
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ml_metadata.proto import metadata_store_pb2 as pb

_BACKSLASH = "\\"
_STAND_IN = chr(0xF05C)


class PostgresqlStore(mlmd.MetadataStore):
    """A MetadataStore in which every text may have backslashes."""

    def _call(self, method_name: str, request: Message, response: Message, extra_options: object = None) -> None:
        _replace(request, _BACKSLASH, _STAND_IN)
        super()._call(method_name, request, response, extra_options)
        _replace(response, _STAND_IN, _BACKSLASH)

    def get_artifacts_by_id(self, artifact_ids: Sequence[int], *options: Any, **named: Any) -> list[pb.Artifact]:
        """In the order of the ids; one that is not there is left out."""
        return _in_order(artifact_ids, super().get_artifacts_by_id(artifact_ids, *options, **named))

    def get_artifact_types_by_id(self, type_ids: Sequence[int], *options: Any, **named: Any) -> list[pb.ArtifactType]:
        """In the order of the ids, and as often as they are asked for."""
        return _in_order(type_ids, super().get_artifact_types_by_id(type_ids, *options, **named))


def _in_order(ids: Sequence[int], found: Sequence[Any]) -> list[Any]:
    by_id = {each.id: each for each in found}
    return [by_id[number] for number in ids if number in by_id]


def _replace(message: Message, old: str, new: str) -> None:
    """Replaces a character in every text of a message."""
    if old.encode() in message.SerializeToString():  # as good as never: to look is cheaper than to walk
        _walk(message, old, new)


def _walk(message: Message, old: str, new: str) -> None:
    for field, value in message.ListFields():
        if isinstance(value, str):
            setattr(message, field.name, value.replace(old, new))
        elif isinstance(value, Message):
            _walk(value, old, new)
        elif field.type == FieldDescriptor.TYPE_STRING:
            value[:] = [each.replace(old, new) for each in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            _walk_each(value, old, new)


def _walk_each(values: Iterable[Any], old: str, new: str) -> None:
    """The messages of a list, or those that a map has for values."""
    for each in values.values() if isinstance(values, Mapping) else values:
        if isinstance(each, Message):
            _walk(each, old, new)
