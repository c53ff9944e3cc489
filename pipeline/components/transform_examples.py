"""Applies a transform graph to shards of examples: a shard in, a shard out.

TensorFlow reads, parses and transforms a batch in threads of its own while the batch before it is encoded and written.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from data.dense_examples import encode_dense
from data.records import record_batches

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)
_AHEAD = 2


class TransformExamples(beam.DoFn):
    """A pair of paths, of raw examples and of the transformed ones → the latter, once it is there and whole.

    Args:
        transform_graph: Where the graph is. It is written before, by the same job: see the side input of `process`.
        features: The raw features that the graph reads.
    """

    def __init__(self, transform_graph: str, features: Collection[str]) -> None:
        self._transform_graph = transform_graph
        self._features = frozenset(features)
        self._transformer: _Transformer | None = None

    def process(self, paths: tuple[str, str], graph_is_written: object) -> Iterator[str]:
        """Transforms one file.

        Args:
            paths: Where it is, and where it goes.
            graph_is_written: Anything that depends on the graph.

        Raises:
            tf.errors.OpError: The file is damaged, or is not of the features of the graph.
        """
        del graph_is_written
        if self._transformer is None:  # not in `setup`, which does not wait for the side input
            self._transformer = _Transformer(self._transform_graph, self._features)
        source, target = paths
        unfinished = f"{target}.{uuid.uuid4().hex}"
        with tf.io.TFRecordWriter(unfinished, _GZIP) as writer:
            for example in self._transformer.examples(source):
                writer.write(example)
        tf.io.gfile.rename(unfinished, target, overwrite=True)
        yield target


class _Transformer:
    def __init__(self, transform_graph: str, features: Collection[str]) -> None:
        transform = tft.TFTransformOutput(transform_graph)
        self._raw_spec = {name: spec for name, spec in transform.raw_feature_spec().items() if name in features}
        self._layer = transform.transform_features_layer()
        # Traced once for all files; AutoGraph would spend seconds on the sources of Keras, to no effect.
        serialized = tf.TensorSpec([None], tf.string)
        self._transform = tf.function(self._apply, [serialized], autograph=False).get_concrete_function()

    def examples(self, path: str) -> Iterator[bytes]:
        """The transformed examples of a file, serialized."""
        transformed = record_batches(path).map(self._transform, num_parallel_calls=_AHEAD).prefetch(1)
        tensors: Mapping[str, np.ndarray]
        for tensors in transformed.as_numpy_iterator():
            yield from encode_dense(tensors)

    def _apply(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(self._layer(tf.io.parse_example(examples, self._raw_spec)))
