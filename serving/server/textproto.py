"""Configuration files in protobuf's text format, as TensorFlow Serving reads them.

The package `tensorflow-serving-api` lacks the messages of three of its own files; they are declared here with the
same full names and fields (`tensorflow_serving/config/*.proto`, `session_bundle_config.proto`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from serving.server.status import StatusError, invalid_argument

_Field: Any = descriptor_pb2.FieldDescriptorProto
_INT64, _BOOL, _TEXT = ".google.protobuf.Int64Value", ".google.protobuf.BoolValue", ".google.protobuf.StringValue"
_MESSAGES: dict[str, dict[str, tuple[int, int | str]]] = {
    "PrometheusConfig": {"enable": (1, _Field.TYPE_BOOL), "path": (2, _Field.TYPE_STRING)},
    "MonitoringConfig": {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, _Field.TYPE_STRING),
        "server_cert": (2, _Field.TYPE_STRING),
        "custom_ca": (3, _Field.TYPE_STRING),
        "client_verify": (4, _Field.TYPE_BOOL),
    },
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _TEXT),
        "allowed_batch_sizes": (6, _Field.TYPE_INT64),
        "pad_variable_length_inputs": (7, _Field.TYPE_BOOL),
        "enable_large_batch_splitting": (8, _BOOL),
        "max_execution_batch_size": (9, _INT64),
    },
}
_REPEATED = {"allowed_batch_sizes"}


def _declare() -> dict[str, Any]:
    """The message classes, in a pool of their own so that they cannot clash with a later package's."""
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/server/textproto.proto", package="tensorflow.serving", syntax="proto3"
    )
    file.dependency.append(wrappers.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = _Field.LABEL_REPEATED if field in _REPEATED else _Field.LABEL_OPTIONAL
            declared: Any = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                declared.type, declared.type_name = _Field.TYPE_MESSAGE, kind
            else:
                declared.type = kind
    pool.Add(file)
    factory: Any = message_factory  # protobuf before 4.22 has no GetMessageClass, after 5 no GetPrototype
    get_class = (
        factory.GetMessageClass if hasattr(factory, "GetMessageClass") else factory.MessageFactory(pool).GetPrototype
    )
    return {name: get_class(pool.FindMessageTypeByName(f"tensorflow.serving.{name}")) for name in _MESSAGES}


_CLASSES = _declare()
MonitoringConfig = _CLASSES["MonitoringConfig"]
SSLConfig = _CLASSES["SSLConfig"]
BatchingParameters = _CLASSES["BatchingParameters"]


def read_text_proto(path: str, message_class: Any) -> Any:
    """Reads one message.

    Raises:
        StatusError: The file cannot be read, or is not such a message.
    """
    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), message_class())
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_argument(f"Could not read the file {path}: {error}") from None
    except text_format.ParseError as error:
        raise _parse_error(path, message_class, error) from None


def _parse_error(path: str, message_class: Any, error: Exception) -> StatusError:
    name = message_class.DESCRIPTOR.full_name
    return invalid_argument(f"Error parsing text-format {name}: {error}. Invalid protobuf file: '{path}'")
