"""The vocabularies of all features in one analyzer: the same files as `tft.vocabulary`."""

import re

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature, Role
from models.vocabularies import vocabulary_files

SIZES = {"few": 3, "many": 100, "never": 5, "delay[min]": 4, "delay(min)": 2, "delay_min__2": 6}
ROWS = 600


def feature(name, size):
    return Feature(name, Role.VOCABULARY, schema_pb2.BYTES, required=False, size=size)


def values_of(name):
    """Some values come often, some as often as others; some are empty, and one cannot be a line of a file."""
    if name == "never":
        return [b""] * ROWS
    random = np.random.default_rng(len(name))
    values = [f"v:{number}".encode() for number in range(60)] + [
        "été".encode(),
        b"\xff\xfe",
        b" ",
        b"",
        b"a\nb",
        b"a\rb",
    ]
    weights = 1 / (1 + np.arange(len(values)) // 4)
    return random.choice(np.array(values, object), ROWS, p=weights / weights.sum()).tolist()


def oracle_of(name):
    """What TFT's own vocabulary of a feature is called."""
    return f"tft_{list(SIZES).index(name)}"


def both_ways(columns):
    """The ids of each feature by our vocabulary and, under another name, by TFT's own."""
    names = list(columns)
    texts = tf.stack([columns[name] for name in names])
    files = vocabulary_files([feature(name, SIZES[name]) for name in names], texts, texts != "")
    ids = {}
    for name, file in zip(names, files, strict=True):
        there = tf.where(columns[name] != "")
        seen = tf.SparseTensor(there, tf.gather_nd(columns[name], there), tf.shape(columns[name], tf.int64))
        oracle = tft.vocabulary(seen, top_k=SIZES[name], vocab_filename=oracle_of(name))
        ids[name] = tft.apply_vocabulary(columns[name], file, num_oov_buckets=1)
        ids[f"tft_{name}"] = tft.apply_vocabulary(columns[name], oracle, num_oov_buckets=1)
    return ids


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The transform graph, learned from batches of 100 rows; and the ids of all rows by feature."""
    folder = tmp_path_factory.mktemp("analysis")
    columns = {name: values_of(name) for name in SIZES}
    spec = tft.DatasetMetadata.from_feature_spec({name: tf.io.FixedLenFeature([], tf.string) for name in columns})
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "temporary"), desired_batch_size=100),
    ):
        transform_fn = (pipeline | beam.Create(rows), spec) | tft_beam.AnalyzeDataset(both_ways)
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    transform = tft.TFTransformOutput(str(folder / "graph"))
    ids = transform.transform_features_layer()({name: tf.constant(values) for name, values in columns.items()})
    return transform, {name: values.numpy().tolist() for name, values in ids.items()}


@pytest.mark.parametrize("name", ["few", "many", "delay[min]", "delay(min)", "delay_min__2"])
def test_files_and_ids_are_those_of_tft(learned, name):
    transform, ids = learned
    assert transform.vocabulary_by_name(name) == transform.vocabulary_by_name(oracle_of(name))
    assert transform.vocabulary_size_by_name(name) == transform.vocabulary_size_by_name(oracle_of(name))
    assert ids[name] == ids[f"tft_{name}"]


def test_a_file_has_its_features_name_unless_that_could_be_no_files(learned):
    transform, _ = learned
    files = {name: transform.vocabulary_file_by_name(name).rpartition("/")[2] for name in SIZES}
    assert {name: files[name] for name in ("few", "many", "never")} == {name: name for name in ("few", "many", "never")}
    assert len(set(files.values())) == len(files)
    assert all(re.fullmatch(r"\w+", file) for file in files.values())


def test_each_feature_has_its_own_size(learned):
    transform, ids = learned
    assert transform.vocabulary_size_by_name("few") == 3
    assert transform.vocabulary_size_by_name("many") == 63
    assert b"\xff\xfe" in transform.vocabulary_by_name("many")
    assert max(ids["few"]) == 3


def test_a_feature_that_never_had_a_value_knows_none(learned):
    transform, ids = learned
    assert transform.vocabulary_size_by_name("never") == transform.vocabulary_size_by_name(oracle_of("never")) == 1
    assert set(ids["never"]) == set(ids["tft_never"]) == {1}
