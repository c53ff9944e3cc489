"""One small data set with every role, analysed once by TFT, for all tests of the models."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.tfxio import tf_example_record

from models.architectures import build
from models.config import FeaturesConfig, MlpConfig
from models.features import Feature, model_features
from models.preprocessing import preprocessing_fn
from models.signatures import ServedModel
from models.trainer import load_keras_model, model_inputs, run_fn

LABEL = "late"
SCHEMA = """
    default_environment: "TRAINING"
    default_environment: "SERVING"
    feature { name: "temp" type: FLOAT }
    feature { name: "stops" type: INT presence { min_fraction: 1.0 } }
    feature { name: "seats" type: INT }
    feature { name: "constant" type: FLOAT }
    feature { name: "hollow" type: FLOAT }
    feature { name: "spiky" type: FLOAT }
    feature { name: "fixed" type: FLOAT shape { dim { size: 1 } } presence { min_fraction: 1.0 } }
    feature { name: "weekend" type: INT bool_domain {} }
    feature { name: "refundable" type: BYTES bool_domain { true_value: "yes" } }
    feature { name: "origin" type: BYTES string_domain { value: "EWR" value: "JFK" value: "LGA" } }
    feature { name: "tailnum" type: BYTES }
    feature { name: "hollow_name" type: BYTES }
    feature { name: "cabin" type: INT int_domain { is_categorical: true } }
    feature { name: "flight" type: INT }
    feature { name: "route" type: BYTES }
    feature { name: "departure" type: INT time_domain { integer_format: UNIX_SECONDS } }
    feature { name: "note" type: BYTES natural_language_domain {} }
    feature { name: "late" type: INT not_in_environment: "SERVING" presence { min_fraction: 1.0 } }
"""
CONFIG = FeaturesConfig(hashed={"flight": 16, "route": 8}, vocabulary_size=3, text_buckets=32)
TRAINING_ROWS = 40


def training_row(number):
    """Distinct rows; each optional feature is missing in some, `hollow` and `hollow_name` in all.

    One value of `spiky` is infinite.
    """
    tailnums = ["N1"] * 4 + ["N2"] * 3 + ["N3"] * 2 + ["N4"]
    row = {
        "temp": float(number) if number % 5 else None,
        "stops": number % 4,
        "seats": 10 * number if number % 4 else None,
        "constant": 3.5,
        "spiky": float("inf") if number == 4 else float(number),
        "fixed": number / 2,
        "weekend": number % 2 if number % 3 else None,
        "refundable": ["yes", "no"][number % 2] if number % 7 else None,
        "origin": ["EWR", "JFK", "LGA", None][number % 4],
        "tailnum": tailnums[number % 10] if number != 1 else None,
        "cabin": [1, 1, 1, 2, 2, None][number % 6],
        "flight": number if number % 3 else None,
        "route": f"route {number}" if number % 3 else None,
        "departure": 1_357_016_400 + 7_000 * number if number % 6 else None,
        "note": f"gate {number % 3} closed" if number % 4 else None,
        "late": number % 2,
    }
    return {name: value for name, value in row.items() if value is not None}


def example_of(row):
    """A serialized tf.Example; a list is given as it is, so that [] is a feature without values.

    The feature `fixed` has a shape in the schema, so every example carries it.
    """
    example = tf.train.Example()
    for name, given in {"fixed": 0.0, **row}.items():
        values = given if isinstance(given, list) else [given]
        feature = example.features.feature[name]
        if TYPES[name] == schema_pb2.BYTES:
            feature.bytes_list.value.extend(v.encode() if isinstance(v, str) else v for v in values)
        elif TYPES[name] == schema_pb2.INT:
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example.SerializeToString()


_PARSED = text_format.Parse(SCHEMA, schema_pb2.Schema())
TYPES = {feature.name: feature.type for feature in _PARSED.feature}


class Analysis(NamedTuple):
    """What the Transform component would have left behind, and how to use it."""

    features: list[Feature]
    graph: Path
    """The folder of the transform graph."""
    transform: tft.TFTransformOutput
    layer: Any
    """Raw features → the model's inputs, as TFT offers it."""

    def feature(self, name):
        return next(feature for feature in self.features if feature.name == name)

    def inputs_of(self, rows):
        """The model's inputs (and the label, if the rows have it) of raw rows, as numpy arrays."""
        spec = self.transform.raw_feature_spec()
        if not any(LABEL in row for row in rows):
            del spec[LABEL]
        parsed = tf.io.parse_example([example_of(row) for row in rows], spec)
        return {name: value.numpy() for name, value in self.layer(parsed).items()}


def run_analysis(schema, config, examples, folder):
    """Does what the Transform component does, in memory."""
    features = model_features(schema, config, LABEL)
    custom_config = {"features": [feature.to_json() for feature in features], "label": LABEL}
    tfxio = tf_example_record.TFExampleBeamRecord(
        physical_format="inmem", telemetry_descriptors=["test"], schema=schema
    )
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=str(folder / "temporary")):
        raw = pipeline | beam.Create(examples) | tfxio.BeamSource(batch_size=16)
        transform_fn = (raw, tfxio.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            functools.partial(preprocessing_fn, custom_config=custom_config)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    raw_metadata = dataset_metadata.DatasetMetadata(schema)
    metadata_io.write_metadata(raw_metadata, str(folder / "graph" / tft.TFTransformOutput.RAW_METADATA_DIR))
    transform = tft.TFTransformOutput(str(folder / "graph"))
    return Analysis(features, folder / "graph", transform, transform.transform_features_layer())


@pytest.fixture(scope="session")
def analyse():
    return run_analysis


@pytest.fixture(scope="session")
def analysis(tmp_path_factory):
    examples = [example_of(training_row(number)) for number in range(TRAINING_ROWS)]
    return run_analysis(_PARSED, CONFIG, examples, tmp_path_factory.mktemp("transform"))


@pytest.fixture(scope="session")
def transformed(analysis, tmp_path_factory):
    """The training rows as transformed examples, in three gzipped shards; and the same as arrays by name."""
    folder = tmp_path_factory.mktemp("transformed")
    inputs = analysis.inputs_of([training_row(number) for number in range(TRAINING_ROWS)])
    for shard, rows in enumerate(np.array_split(np.arange(TRAINING_ROWS), 3)):
        options = tf.io.TFRecordOptions(compression_type="GZIP")
        with tf.io.TFRecordWriter(str(folder / f"part-{shard}.gz"), options) as writer:
            for row in rows:
                example = tf.train.Example()
                for name, values in inputs.items():
                    kind = "int64_list" if values.dtype == np.int64 else "float_list"
                    getattr(example.features.feature[name], kind).value.extend(np.ravel(values[row]).tolist())
                writer.write(example.SerializeToString())
    return folder, inputs


@pytest.fixture(scope="session")
def train(analysis, transformed, tmp_path_factory):
    """Trains a linear binary model; gives the model-run folder and the folder of the SavedModel."""

    def run(model_run=None):
        folder, _ = transformed
        model_run, export = model_run or tmp_path_factory.mktemp("model_run"), tmp_path_factory.mktemp("export")
        run_fn(
            FnArgs(
                train_files=[str(folder / "part-[01]*")],
                eval_files=[str(folder / "part-2*")],
                transform_graph_path=str(analysis.graph),
                model_run_dir=str(model_run),
                serving_model_dir=str(export / "saved"),
                custom_config={
                    "features": [feature.to_json() for feature in analysis.features],
                    "label": {"name": LABEL, "task": "binary"},
                    "model": {"architecture": "linear"},
                    "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.03, "seed": 3},
                },
            )
        )
        return model_run, export / "saved"

    return run


@pytest.fixture(scope="session")
def trained(train):
    """What the trainer leaves: the model-run folder and the folder of the SavedModel."""
    return train()


@pytest.fixture(scope="session")
def binary(trained):
    """The Keras model that was trained, and the folder of its SavedModel."""
    model_run, saved = trained
    return load_keras_model(model_run), saved


@pytest.fixture(scope="session")
def regression(analysis, tmp_path_factory):
    """An MLP that was not trained and whose weights make every input count; and the folder of its SavedModel."""
    random = np.random.default_rng(7)
    model = build(MlpConfig(architecture="mlp", units=(16, 8)), model_inputs(analysis.features, analysis.transform))
    for weights in model.trainable_variables:
        weights.assign(random.normal(scale=0.3, size=weights.shape))
    saved = tmp_path_factory.mktemp("regression") / "saved"
    ServedModel(model, analysis.transform, analysis.features, "regression").save(str(saved))
    return model, saved


@pytest.fixture(scope="session")
def make_row():
    return training_row


@pytest.fixture(scope="session")
def make_example():
    return example_of
