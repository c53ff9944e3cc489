"""The vocabularies of all features as one TFT analyzer.

`tft.vocabulary` is some twenty stages of Beam for each feature. Here a value is counted under its feature, so that the
number of stages does not grow with the number of features. The files are those that `tft.vocabulary` writes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.pvalue import AsIter, TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from tensorflow_transform.analyzer_nodes import (
    CacheCoder,
    PTransform,
    TemporaryAssetInfo,
    TensorInfo,
    get_input_tensors_value_nodes,
    wrap_as_tensor,
)
from tensorflow_transform.analyzers import sanitized_vocab_filename
from tensorflow_transform.nodes import apply_multi_output_operation

from models.features import Feature

_UNWRITABLE = r"^$|\C*[\n\r]\C*"
"""What cannot be a line of a file of values."""

_NO_VALUE = b"(no value)"
"""The only line of the file of a feature that never had a value, since TensorFlow makes no table of an empty file."""

_MOST_COUNTED = 1 << 17
"""Values of a bundle, before they are handed on."""

_Counted = tuple[int, bytes]
"""How often a value comes, and the value."""


def vocabulary_files(features: Sequence[Feature], texts: tf.Tensor, there: tf.Tensor) -> list[tf.Tensor]:
    """The asset with each feature's most frequent values, one a line, the most frequent first.

    Of values that are as frequent as each other the greatest comes first.

    Args:
        features: Of role VOCABULARY; the files have their names as far as these can be files'. In the transform graph
            `tft.TFTransformOutput.vocabulary_file_by_name` finds each by its feature's name.
        texts: Their values, string [features, batch].
        there: Which are not missing, bool [features, batch].
    """
    rows = tf.where(there & ~tf.strings.regex_full_match(texts, _UNWRITABLE))
    keys = tf.strings.join([tf.strings.as_string(rows[:, 0]), tf.gather_nd(texts, rows)], ":")
    distinct, _, counts = tf.unique_with_counts(keys, tf.int64)
    names = _file_names([feature.name for feature in features])
    for feature, name in zip(features, names, strict=True):
        tft.annotate_asset(feature.name, name)
    # `tft.experimental.CacheablePTransformAnalyzer` would want as many caches as there are outputs: one is enough.
    with tf.name_scope("count_values"):
        counted = apply_multi_output_operation(
            PTransform,
            get_input_tensors_value_nodes((distinct, counts)),
            ptransform=CountValues(),
            output_tensor_info_list=[TensorInfo(tf.string, [None], None)],
            is_partitionable=True,
            cache_coder=CountedValueCoder(),
        )
    with tf.name_scope("learn_vocabularies"):
        files = apply_multi_output_operation(
            PTransform,
            *counted,
            ptransform=LearnVocabularies([(name, each.size) for each, name in zip(features, names, strict=True)]),
            output_tensor_info_list=[TensorInfo(tf.string, [], TemporaryAssetInfo(_NO_VALUE + b"\n", "text"))]
            * len(features),
            is_partitionable=False,
        )
    return [wrap_as_tensor(file) for file in files]


def _file_names(features: Sequence[str]) -> list[str]:
    """The names as `tft.vocabulary` makes them safe; those that are then alike are numbered."""
    names: list[str] = []
    for feature in features:
        safe = sanitized_vocab_filename(feature) or "_"
        others = (f"{safe}_{number}" for number in itertools.count(2))
        names.append(next(name for name in itertools.chain([safe], others) if name not in names))
    return names


class CountValues(beam.PTransform):
    """Batches of `FEATURE:VALUE` and their counts → pairs of each `FEATURE:VALUE` and its count: what is cached."""

    def __repr__(self) -> str:
        """The same in every process: TFT makes the key of the cache of it."""
        return "CountValues()"

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Counts in every bundle before anything is shuffled."""
        return batches | "CountInBundle" >> beam.ParDo(_CountInBundle()) | "Count" >> beam.CombinePerKey(sum)


class _CountInBundle(beam.DoFn):
    """Adds up the batches of a bundle: most have the same values, and each that is handed on costs Beam's time."""

    def start_bundle(self) -> None:
        self._counts: Counter[bytes] = Counter()

    def process(self, batch: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[bytes, int]]:
        keys, counts = batch
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            self._counts[key] += count
        if len(self._counts) > _MOST_COUNTED:
            yield from self._counts.items()
            self._counts.clear()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(GlobalWindows.windowed_value, self._counts.items())


class CountedValueCoder(CacheCoder):
    """A pair of bytes and a count, as TFT's analyzer cache keeps it."""

    def encode_cache(self, cache: tuple[bytes, int]) -> bytes:
        """The count in decimal, a space and the bytes."""
        key, count = cache
        return b"%d %b" % (count, key)

    def decode_cache(self, encoded_cache: bytes) -> tuple[bytes, int]:
        """The inverse of `encode_cache`."""
        count, key = encoded_cache.split(b" ", 1)
        return key, int(count)


class LearnVocabularies(tft_beam.experimental.PTransformAnalyzer):
    """Counts by `FEATURE:VALUE`, of any number of data sets → the path of each feature's file.

    Args:
        files: Name and most lines of each feature's file, in the order of the features.
    """

    def __init__(self, files: Sequence[tuple[str, int]]) -> None:
        super().__init__()
        self._files = tuple(files)

    def expand(self, counted: beam.PCollection) -> tuple[beam.PCollection, ...]:
        """A feature's file is written by one worker."""
        tags = [str(index) for index in range(len(self._files))]
        paths = [f"{self.base_temp_dir}/{name}" for name, _ in self._files]
        written = (
            counted
            | "Add" >> beam.CombinePerKey(sum)
            | "ByFeature" >> beam.Map(_by_feature)
            | "Top" >> beam.combiners.Top.LargestPerKey(max(size for _, size in self._files))
            | "Write" >> beam.Map(_write, paths, [size for _, size in self._files])
        )
        found = (
            counted.pipeline
            | "Begin" >> beam.Create([None])
            | "Paths" >> beam.FlatMap(_paths, AsIter(written), paths).with_outputs(*tags)
        )
        return tuple(found[tag] for tag in tags)


def _by_feature(counted: tuple[bytes, int]) -> tuple[int, _Counted]:
    key, count = counted
    index, value = key.split(b":", 1)
    return int(index), (count, value)


def _write(top: tuple[int, list[_Counted]], paths: Sequence[str], sizes: Sequence[int]) -> int:
    index, values = top
    _write_lines(paths[index], [value for _, value in values[: sizes[index]]])
    return index


def _paths(nothing: None, written: Iterable[int], paths: Sequence[str]) -> Iterator[TaggedOutput]:
    """Every path, once its file is there; a feature without any value has nothing written yet."""
    del nothing
    for index in set(range(len(paths))).difference(written):
        _write_lines(paths[index], [_NO_VALUE])
    for index, path in enumerate(paths):
        yield TaggedOutput(str(index), np.array(path))


def _write_lines(path: str, lines: list[bytes]) -> None:
    tf.io.gfile.makedirs(path.rpartition("/")[0])
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"".join(line + b"\n" for line in lines))
