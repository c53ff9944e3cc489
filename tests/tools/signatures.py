"""Signatures over models that are Python functions: what a server does with arrays, without TensorFlow's graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.servable import Signature

Shape = Sequence[int | None] | None


class FunctionModel:
    """A model whose only signature is a Python function over arrays."""

    def __init__(self, function: Callable[..., list[np.ndarray]]):
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {}
        self._function = function

    def prepare(self, signature_name: str) -> Callable[..., list[np.ndarray]]:
        return self._function

    def close(self) -> None:
        pass


def signature(
    inputs: Mapping[str, tuple[tf.DType, Shape]],
    function: Callable[..., list[np.ndarray]] = lambda *arrays: list(arrays),
    outputs: Mapping[str, tuple[tf.DType, Shape]] | None = None,
) -> Signature:
    """A signature with these inputs (and, unless told otherwise, the same outputs) that runs a function."""
    definition = meta_graph_pb2.SignatureDef()
    for infos, given in ((definition.inputs, inputs), (definition.outputs, inputs if outputs is None else outputs)):
        for name, (dtype, shape) in given.items():
            infos[name].dtype = dtype.as_datatype_enum
            infos[name].tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return Signature("test", definition, FunctionModel(function))
