"""StatisticsGen's artifact is the stock component's, of the same examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from columns_of_shards import write_columns
from google.protobuf import json_format
from small_artifacts import artifact_at, execute
from tensorflow_data_validation.utils.stats_util import load_stats_binary
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen.executor import Executor as StockExecutor
from tfx.types import Channel, artifact_utils
from tfx.types.standard_artifacts import Examples, ExampleStatistics

from pipeline.components.statistics_gen import StatisticsGen, StatisticsGenExecutor

ROWS = {"train": (700, 0, 900), "eval": (400,)}
"""Of each file."""


def row(random: np.random.Generator, split: str, *, has_lists: bool = True) -> bytes:
    """Numbers, texts, lists, empty lists, features without a list, and a feature that only one split has."""
    example = tf.train.Example()
    feature = example.features.feature
    feature["count"].int64_list.value.append(int(random.integers(-5, 5)))
    feature["size"].float_list.value.append(float(random.choice([random.normal(), 0.0, np.nan, np.inf])))
    feature["name"].bytes_list.value.append(random.choice([b"A", b"", b"\xff", b"n%d" % random.integers(500)]))
    if has_lists and random.random() < 0.5:
        feature["list"].int64_list.value.extend(random.integers(0, 9, random.integers(0, 4)).tolist())
        feature["list"].int64_list.SetInParent()
    if random.random() < 0.002:
        feature["rare"].bytes_list.value.append(b"once")
    if split == "train":
        feature["old"].float_list.value.append(random.random())
    if split == "eval":
        feature["new"].float_list.value.append(random.random())
    if has_lists:
        feature["never"].SetInParent()
    return example.SerializeToString()


def examples_at(folder: Path, rows: Mapping[str, tuple[int, ...]], *, has_columns: bool = False) -> Examples:
    random = np.random.default_rng(0)
    examples = artifact_at(Examples, folder)
    examples.split_names = artifact_utils.encode_split_names(list(rows))
    examples.span = 7
    for split, sizes in rows.items():
        for index, size in enumerate(sizes):
            path = folder / f"Split-{split}" / f"data_tfrecord-{index:05d}-of-{len(sizes):05d}.gz"
            path.parent.mkdir(exist_ok=True)
            with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
                for _ in range(size):
                    writer.write(row(random, split, has_lists=not has_columns))
            if has_columns:
                write_columns(path)
    return examples


def made_by(executor: type, folder: Path, examples: Examples) -> ExampleStatistics:
    statistics = artifact_at(ExampleStatistics, folder)
    execute(executor, folder, {"examples": examples}, {"statistics": statistics}, {"exclude_splits": "[]"})
    return statistics


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExampleStatistics, ExampleStatistics]:
    """The stock component's, and ours."""
    folder = tmp_path_factory.mktemp("statistics_gen")
    examples = examples_at(folder / "examples", ROWS)
    stock = made_by(StockExecutor, folder / "stock", examples)
    return stock, made_by(StatisticsGenExecutor, folder / "ours", examples)


@pytest.fixture(scope="module")
def of_columns(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExampleStatistics, ExampleStatistics]:
    """The stock component's, of the examples; ours, of their columns alone."""
    folder = tmp_path_factory.mktemp("of_columns")
    examples = examples_at(folder / "examples", ROWS, has_columns=True)
    stock = made_by(StockExecutor, folder / "stock", examples)
    for path in (folder / "examples").glob("Split-*/*"):
        path.write_bytes(b"nobody reads this")
    return stock, made_by(StatisticsGenExecutor, folder / "ours", examples)


def data_set(statistics: ExampleStatistics, split: str) -> statistics_pb2.DatasetFeatureStatistics:
    path = Path(statistics.uri) / f"Split-{split}" / "FeatureStats.pb"
    [found] = load_stats_binary(str(path)).datasets
    return found


def by_feature(data: statistics_pb2.DatasetFeatureStatistics) -> dict[str, object]:
    """All fields of each feature; the order of the features says nothing."""
    return {each.path.step[0]: json_format.MessageToDict(each) for each in data.features}


def assert_same(stock: object, ours: object, where: str = "") -> None:
    """The same fields, texts and counts; floats up to the order in which they were added."""
    if isinstance(stock, dict) and isinstance(ours, dict):
        assert stock.keys() == ours.keys(), where
        for key in stock:
            assert_same(stock[key], ours[key], f"{where}.{key}")
    elif isinstance(stock, list) and isinstance(ours, list):
        assert len(stock) == len(ours), where
        for index, (one, other) in enumerate(zip(stock, ours, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(stock, float) and isinstance(ours, float):
        assert ours == pytest.approx(stock, rel=1e-9, nan_ok=True), where
    else:
        assert stock == ours, where


@pytest.mark.parametrize("split", ROWS)
def test_the_statistics_are_those_of_the_stock_component(
    both: tuple[ExampleStatistics, ExampleStatistics], split: str
) -> None:
    """Every field, quantiles too: of so few rows TFDV's sketches are exact."""
    stock, ours = (data_set(each, split) for each in both)
    assert ours.num_examples == stock.num_examples == sum(ROWS[split])
    assert ours.name == stock.name
    assert_same(by_feature(stock), by_feature(ours))
    assert {"list", "never", "rare"} <= by_feature(ours).keys()
    assert ("new" in by_feature(ours)) == (split == "eval")
    assert ("old" in by_feature(ours)) == (split == "train")


@pytest.mark.parametrize("split", ROWS)
def test_of_columns_they_are_the_same(of_columns: tuple[ExampleStatistics, ExampleStatistics], split: str) -> None:
    stock, ours = (data_set(each, split) for each in of_columns)
    assert ours.num_examples == stock.num_examples == sum(ROWS[split])
    assert_same(by_feature(stock), by_feature(ours))
    assert ("new" in by_feature(ours)) == (split == "eval")


def test_the_artifact_says_what_the_stock_component_says(both: tuple[ExampleStatistics, ExampleStatistics]) -> None:
    stock, ours = (json_format.MessageToDict(each.mlmd_artifact) for each in both)
    assert {**ours, "uri": ""} == {**stock, "uri": ""}
    assert json.loads(both[1].split_names) == ["train", "eval"]
    assert both[1].span == 7


def test_a_split_without_an_example(tmp_path: Path) -> None:
    examples = examples_at(tmp_path / "examples", {"train": (10,), "eval": (0,)})
    ours = made_by(StatisticsGenExecutor, tmp_path / "ours", examples)
    assert data_set(ours, "train").num_examples == 10
    assert data_set(ours, "eval") == statistics_pb2.DatasetFeatureStatistics()  # as the stock component


def test_the_component_is_the_stock_one_in_a_pipeline() -> None:
    node = StatisticsGen(examples=Channel(type=Examples), code="abc")
    assert node.id == "StatisticsGen"
    assert node.outputs["statistics"].type is ExampleStatistics
    assert node.exec_properties == {"code": "abc", "exclude_splits": "[]"}
