"""Applies a transform graph to shards of examples: a shard in, a shard out.

Batches are transformed and encoded in threads while those before them are written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter, TensorAdapterConfig

from data.ahead import map_ahead
from data.dense_examples import encode_dense
from data.records import ExamplesParser, FeatureTypes
from models.blocks import as_blocks, blocks_path

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)

_Encoded = tuple[list[bytes], list[bytes]]
"""The blocks of a batch, and its examples."""


class TransformExamples(beam.DoFn):
    """A pair of paths, of raw examples and of the transformed ones → the latter, once it is there and whole.

    Beside the transformed examples are their blocks, see `models.blocks`.

    Args:
        transform_graph: Where the graph is. It is written before, perhaps by the same job: see `process`.
        temporary: A folder of unfinished files, in the file system of the transformed examples.
        config: How TensorFlow sees the columns that the graph reads.
        types: Of these columns.
    """

    def __init__(self, transform_graph: str, temporary: str, config: TensorAdapterConfig, types: FeatureTypes) -> None:
        self._transform_graph = transform_graph
        self._temporary = temporary
        self._config = config
        self._types = types
        self._transformer: _Transformer | None = None

    def process(self, paths: tuple[str, str], graph_is_written: object = None) -> Iterator[str]:
        """Transforms one file.

        Args:
            paths: Where it is, and where it goes.
            graph_is_written: Anything that depends on the graph, if the same job writes it.

        Raises:
            pa.ArrowInvalid, OSError: The file of the examples' columns is damaged.
            tf.errors.OpError: It has none, and is damaged, or is not of the features of the graph.
        """
        del graph_is_written
        if self._transformer is None:  # not in `setup`, which does not wait for the side input
            self._transformer = _Transformer(self._transform_graph, self._config, self._types)
        source, target = paths
        targets = (blocks_path(target), target)  # the examples last: they tell that all is there
        unfinished = [f"{self._temporary}/{uuid.uuid4().hex}" for _ in targets]
        with ExitStack() as stack:
            writers = [stack.enter_context(tf.io.TFRecordWriter(path, _GZIP)) for path in unfinished]
            for of_batch in self._transformer.read(source):
                for writer, records in zip(writers, of_batch, strict=True):
                    for record in records:
                        writer.write(record)
        for path, final in zip(unfinished, targets, strict=True):
            tf.io.gfile.rename(path, final, overwrite=True)
        yield target


class _Transformer:
    def __init__(self, transform_graph: str, config: TensorAdapterConfig, types: FeatureTypes) -> None:
        self._layer = tft.TFTransformOutput(transform_graph).transform_features_layer()
        self._adapter = TensorAdapter(config)
        self._parser = ExamplesParser(types)
        # Traced once for all files; AutoGraph would spend seconds on the sources of Keras, to no effect.
        self._transform = tf.function(self._apply, [self._adapter.TypeSpecs()], autograph=False)

    def read(self, path: str) -> Iterator[_Encoded]:
        """A file of raw examples, transformed, batch by batch."""
        return map_ahead(self._encoded, self._parser.read(path))

    def _encoded(self, batch: pa.RecordBatch) -> _Encoded:
        transformed = self._transform(self._adapter.ToBatchTensors(batch))
        tensors = {name: each.numpy() for name, each in transformed.items()}
        return list(as_blocks(tensors)), encode_dense(tensors)

    def _apply(self, inputs: dict[str, tf.Tensor | tf.SparseTensor]) -> dict[str, tf.Tensor]:
        return dict(self._layer(inputs))
