"""Analyzes the train split, and takes what an earlier window learned of its spans from TFT's analyzer cache.

A data set of its own costs TensorFlow Transform a set of Beam stages, so only a span that takes longer than these to
be read again is one; the others are analyzed together.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.beam.analysis_graph_builder import get_analysis_cache_entry_keys, get_analysis_dataset_keys
from tensorflow_transform.beam.analyzer_cache import DatasetKey, ReadAnalysisCacheFromFS, WriteAnalysisCacheToFS
from tfx import types
from tfx.utils import io_utils
from tfx_bsl.tfxio.tfxio import TFXIO

from data.records import FeatureTypes, ReadRecordBatches
from pipeline.components.example_gen import SPAN_FINGERPRINTS
from pipeline.components.examples_files import examples_files
from storage.places import at

CACHED_FROM_BYTES = 8 << 20
"""Of a span's compressed examples: from here on they take longer to analyze than their cache takes to be written."""

_ASKED_AT_ONCE = 16

_OTHERS = DatasetKey("others", is_cached=False)

DataSets = Mapping[DatasetKey, list[str]]
"""What is analyzed together: a large span, or all small ones; and the paths of its examples."""


def data_sets(examples: types.Artifact, preprocessing: str) -> DataSets:
    """The train split's data sets.

    Args:
        examples: As our ExampleGen leaves them.
        preprocessing: What says how they are preprocessed, so that a change makes data sets that no cache knows.
    """
    fingerprints = json.loads(examples.get_string_custom_property(SPAN_FINGERPRINTS))
    spans: dict[int, list[str]] = defaultdict(list)
    for file in examples_files(examples):
        if not file.is_eval:
            spans[file.span].append(file.path)
    found: dict[DatasetKey, list[str]] = defaultdict(list)
    for span, paths in sorted(spans.items()):
        if _are_large(paths):
            key = hashlib.sha256(f"{preprocessing} {fingerprints[str(span)]}".encode()).hexdigest()
            found[DatasetKey(key)] = paths
        else:
            found[_OTHERS] += paths
    return found


def together(examples: types.Artifact) -> DataSets:
    """The train split as one data set, of which nothing is cached."""
    return {_OTHERS: [file.path for file in examples_files(examples) if not file.is_eval]}


def _are_large(paths: list[str]) -> bool:
    """Whether files have `CACHED_FROM_BYTES` together; of many files in a bucket not all are asked for."""
    total = 0
    for first in range(0, len(paths), _ASKED_AT_ONCE):
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            total += sum(pool.map(lambda path: at(path).stat().st_size, paths[first : first + _ASKED_AT_ONCE]))
        if total >= CACHED_FROM_BYTES:
            return True
    return False


@dataclass(frozen=True)
class Analysis:
    """A preprocessing function, and what it is to learn from.

    Args:
        preprocessing_fn: As TensorFlow Transform takes it.
        types: Of the columns that it reads.
        tfxio: How TensorFlow sees them.
        data_sets: See `data_sets`.
        earlier: The folder of the cache that an earlier window left, if any.
        updated: The folder of this one's.
    """

    preprocessing_fn: Callable[..., Any]
    types: FeatureTypes
    tfxio: TFXIO
    data_sets: DataSets
    earlier: str | None
    updated: str

    def learn(self, pipeline: beam.Pipeline) -> Any:
        """The transform function as `tft_beam` hands it on; the cache is written on the way.

        Within a `tft_beam.Context`.
        """
        config, type_specs = self.tfxio.TensorAdapterConfig(), self.tfxio.TensorAdapter().OriginalTypeSpecs()
        keys = list(self.data_sets)
        cacheable = [key for key in keys if key.is_cached]
        if not cacheable:  # with data sets TFT flattens them, for which the runner in memory would keep every batch
            [paths] = self.data_sets.values()
            read = pipeline | "Read" >> ReadRecordBatches(paths, self.types)
            return (read, config) | "Analyze" >> tft_beam.AnalyzeDataset(self.preprocessing_fn)
        known = self._known(pipeline, type_specs, cacheable)
        unknown = get_analysis_dataset_keys(self.preprocessing_fn, type_specs, keys, known, False)
        batches = {
            key: pipeline | f"Read{number}" >> ReadRecordBatches(paths, self.types) if key in unknown else None
            for number, (key, paths) in enumerate(self.data_sets.items())
        }
        learned, cache = (batches, known, config) | "Analyze" >> (
            tft_beam.AnalyzeDatasetWithCache(self.preprocessing_fn, pipeline=pipeline)
        )
        self._keep(key for key in cacheable if key not in unknown)
        if cache:
            _ = cache | "WriteCache" >> WriteAnalysisCacheToFS(pipeline, self.updated, cacheable)
        return learned

    def _known(self, pipeline: beam.Pipeline, type_specs: Any, cacheable: list[DatasetKey]) -> Any:
        """What the earlier cache holds."""
        if self.earlier is None:
            return {}
        entries = get_analysis_cache_entry_keys(self.preprocessing_fn, type_specs, cacheable, False)
        return pipeline | "ReadCache" >> ReadAnalysisCacheFromFS(self.earlier, cacheable, entries)

    def _keep(self, keys: Any) -> None:
        """Hands the part of the earlier cache that was used on to the next window."""
        for key in keys:
            io_utils.copy_dir(f"{self.earlier}/{key.key}", f"{self.updated}/{key.key}")
