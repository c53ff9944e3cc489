"""A SavedModel run as TensorFlow Serving runs it: a Session over its graph.

Loading a model eagerly proves nothing here: a Keras 3 model saved with `tf.saved_model.save` answers every eager
call and then fails in a Session with `Could not find variable` (tensorflow/serving#2250).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

SERVE_TAG = "serve"


class SessionModel:
    """One loaded version of a model.

    Args:
        path: The folder of the SavedModel.

    Raises:
        OSError: There is no SavedModel in the folder.
        tf.errors.OpError: The graph cannot be loaded or initialised.
    """

    def __init__(self, path: str) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        meta_graph = tf.compat.v1.saved_model.loader.load(self._session, [SERVE_TAG], path)
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)

    def run(self, signature_name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers one request.

        Args:
            signature_name: One of `signatures`.
            inputs: An array for each of the signature's inputs.

        Returns:
            An array for each of the signature's outputs.

        Raises:
            KeyError: The signature does not exist.
            ValueError: The inputs are not exactly the signature's.
            tf.errors.OpError: The graph failed.
        """
        signature = self.signatures[signature_name]
        if set(inputs) != set(signature.inputs):
            raise ValueError(f"expected the inputs {sorted(signature.inputs)}, received {sorted(inputs)}")
        outputs: dict[str, np.ndarray] = self._session.run(
            {name: info.name for name, info in signature.outputs.items()},
            {signature.inputs[name].name: value for name, value in inputs.items()},
        )
        return outputs

    def close(self) -> None:
        """Frees the model."""
        self._session.close()
