"""What a server tells of a model: its signatures and the state of its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DEFAULT_SIGNATURE = "serving_default"
STRING = "DT_STRING"
DTYPES: dict[str, np.dtype] = {
    "DT_FLOAT": np.dtype(np.float32),
    "DT_DOUBLE": np.dtype(np.float64),
    "DT_HALF": np.dtype(np.float16),
    "DT_INT8": np.dtype(np.int8),
    "DT_INT16": np.dtype(np.int16),
    "DT_INT32": np.dtype(np.int32),
    "DT_INT64": np.dtype(np.int64),
    "DT_UINT8": np.dtype(np.uint8),
    "DT_UINT16": np.dtype(np.uint16),
    "DT_UINT32": np.dtype(np.uint32),
    "DT_UINT64": np.dtype(np.uint64),
    "DT_BOOL": np.dtype(np.bool_),
    STRING: np.dtype(object),
}
"""TensorFlow's types that rows can become, in NumPy."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or an output of a signature."""

    dtype: str
    """As TensorFlow calls it: DT_FLOAT, DT_STRING, …"""
    shape: tuple[int, ...] | None
    """-1 for a size that may differ, such as the number of rows; None if even the rank may."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row's value."""
        return self.shape[1:] if self.shape else ()


@dataclass(frozen=True)
class Signature:
    """One way to ask a model."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = ""

    @property
    def takes_examples(self) -> bool:
        """Whether it can answer Classify or Regress: its one input is of serialized tf.Examples."""
        return set(self.inputs) == {"inputs"} and self.inputs["inputs"].dtype == STRING

    @property
    def classifies(self) -> bool:
        """Whether it answers Classify."""
        return self.takes_examples and bool(self.outputs) and set(self.outputs) <= {"classes", "scores"}

    @property
    def regresses(self) -> bool:
        """Whether it answers Regress."""
        return self.takes_examples and set(self.outputs) == {"outputs"}


@dataclass(frozen=True)
class Metadata:
    """A version of a model and its signatures."""

    model: str
    version: int
    signatures: Mapping[str, Signature]


@dataclass(frozen=True)
class VersionStatus:
    """What has become of a version."""

    version: int
    state: str
    """START, LOADING, AVAILABLE, UNLOADING or END."""
    code: str = "OK"
    message: str = ""


def metadata_of(document: Mapping[str, Any]) -> Metadata:
    """The metadata out of the JSON of GetModelMetadata.

    Raises:
        KeyError: It is none, or a part of it is missing.
        ValueError: A number in it is none.
    """
    spec = document["model_spec"]
    signatures = document["metadata"]["signature_def"]["signature_def"]
    return Metadata(
        str(spec["name"]),
        int(spec["version"]),
        {
            name: Signature(
                {key: _spec(info) for key, info in signature.get("inputs", {}).items()},
                {key: _spec(info) for key, info in signature.get("outputs", {}).items()},
                signature.get("method_name", ""),
            )
            for name, signature in signatures.items()
            if name != "__saved_model_init_op"
        },
    )


def _spec(info: Mapping[str, Any]) -> TensorSpec:
    shape = info.get("tensor_shape", {})
    if shape.get("unknown_rank"):
        return TensorSpec(info["dtype"], None)
    return TensorSpec(info["dtype"], tuple(int(dim["size"]) for dim in shape.get("dim", ())))
