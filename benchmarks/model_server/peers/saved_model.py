"""A SavedModel as its users call it: loaded eagerly, a tensor for each input. Runs in the peers' environments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when TensorFlow is imported

import tensorflow as tf


class SavedModel:
    """The default signature of a SavedModel.

    Args:
        path: Of its folder.
    """

    def __init__(self, path: str) -> None:
        self._loaded = tf.saved_model.load(path)
        self._signature = self._loaded.signatures["serving_default"]
        self._dtypes = {name: spec.dtype for name, spec in self._signature.structured_input_signature[1].items()}

    def answer_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """An answer for each row."""
        return self.answer_columns({name: [row[name] for row in rows] for name in self._dtypes})

    def answer_columns(self, columns: Mapping[str, Any]) -> list[float]:
        """An answer for each row of the columns."""
        tensors = {name: tf.constant(columns[name], dtype) for name, dtype in self._dtypes.items()}
        (output,) = self._signature(**tensors).values()
        return output.numpy().tolist()
