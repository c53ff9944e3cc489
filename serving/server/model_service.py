"""What a server tells of its models: status and metadata, as protos and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from serving.server.inference import fill_model_spec
from serving.server.repository import Version
from serving.server.servable import Servable
from serving.server.status import Code, invalid_argument

SIGNATURE_DEF = "signature_def"


def status_response(versions: Iterable[Version]) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of versions."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        status = response.model_version_status.add(version=version.number, state=version.state)
        status.status.error_code = version.error.code if version.error else Code.OK
        status.status.error_message = version.error.message if version.error else ""
    return response


def status_json(versions: Iterable[Version]) -> bytes:
    """The state of versions for REST: 64-bit numbers are texts, as in protobuf's JSON."""
    states = get_model_status_pb2.ModelVersionStatus.State
    return orjson.dumps(
        {
            "model_version_status": [
                {
                    "version": str(version.number),
                    "state": states.Name(version.state),
                    "status": {
                        "error_code": (version.error.code if version.error else Code.OK).name,
                        "error_message": version.error.message if version.error else "",
                    },
                }
                for version in versions
            ]
        },
        option=orjson.OPT_INDENT_2,
    )


def metadata_response(servable: Servable, fields: Iterable[str]) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a servable.

    Raises:
        StatusError: Something else is asked for, or nothing.
    """
    check_metadata_fields(fields)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    fill_model_spec(response.model_spec, servable, None)
    response.metadata[SIGNATURE_DEF].Pack(_signatures(servable))
    return response


def check_metadata_fields(fields: Iterable[str]) -> None:
    """Raises StatusError unless only the signatures are asked for."""
    listed = list(fields)
    if not listed:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in listed:
        if field != SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {field} is not supported")


def metadata_json(servable: Servable) -> bytes:
    """The signatures of a servable for REST: fields in snake case, defaults printed."""
    document = {
        "model_spec": {"name": servable.name, "signature_name": "", "version": str(servable.version)},
        "metadata": {SIGNATURE_DEF: _plain(_signatures(servable))},
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _signatures(servable: Servable) -> get_model_metadata_pb2.SignatureDefMap:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature.definition)
    return signatures


def _plain(message: Any) -> dict[str, Any]:
    to_dict: Any = json_format.MessageToDict
    options = {"preserving_proto_field_name": True}
    try:
        plain: dict[str, Any] = to_dict(message, always_print_fields_with_no_presence=True, **options)
    except TypeError:  # protobuf before 5 had another name for it
        plain = to_dict(message, including_default_value_fields=True, **options)
    return plain
