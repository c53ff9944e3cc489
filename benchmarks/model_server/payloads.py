"""The requests: real flights of December, of one row and of 64, in JSON and in protobuf, and their right answers."""

from __future__ import annotations

import datetime
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from pyarrow import parquet
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving.session_model import SessionModel

FLIGHTS = Path("data/flights/span-12/flights.parquet")
MODEL_NAME = "flights"
SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Payload:
    """One request in every form that a load generator or a server takes."""

    rows: int
    arrays: list[np.ndarray]
    """In the order of the signature's inputs."""
    expected: list[float]
    json: bytes
    proto: bytes
    json_file: Path
    grpc_file: Path
    """With gRPC's prefix: uncompressed, length."""


def make_payloads(model: SessionModel, folder: Path, sizes: tuple[int, ...]) -> dict[int, Payload]:
    """Payloads by their number of rows; the files are written into `folder`."""
    signature = model.signatures[SIGNATURE]
    rows = _whole_rows(signature, max(sizes))
    return {size: _payload(model, signature, rows[:size], folder) for size in sizes}


def _whole_rows(signature: meta_graph_pb2.SignatureDef, count: int) -> list[dict[str, Any]]:
    """Flights that lack no value, because not every server can be sent a missing one."""
    table = parquet.read_table(FLIGHTS, columns=list(signature.inputs)).drop_null()
    rows = table.slice(0, count).to_pylist()
    return [{name: _plain(row[name], info.dtype) for name, info in signature.inputs.items()} for row in rows]


def _plain(value: Any, data_type: int) -> Any:
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=datetime.timezone.utc).timestamp()
    dtype = tf.as_dtype(data_type)
    return str(value) if dtype == tf.string else int(value) if dtype.is_integer else float(value)


def _payload(
    model: SessionModel, signature: meta_graph_pb2.SignatureDef, rows: list[dict[str, Any]], folder: Path
) -> Payload:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    arrays = []
    for name, info in signature.inputs.items():
        values = [row[name].encode() if isinstance(row[name], str) else row[name] for row in rows]
        arrays.append(np.array(values, tf.as_dtype(info.dtype).as_numpy_dtype))
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, info.dtype))
    body, proto = json.dumps({"instances": rows}).encode(), request.SerializeToString()
    json_file, grpc_file = folder / f"{len(rows)}.json", folder / f"{len(rows)}.grpc"
    json_file.write_bytes(body)
    grpc_file.write_bytes(struct.pack(">BI", 0, len(proto)) + proto)
    expected = np.ravel(model.prepare(SIGNATURE)(*arrays)[0]).tolist()
    return Payload(len(rows), arrays, expected, body, proto, json_file, grpc_file)
