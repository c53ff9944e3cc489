"""ExampleGen: the artifact is the same whether its driver ran or, under Kubeflow, none did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_artifacts import artifact_at, execute
from small_reference import flights_of, small_schema
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types.standard_artifacts import Examples

from data.config import DataConfig
from pipeline.components.example_gen import COUNTS, ExampleGen, ExampleGenDriver, ExampleGenExecutor

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
