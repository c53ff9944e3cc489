"""A TFLite model behind the same interface as a SavedModel (`--prefer_tflite_model`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated

from serving.server.servable import DEFAULT_SIGNATURE
from serving.server.status import StatusError, invalid_argument

TFLITE_FILE = "model.tflite"
_SIGNATURES_METADATA = b"signature_defs_metadata"


class TfliteModel:
    """A model that TensorFlow Lite's interpreter runs.

    Args:
        path: Of the .tflite file.

    Raises:
        ValueError: It is no TFLite model.
    """

    def __init__(self, path: str) -> None:
        content = Path(path).read_bytes()
        self._interpreter = tf.lite.Interpreter(model_content=content)
        self._lock = threading.Lock()
        self._inputs = {each["name"]: each for each in self._interpreter.get_input_details()}
        self._outputs = {each["name"]: each for each in self._interpreter.get_output_details()}
        self.signatures = _written_signatures(content) or {DEFAULT_SIGNATURE: self._mock_signature()}

    def prepare(self, signature_name: str) -> Callable[..., list[np.ndarray]]:
        """See `Model`."""
        signature = self.signatures[signature_name]
        inputs = [self._tensor(self._inputs, info.name) for info in signature.inputs.values()]
        outputs = [self._tensor(self._outputs, info.name) for info in signature.outputs.values()]
        return lambda *arrays: self._run(inputs, outputs, arrays)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _run(self, inputs: list[Any], outputs: list[Any], arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        with self._lock:
            try:
                for details, array in zip(inputs, arrays, strict=True):
                    self._interpreter.resize_tensor_input(details["index"], array.shape)
                self._interpreter.allocate_tensors()
                for details, array in zip(inputs, arrays, strict=True):
                    self._interpreter.set_tensor(details["index"], array)
                self._interpreter.invoke()
                return [np.array(self._interpreter.get_tensor(details["index"])) for details in outputs]
            except (RuntimeError, ValueError) as error:
                raise invalid_argument(f"Failed to invoke TfLite interpreter: {error}") from None

    def _mock_signature(self) -> meta_graph_pb2.SignatureDef:
        """The model's own inputs and outputs, for a model that was written without signatures."""
        signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
        for infos, tensors in ((signature.inputs, self._inputs), (signature.outputs, self._outputs)):
            for name, details in tensors.items():
                infos[name].name = name
                infos[name].dtype = tf.as_dtype(details["dtype"]).as_datatype_enum
                for side in details["shape"]:
                    infos[name].tensor_shape.dim.add().size = int(side)
        return signature

    @staticmethod
    def _tensor(tensors: dict[str, Any], name: str) -> Any:
        """Early converters stripped the `:0` of a tensor's name."""
        found = tensors.get(name) or tensors.get(name.partition(":")[0])
        if found is None:
            raise _unknown_tensor(name)
        return found


def _written_signatures(content: bytes) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The SignatureDefs in the model's metadata (`tensorflow/lite/tools/signature/signature_def_util.cc`)."""
    model = schema_py_generated.Model.GetRootAsModel(content, 0)
    for position in range(model.MetadataLength()):
        metadata = model.Metadata(position)
        if metadata.Name() == _SIGNATURES_METADATA:
            written = flexbuffers.Loads(model.Buffers(metadata.Buffer()).DataAsNumpy().tobytes())
            return {
                name: meta_graph_pb2.SignatureDef.FromString(
                    value.encode("latin-1") if isinstance(value, str) else value
                )
                for name, value in written.items()
            }
    return {}


def _unknown_tensor(name: str) -> StatusError:
    return invalid_argument(f"Unknown tensor '{name}'.")
