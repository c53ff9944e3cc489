"""StatisticsGen: TFX's, which reads record batches instead of examples, and all splits in one pass.

The statistics are TFDV's, and the artifact is the stock component's: the same properties, and the same file in the
folder of each split. A Beam stage costs as much as thousands of rows, so there is one set of them for all splits: to
TFDV a split is a slice of the examples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics.stats_impl import GenerateSlicedStatisticsImpl
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.statistics_gen.executor import (
    DEFAULT_FILE_NAME,
    SAMPLE_RATE_BY_SPLIT_PROPERTY_NAME,
    STATS_DASHBOARD_LINK,
)
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types import standard_component_specs as specs
from tfx.types.component_spec import ExecutionParameter
from tfx.utils import json_utils

from data.decoding import ExamplesDecoder
from storage.places import at


class StatisticsGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Computes the statistics of each split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Leaves `Split-{name}/FeatureStats.pb` of each split."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        splits = artifact_utils.decode_split_names(examples.split_names)
        describe(statistics, splits, examples.span)
        files = [
            (split, path)
            for split in splits
            for path in sorted(fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*.gz"))
        ]
        outputs = {
            split: f"{artifact_utils.get_split_uri([statistics], split)}/{DEFAULT_FILE_NAME}" for split in splits
        }
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(files, reshuffle=True)
                | "Decode" >> beam.ParDo(DecodeFile()).with_output_types(tuple[str, pa.RecordBatch])
                | "Statistics" >> GenerateSlicedStatisticsImpl(tfdv.StatsOptions(), is_slicing_enabled=True)
                | "Save" >> beam.Map(save_statistics, outputs)
            )


def describe(statistics: types.Artifact, splits: list[str], span: int) -> None:
    """What the stock component says of its artifact."""
    statistics.split_names = artifact_utils.encode_split_names(splits)
    statistics.span = span
    statistics.set_string_custom_property(STATS_DASHBOARD_LINK, "")
    rates = json_utils.dumps(dict.fromkeys(splits, 1.0))
    statistics.set_json_value_custom_property(SAMPLE_RATE_BY_SPLIT_PROPERTY_NAME, rates)


class DecodeFile(beam.DoFn):
    """A split's name, and the path of a file of its examples → the name, with each batch of the examples."""

    def setup(self) -> None:
        """A worker learns the features once."""
        # By split: to the statistics of one, a feature that only another has is nothing.
        self._decoders: dict[str, ExamplesDecoder] = defaultdict(ExamplesDecoder)

    def process(self, file: tuple[str, str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Decodes one file, see `ExamplesDecoder.read`."""
        split, path = file
        for examples in self._decoders[split].read(path):
            yield split, examples


def save_statistics(statistics: statistics_pb2.DatasetFeatureStatisticsList, outputs: dict[str, str]) -> None:
    """The last step: writes the statistics of each split as the stock component does, under no name.

    Args:
        statistics: A data set for each split, with its name.
        outputs: The path of each split's file, a place that the worker sees.
    """
    found = {dataset.name: dataset for dataset in statistics.datasets}
    for split, path in outputs.items():
        dataset = found.get(split, statistics_pb2.DatasetFeatureStatistics())  # no example, no data set
        dataset.ClearField("name")
        place = at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset]).SerializeToString())


class StatisticsGenSpec(specs.StatisticsGenSpec):
    """What TFX's StatisticsGen takes and gives, and the fingerprint of the code that computes."""

    PARAMETERS = {**specs.StatisticsGenSpec.PARAMETERS, "code": ExecutionParameter(type=str)}


class StatisticsGen(base_beam_component.BaseBeamComponent):
    """TFX's component with our executor, which takes no options.

    Args:
        examples: Of gzipped TFRecord files, as our ExampleGen leaves them.
        code: Fingerprint of the sources, so that a change of theirs is not answered from the cache.
    """

    SPEC_CLASS = StatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StatisticsGenExecutor)

    def __init__(self, examples: types.BaseChannel, code: str) -> None:
        statistics = types.Channel(type=standard_artifacts.ExampleStatistics)
        super().__init__(StatisticsGenSpec(examples=examples, statistics=statistics, exclude_splits="[]", code=code))
