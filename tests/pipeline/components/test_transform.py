"""Transform leaves what TFX's own component leaves on the same examples."""

import copy
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from columns_of_shards import write_columns
from divided_nodes import execute_divided
from google.protobuf import text_format
from small_artifacts import artifact_at, execute
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform.executor import Executor as StockExecutor
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples, Schema, TransformCache, TransformGraph
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

from models.blocks import Columns, blocks_path
from models.config import FeaturesConfig
from models.features import model_features
from pipeline.components import analysis, transform, transform_examples
from pipeline.components.example_gen import SHARD_SPANS, SPAN_FINGERPRINTS
from pipeline.components.transform import TransformExecutor

SCHEMA = """
    default_environment: "TRAINING"
    default_environment: "SERVING"
    feature { name: "temp" type: FLOAT }
    feature { name: "seats" type: INT }
    feature { name: "stops" type: INT presence { min_fraction: 1.0 } shape { dim { size: 1 } } }
    feature { name: "origin" type: BYTES string_domain { value: "EWR" value: "JFK" } }
    feature { name: "tailnum" type: BYTES }
    feature { name: "flight" type: INT }
    feature { name: "weekend" type: INT bool_domain {} }
    feature { name: "departure" type: INT time_domain { integer_format: UNIX_SECONDS } }
    feature { name: "note" type: BYTES natural_language_domain {} }
    feature { name: "unread" type: FLOAT presence { min_fraction: 1.0 } shape { dim { size: 1 } } }
    feature { name: "late" type: INT not_in_environment: "SERVING" presence { min_fraction: 1.0 } }
"""
SHARDS = {"train": [300, 1, 120], "eval": [90]}
OPTIONS = {"module_file": None, "module_path": None, "stats_options_updater_fn": None, "splits_config": None}


def row(number):
    """Each feature but `stops` and the label is missing in some rows, `unread` (which is excluded) in all."""
    return {
        "temp": [number / 7] if number % 5 else [],
        "seats": [10 * number] if number % 4 else [],
        "stops": [number % 3],
        "origin": [["EWR", "JFK", "LGA"][number % 3]] if number % 8 else [],
        "tailnum": [f"N{number % 17}"] if number % 6 else [],
        "flight": [number] if number % 9 else [],
        "weekend": [number % 2] if number % 10 else [],
        "departure": [1_357_016_400 + 7_000 * number] if number % 11 else [],
        "note": [f"gate {number % 3} closed"] if number % 3 else [],
        "late": [number % 2],
    }


def example_of(values):
    example = tf.train.Example()
    for name, found in values.items():
        if not found:
            continue
        feature = example.features.feature[name]
        if isinstance(found[0], str):
            feature.bytes_list.value.extend(value.encode() for value in found)
        elif name == "temp":
            feature.float_list.value.extend(found)
        else:
            feature.int64_list.value.extend(found)
    return example.SerializeToString()


@pytest.fixture(scope="module")
def schema():
    return text_format.Parse(SCHEMA, schema_pb2.Schema())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Examples in shards, and the schema."""
    folder = tmp_path_factory.mktemp("inputs")
    number = 0
    for split, shards in SHARDS.items():
        (folder / "examples" / f"Split-{split}").mkdir(parents=True)
        for shard, rows in enumerate(shards):
            path = folder / "examples" / f"Split-{split}" / f"data_tfrecord-{shard:05d}-of-00003.gz"
            with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
                for _ in range(rows):
                    writer.write(example_of(row(number)))
                    number += 1
    (folder / "schema").mkdir()
    (folder / "schema" / "schema.pbtxt").write_text(SCHEMA)
    return inputs_at(folder)


@pytest.fixture(scope="module", params=["examples", "columns"])
def inputs(request, tmp_path_factory, written):
    """The same, with their columns or without."""
    if request.param == "examples":
        return written
    folder = tmp_path_factory.mktemp("with_columns")
    shutil.copytree(Path(written["schema"].uri).parent, folder, dirs_exist_ok=True)
    for path in (folder / "examples").glob("Split-*/*"):
        write_columns(path)
    return inputs_at(folder)


with_columns = pytest.mark.parametrize("inputs", ["columns"], indirect=True)
"""What is no matter of how examples are read is tried one way."""


def inputs_at(folder):
    examples = artifact_at(Examples, folder / "examples")
    examples.split_names = artifact_utils.encode_split_names(list(SHARDS))
    examples.set_string_custom_property(SHARD_SPANS, json.dumps({"1": 0, "2": 1, "3": 2}))
    examples.set_string_custom_property(SPAN_FINGERPRINTS, json.dumps({"1": "one", "2": "two", "3": "three"}))
    return {"examples": examples, "schema": artifact_at(Schema, folder / "schema")}


@pytest.fixture(scope="module")
def properties(schema):
    features = model_features(schema, FeaturesConfig(exclude={"unread": "-"}, hashed={"flight": 16}), "late")
    config = {"features": [feature.to_json() for feature in features], "label": "late"}
    return {
        **OPTIONS,
        "preprocessing_fn": "models.preprocessing.preprocessing_fn",
        "custom_config": json.dumps(config),
        "force_tf_compat_v1": 0,
        "disable_statistics": 1,
    }


def run(executor, folder, inputs, properties):
    """Leaves `graph`, `examples` and `cache` in the folder; gives the cache."""
    outputs = outputs_at(folder)
    execute(executor, folder, inputs, outputs, properties)
    assert set(artifact_utils.decode_split_names(outputs["transformed_examples"].split_names)) == set(SHARDS)
    return outputs["updated_analyzer_cache"]


def outputs_at(folder):
    return {
        "transform_graph": artifact_at(TransformGraph, folder / "graph"),
        "transformed_examples": artifact_at(Examples, folder / "examples"),
        "updated_analyzer_cache": artifact_at(TransformCache, folder / "cache"),
    }


@pytest.fixture(scope="module")
def stock(tmp_path_factory, written, properties):
    """The folder with what TFX's own component left."""
    folder = tmp_path_factory.mktemp("stock")
    run(StockExecutor, folder, written, properties)
    return folder


@pytest.fixture(scope="module")
def left(tmp_path_factory, stock, inputs, properties):
    """By component, the folder with what it left of the same examples."""
    folder = tmp_path_factory.mktemp("ours")
    with nothing_but_columns(inputs["examples"]):
        run(TransformExecutor, folder, inputs, properties)
    return {"stock": stock, "ours": folder}


@contextmanager
def nothing_but_columns(examples):
    """If the shards have columns, nobody can read the shards meanwhile."""
    shards = {path: path.read_bytes() for path in Path(examples.uri).glob("Split-*/*")}
    if not (Path(examples.uri) / "columns").exists():
        shards = {}
    for path in shards:
        path.write_bytes(b"nobody reads this")
    yield
    for path, content in shards.items():
        path.write_bytes(content)


def transformed(folder, split):
    """The transformed examples of a split as one array of rows, in the order of their values."""
    spec = tft.TFTransformOutput(str(folder / "graph")).transformed_feature_spec()
    files = sorted(str(path) for path in (folder / "examples" / f"Split-{split}").iterdir())
    records = list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())
    parsed = tf.io.parse_example(records, spec)
    columns = [np.reshape(parsed[name].numpy().astype(np.float64), [len(records), -1]) for name in sorted(parsed)]
    rows = np.hstack(columns)
    return sorted(parsed), rows[np.lexsort(np.round(rows, 4).T)]


@pytest.mark.parametrize("split", list(SHARDS))
def test_the_transformed_examples_are_the_stock_components(left, split):
    names, rows = transformed(left["ours"], split)
    stock_names, stock_rows = transformed(left["stock"], split)
    assert names == stock_names
    assert len(rows) == sum(SHARDS[split])
    np.testing.assert_allclose(rows, stock_rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("split", list(SHARDS))
def test_the_blocks_hold_the_transformed_examples(left, split):
    spec = tft.TFTransformOutput(str(left["ours"] / "graph")).transformed_feature_spec()
    columns, folder = Columns(spec), left["ours"] / "examples" / f"Split-{split}"
    for path in sorted(map(str, folder.iterdir())):
        examples = columns.parse(list(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()))
        blocks = tf.data.TFRecordDataset(blocks_path(path), "GZIP").map(columns.read)
        for whole, parts in zip(examples, zip(*blocks, strict=True), strict=True):
            np.testing.assert_array_equal(tf.concat(parts, axis=0), whole)


@with_columns
def test_divided_among_processes_it_leaves_the_same(left, inputs, properties, tmp_path):
    outputs = outputs_at(tmp_path)
    execute_divided(TransformExecutor, tmp_path, inputs, outputs, properties, ["--shares=3"])
    alone = left["ours"] / "examples"
    names = sorted(path.relative_to(alone) for path in alone.rglob("*.gz"))
    assert names == sorted(path.relative_to(tmp_path / "examples") for path in (tmp_path / "examples").rglob("*.gz"))
    for split in SHARDS:
        (_, rows), (_, rows_alone) = transformed(tmp_path, split), transformed(left["ours"], split)
        np.testing.assert_allclose(rows, rows_alone, rtol=1e-6, atol=1e-7)


def test_the_transform_graph_is_the_stock_components(left):
    ours, stock = (tft.TFTransformOutput(str(left[name] / "graph")) for name in ("ours", "stock"))
    assert ours.vocabulary_by_name("tailnum") == stock.vocabulary_by_name("tailnum")
    assert ours.raw_metadata.schema == stock.raw_metadata.schema
    assert ours.transformed_metadata.schema == stock.transformed_metadata.schema
    records = [example_of(row(number)) for number in range(50)]
    spec = ours.raw_feature_spec()
    del spec["unread"]
    raw = tf.io.parse_example(records, spec)
    answers = stock.transform_features_layer()(raw)
    for name, values in ours.transform_features_layer()(raw).items():
        np.testing.assert_allclose(values, answers[name], rtol=1e-5, atol=1e-6)


def test_a_shard_becomes_a_shard_of_the_same_name_and_nothing_else_is_left(left, inputs):
    for split, shards in SHARDS.items():
        names = sorted(path.name for path in (left["ours"] / "examples" / f"Split-{split}").iterdir())
        assert names == [f"data_tfrecord-{shard:05d}-of-00003.gz" for shard in range(len(shards))]
        assert (
            sorted(path.name for path in (left["ours"] / "examples" / "blocks" / f"Split-{split}").iterdir()) == names
        )
    assert sorted(path.name for path in (left["ours"] / "graph").iterdir()) == [
        "metadata", "transform_fn", "transformed_metadata",
    ]  # fmt: skip


def test_a_bundle_that_failed_half_way_leaves_nothing_among_the_examples(
    left, inputs, properties, tmp_path, monkeypatch
):
    as_they_are, failed = transform_examples.as_blocks, []

    def fail_once(tensors):
        if not failed:
            failed.append(tensors)
            raise OSError("the disk is full")
        return as_they_are(tensors)

    monkeypatch.setattr(transform_examples, "as_blocks", fail_once)
    [(source, name)] = [(str(path), path.name) for path in Path(inputs["examples"].uri).glob("Split-train/*00001-of*")]
    for folder in ("Split-train", "blocks/Split-train", "unfinished"):
        (tmp_path / folder).mkdir(parents=True)
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    types = {feature.name: feature.type for feature in schema.feature if feature.name != "unread"}
    tfxio = TFExampleRecord(source, schema=schema).Project(list(types))
    graph, target = str(left["ours"] / "graph"), str(tmp_path / "Split-train" / name)
    transformer = transform_examples.TransformExamples(
        graph, str(tmp_path / "unfinished"), tfxio.TensorAdapterConfig(), types
    )
    with pytest.raises(OSError, match="the disk is full"):
        list(transformer.process((source, target), None))
    assert list((tmp_path / "Split-train").iterdir()) == list((tmp_path / "blocks" / "Split-train").iterdir()) == []
    assert list(transformer.process((source, target), None)) == [target]
    assert [path.name for path in (tmp_path / "Split-train").iterdir()] == [name]


@with_columns
def test_in_memory_nothing_is_cached(inputs, properties, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "CACHED_FROM_BYTES", 0)
    run(TransformExecutor, tmp_path, inputs, properties)
    assert list((tmp_path / "cache").iterdir()) == []


@with_columns
def test_small_spans_leave_no_cache(inputs, properties, tmp_path, monkeypatch):
    monkeypatch.setattr(transform, "_KEEPS_BATCHES", "no runner")
    run(TransformExecutor, tmp_path, inputs, properties)
    assert list((tmp_path / "cache").iterdir()) == []


@with_columns
def test_what_an_earlier_window_learned_is_not_learned_again(left, inputs, properties, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "CACHED_FROM_BYTES", 0)
    monkeypatch.setattr(transform, "_KEEPS_BATCHES", "no runner")
    cache = run(TransformExecutor, tmp_path / "first", inputs, properties)
    learned = {path.name: files(path) for path in (tmp_path / "first" / "cache").iterdir()}
    assert len(learned) == len(SHARDS["train"])

    read = []
    monkeypatch.setattr(analysis, "ReadRecordBatches", lambda paths, types: read.append(paths))
    run(TransformExecutor, tmp_path / "second", {**inputs, "analyzer_cache": cache}, properties)
    assert read == []
    assert {path.name: files(path) for path in (tmp_path / "second" / "cache").iterdir()} == learned
    for split in SHARDS:
        names, rows = transformed(left["ours"], split)
        for folder in ("first", "second"):
            assert transformed(tmp_path / folder, split)[0] == names
            np.testing.assert_allclose(transformed(tmp_path / folder, split)[1], rows, rtol=1e-5, atol=1e-6)


@with_columns
def test_of_other_data_nothing_is_known(inputs, properties, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis, "CACHED_FROM_BYTES", 0)
    first = set(analysis.data_sets(inputs["examples"], "one way"))
    assert not first & set(analysis.data_sets(inputs["examples"], "another way"))
    changed = copy.deepcopy(inputs["examples"])
    changed.set_string_custom_property(SPAN_FINGERPRINTS, json.dumps({"1": "one", "2": "TWO", "3": "three"}))
    assert len(first & set(analysis.data_sets(changed, "one way"))) == 2


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
