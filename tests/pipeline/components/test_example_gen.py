"""ExampleGen: the artifact is the same whether its driver ran or, under Kubeflow, none did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from small_artifacts import artifact_at, execute
from small_reference import flights_of, small_schema
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples

from data.config import DataConfig
from pipeline.components.distribution_validator import examples_files
from pipeline.components.example_gen import COUNTS, SHARD_SPANS, ExampleGen, ExampleGenDriver, ExampleGenExecutor

PROPERTIES = ("span", "input_fingerprint", "window")


@pytest.fixture
def properties(tmp_path: Path) -> dict[str, Any]:
    """Of an execution over three spans."""
    for span in (1, 2, 3):
        pq.write_table(flights_of(span, 100), tmp_path / f"span-{span}.parquet")
    data = {"source": {"path": str(tmp_path / "span-{SPAN}.parquet")}, "window": {"train": 2}}
    component = ExampleGen(DataConfig.model_validate(data), small_schema(), exclude=["gate"], label="late", code="")
    return dict(component.exec_properties)


def drive(properties: dict[str, Any]) -> tuple[Examples, dict[str, Any]]:
    """What the driver leaves for the executor."""
    info = ExecutionInfo(exec_properties=properties, output_dict={"examples": [Examples()]})
    output = ExampleGenDriver(None).run(info)
    examples = Examples()
    examples.set_mlmd_artifact(output.output_artifacts["examples"].artifacts[0])
    return examples, {name: value.string_value for name, value in output.exec_properties.items()}


def test_the_artifact_is_the_same_with_and_without_a_driver(properties: dict[str, Any], tmp_path: Path) -> None:
    driven, window = drive(properties)
    assert driven.get_int_custom_property("span") == 3
    assert driven.get_string_custom_property("window") == "spans 1, 2 train, span 3 evaluates"
    alone = artifact_at(Examples, tmp_path / "alone")
    driven.uri = str(tmp_path / "driven")
    execute(ExampleGenExecutor, tmp_path, {}, {"examples": alone}, properties)
    execute(ExampleGenExecutor, tmp_path, {}, {"examples": driven}, {**properties, **window})
    for name in PROPERTIES:
        assert alone.get_custom_property(name) == driven.get_custom_property(name) is not None
    assert json.loads(alone.get_string_custom_property(COUNTS))["examples"] == {"train": 200, "eval": 100}


def test_the_driver_has_the_last_word(properties: dict[str, Any], tmp_path: Path) -> None:
    """A span that arrives after the driver looked is none of this execution's."""
    driven, window = drive(properties)
    pq.write_table(flights_of(4, 100), tmp_path / "span-4.parquet")
    driven.uri = str(tmp_path / "driven")
    execute(ExampleGenExecutor, tmp_path, {}, {"examples": driven}, {**properties, **window})
    assert driven.get_int_custom_property("span") == 3


def test_a_shard_for_each_row_group_in_the_order_of_time(properties: dict[str, Any], tmp_path: Path) -> None:
    """Span 2 has a file of three row groups and one without any; each shard is known to be of its span."""
    (tmp_path / "parts").mkdir()
    for name, rows, groups in (("1-a", 100, 100), ("2-b", 90, 30), ("3-a", 50, 25)):
        pq.write_table(flights_of(int(name[0]), rows), tmp_path / "parts" / f"{name}.parquet", row_group_size=groups)
    pq.ParquetWriter(tmp_path / "parts" / "2-a.parquet", flights_of(2, 1).schema).close()
    data = json.loads(properties["data"])
    data["source"]["path"] = str(tmp_path / "parts" / "{SPAN}-*.parquet")
    examples = artifact_at(Examples, tmp_path / "examples")
    execute(ExampleGenExecutor, tmp_path, {}, {"examples": examples}, {**properties, "data": json.dumps(data)})
    assert json.loads(examples.get_string_custom_property(SHARD_SPANS)) == {"1": 0, "2": 1, "3": 4}
    files = sorted(examples_files(examples), key=lambda file: file.index)
    assert [Path(file.path).name for file in files] == [f"data_tfrecord-{each:05d}-of-00006.gz" for each in range(6)]
    assert [file.span for file in files] == [1, 2, 2, 2, 3, 3]
    assert [file.is_eval for file in files] == [False] * 4 + [True] * 2
    assert [sum(1 for _ in tf.data.TFRecordDataset(file.path, "GZIP")) for file in files] == [100, 30, 30, 30, 25, 25]


def test_the_spans_of_more_shards_than_five_digits_count(tmp_path: Path) -> None:
    examples = artifact_at(Examples, tmp_path)
    examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
    examples.set_string_custom_property(SHARD_SPANS, json.dumps({"7": 0, "8": 99_999, "9": 100_001}))
    for shard in (0, 99_998, 99_999, 100_000, 100_001, 454_949):
        path = tmp_path / "Split-train" / f"data_tfrecord-{shard:05d}-of-454950.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    spans = {file.index // 2: file.span for file in examples_files(examples)}
    assert spans == {0: 7, 99_998: 7, 99_999: 8, 100_000: 8, 100_001: 9, 454_949: 9}
