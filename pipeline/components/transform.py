"""Transform: TFX's component, with an executor whose Beam elements are batches.

TFX's own reads every record as an element, decodes it with a slower parser, and writes every transformed record as an
element again. This one analyzes Arrow batches with TensorFlow Transform and then applies the graph shard by shard.
"""

from __future__ import annotations

import functools
from typing import Any

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.pvalue import AsSingleton
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata
from tfx import types
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME as SCHEMA_FILE
from tfx.components.transform import component
from tfx.components.util import udf_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import PREPROCESSING_FN_KEY
from tfx.utils import json_utils
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

from data.records import types_of
from data.spans import TRAIN
from models.blocks import blocks_path
from models.features import Feature
from pipeline.components.analysis import Analysis, DataSets, data_sets, together
from pipeline.components.shares import divided, shares_of
from pipeline.components.transform_examples import TransformExamples
from schema.contract import load_schema
from storage.places import at

_UNFINISHED = "unfinished"

_KEEPS_BATCHES = ".FnApiRunner"
"""The runner in memory keeps the batches of data sets that are analyzed apart: more memory for more rows."""


class TransformExecutor(base_beam_executor.BaseBeamExecutor):
    """Analyzes the train split and transforms every split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Leaves the transform graph, and of each shard of examples the transformed ones and their blocks."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        transformed = artifact_utils.get_single_instance(output_dict["transformed_examples"])
        transformed.split_names = examples.split_names
        graph = artifact_utils.get_single_uri(output_dict["transform_graph"])
        cache = artifact_utils.get_single_instance(output_dict["updated_analyzer_cache"])
        cache.set_int_custom_property(SPAN_PROPERTY_NAME, examples.get_int_custom_property(SPAN_PROPERTY_NAME))
        schema = load_schema(at(artifact_utils.get_single_uri(input_dict["schema"])) / SCHEMA_FILE)
        config = json_utils.loads(exec_properties["custom_config"])
        preprocessing_fn = functools.partial(
            udf_utils.get_fn(exec_properties, PREPROCESSING_FN_KEY), custom_config=config
        )
        # For what TFT asks of it: it reads nothing here.
        tfxio = TFExampleRecord(artifact_utils.get_split_uri([examples], TRAIN), schema=schema).Project(
            [*(Feature.from_json(feature).name for feature in config["features"]), config["label"]]
        )
        known = types_of(schema)
        columns = {name: known[name] for name in tfxio.ArrowSchema().names}
        analysis = Analysis(
            preprocessing_fn,
            columns,
            tfxio,
            self._data_sets(examples, f"{exec_properties['custom_config']} {schema}"),
            earlier[0].uri if (earlier := input_dict.get("analyzer_cache")) else None,
            cache.uri,
        )
        temporary, unfinished = f"{graph}/{_UNFINISHED}", f"{transformed.uri}/{_UNFINISHED}"
        fileio.makedirs(unfinished)
        pairs = _pairs(examples, transformed)
        transform = TransformExamples(graph, unfinished, tfxio.TensorAdapterConfig(), columns)
        shares = min(shares_of(self._beam_pipeline_args), len(pairs))

        def apply(share: int) -> None:
            with self._make_beam_pipeline() as pipeline:
                _ = pipeline | beam.Create(pairs[share::shares], reshuffle=False) | beam.ParDo(transform)

        with divided("Transform", apply, shares) as applied:
            with self._make_beam_pipeline() as pipeline, tft_beam.Context(temporary, use_deep_copy_optimization=True):
                written = analysis.learn(pipeline) | "WriteGraph" >> tft_beam.WriteTransformFn(graph)
                _ = DatasetMetadata(schema) | "WriteSchema" >> tft_beam.WriteMetadata(
                    f"{graph}/{tft.TFTransformOutput.RAW_METADATA_DIR}", pipeline
                )
                if shares == 1:  # in the same job, since on Dataflow another one would wait for workers again
                    shards = pipeline | "Shards" >> beam.Create(pairs, reshuffle=True)
                    _ = shards | "Transform" >> beam.ParDo(transform, AsSingleton(written))
            if shares > 1:
                applied()
        for folder in (temporary, unfinished):
            fileio.rmtree(folder)

    def _data_sets(self, examples: types.Artifact, preprocessing: str) -> DataSets:
        if any(argument.endswith(_KEEPS_BATCHES) for argument in self._beam_pipeline_args or ()):
            return together(examples)
        return data_sets(examples, preprocessing)


class Transform(component.Transform):
    """TFX's component with the executor of this module, without the options that this does not know.

    Args:
        examples: Of gzipped TFRecord files, as our ExampleGen leaves them.
        schema: Of the examples.
        preprocessing_fn: The import path of the function, which takes a `custom_config`.
        custom_config: Plain values. Its `features` (see `Feature.to_json`) and `label` name the columns that the
            function reads.
        analyzer_cache: What an earlier window's analysis left, if anything.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        preprocessing_fn: str,
        custom_config: dict[str, Any],
        analyzer_cache: types.BaseChannel | None,
    ) -> None:
        super().__init__(
            examples=examples,
            schema=schema,
            preprocessing_fn=preprocessing_fn,
            custom_config=custom_config,
            analyzer_cache=analyzer_cache,
            disable_statistics=True,  # StatisticsGen has computed them
        )


def _shards(examples: types.Artifact, split: str) -> list[str]:
    return sorted(fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*"))


def _pairs(examples: types.Artifact, transformed: types.Artifact) -> list[tuple[str, str]]:
    """The path of each shard of examples, and of its transformed examples."""
    pairs = []
    for split in artifact_utils.decode_split_names(examples.split_names):
        folder = artifact_utils.get_split_uri([transformed], split)
        targets = [(path, f"{folder}/{path.rsplit('/', 1)[1]}") for path in _shards(examples, split)]
        for made in (folder, *{blocks_path(target).rpartition("/")[0] for _, target in targets}):
            fileio.makedirs(made)
        pairs += targets
    return pairs
