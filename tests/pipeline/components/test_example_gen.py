"""ExampleGen: the artifact is the same whether its driver ran or, under Kubeflow, none did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from divided_nodes import execute_divided
from google.protobuf import text_format
from small_artifacts import artifact_at, contents, execute
from small_reference import changed, flights_of, small_schema
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.example_gen.csv_example_gen.component import CsvExampleGen
from tfx.components.example_gen.csv_example_gen.executor import Executor as StockExecutor
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import Examples

from data.config import DataConfig
from pipeline.components.example_gen import COUNTS, SHARD_SPANS, ExampleGen, ExampleGenDriver, ExampleGenExecutor
from pipeline.components.examples_files import examples_files
from schema.errors import DataError

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
    files = examples_files(examples)
    assert [file.span for file in files] == [7, 7, 8, 8, 9, 9]
    assert [file.index for file in files] == list(range(6))


class TestRowsThatDoNotFit:
    @pytest.fixture
    def ingest(self, tmp_path: Path) -> Callable[..., Examples]:
        """Three spans of CSV, lines of which may be exchanged for others: span → line (from 1) → line."""

        def ingest(exchanged: dict[int, dict[int, str]], shares: int = 1, **division: Any) -> Examples:
            for span in (1, 2, 3):
                lines = flights_of(span, 100).to_pandas().to_csv(index=False).splitlines()
                for number, line in exchanged.get(span, {}).items():
                    lines[number - 1] = line
                (tmp_path / f"span-{span}.csv").write_text("\n".join(lines))
            data = {"source": {"format": "csv", "path": str(tmp_path / "span-{SPAN}.csv")}}
            division = division or {"window": {"train": 2}}
            made = ExampleGen(
                DataConfig.model_validate({**data, **division}), small_schema(), exclude=["gate"], label="late", code=""
            )
            examples = artifact_at(Examples, tmp_path / f"examples-{shares}")
            if shares == 1:
                execute(ExampleGenExecutor, tmp_path, {}, {"examples": examples}, made.exec_properties)
                return examples
            outputs = {"examples": examples}
            left = execute_divided(
                ExampleGenExecutor, tmp_path, {}, outputs, made.exec_properties, [f"--shares={shares}"]
            )
            return left["examples"]

        return ingest

    def test_they_are_counted_told_and_put_beside_the_splits(self, ingest: Callable[..., Examples], tmp_path: Path):
        examples = ingest({1: {5: "what is this?"}, 3: {2: "a,b", 101: '"'}})
        counts = json.loads(examples.get_string_custom_property(COUNTS))
        assert counts["examples"] == {"train": 199, "eval": 98}
        assert [(each["splits"], each["rows"], each["columns"]) for each in counts["quarantined"]] == [
            (["train"], 1, {"": 1}),
            (["eval"], 2, {"": 2}),
        ]
        assert counts["quarantined"][1]["first"][0].startswith(f"{tmp_path / 'span-3.csv'}, line 2: 2 fields, not ")
        names = [path.name for path in sorted((tmp_path / "examples-1" / "quarantine").iterdir())]
        assert names == ["eval-00002-of-00003.jsonl", "train-00000-of-00003.jsonl"]
        assert [Path(file.path).parent.name for file in examples_files(examples)] == ["Split-train"] * 2 + [
            "Split-eval"
        ]

    def test_of_a_hash_split_they_are_of_no_split(self, ingest: Callable[..., Examples]) -> None:
        counts = json.loads(ingest({2: {9: "no row"}}, split={}).get_string_custom_property(COUNTS))
        assert sum(counts["examples"].values()) == 299
        assert [(each["splits"], each["rows"]) for each in counts["quarantined"]] == [(["train", "eval"], 1)]

    def test_divided_among_processes_they_are_the_same(self, ingest: Callable[..., Examples], tmp_path: Path) -> None:
        """With all else that is left."""
        exchanged = {1: {5: "what is this?"}, 2: {7: "nor this"}, 3: {2: "a,b", 101: '"'}}
        alone, divided = ingest(exchanged), ingest(exchanged, shares=2)
        counts = (each.get_string_custom_property(COUNTS) for each in (alone, divided))
        assert next(counts) == next(counts).replace("examples-2", "examples-1")
        assert contents(alone) == contents(divided)

    def test_what_another_process_finds_is_the_same_error(self, ingest: Callable[..., Examples]) -> None:
        unlabelled = flights_of(2, 1).to_pandas().assign(late=None).to_csv(index=False, header=False).strip()
        with pytest.raises(DataError, match=r"rows of a batch of .* have no label"):
            ingest({2: {7: unlabelled}}, shares=2)

    def test_a_file_without_any_that_fits_is_one_error(self, ingest: Callable[..., Examples]) -> None:
        with pytest.raises(DataError, match="100 of the first 100 rows"):
            ingest({3: dict.fromkeys(range(2, 102), "no row")})

    def test_a_split_of_rows_that_do_not_fit_is_one_error(self, properties: dict[str, Any], tmp_path: Path) -> None:
        halves = changed(flights_of(3, 100), flight=pa.array([0.5] * 100))
        pq.write_table(halves, tmp_path / "span-3.parquet")
        with pytest.raises(DataError, match=r"100 rows that do not fit, the first: .*, row 0, column 'flight'"):
            execute(
                ExampleGenExecutor,
                tmp_path,
                {},
                {"examples": artifact_at(Examples, tmp_path / "examples")},
                properties,
            )


def test_the_values_and_types_are_those_of_the_stock_component(tmp_path: Path) -> None:
    """Of CSV: whole numbers, numbers, text; what is missing is absent from ours, and without a value in theirs."""
    rows = [
        "id,price,name,late",
        '1,1.5,"a, b",0',
        f"{2**62 + 1},,b,1",
        "-3,2,,0",
        ",0.1,c d,1",
        "5,-1e-3,é,0",
        '6,16777217,"say ""x""",1',
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "part.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    schema = text_format.Parse(
        """feature { name: "id" type: INT } feature { name: "price" type: FLOAT }
        feature { name: "name" type: BYTES } feature { name: "late" type: INT }""",
        schema_pb2.Schema(),
    )
    source = {"format": "csv", "path": str(tmp_path / "in" / "*.csv")}
    data = DataConfig.model_validate({"source": source, "split": {"train": 1, "eval": 1}})
    ours, theirs = (artifact_at(Examples, tmp_path / name) for name in ("ours", "theirs"))
    component = ExampleGen(data, schema, exclude=[], label="late", code="")
    execute(ExampleGenExecutor, tmp_path, {}, {"examples": ours}, component.exec_properties)
    stock = CsvExampleGen(input_base=str(tmp_path / "in"))
    stock_properties = {**stock.exec_properties, "span": 0, "version": None}
    execute(StockExecutor, tmp_path, {}, {"examples": theirs}, stock_properties)
    assert features_of(ours) == features_of(theirs)


def features_of(examples: Examples) -> list[dict[str, Any]]:
    """The features that have a value, with their types, of all splits in one order."""
    found = []
    for path in Path(examples.uri).glob("Split-*/*.gz"):
        for record in tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator():
            example = tf.train.Example.FromString(record).features.feature
            kinds = {name: each.WhichOneof("kind") for name, each in example.items()}
            values = {
                name: (kind, list(getattr(example[name], kind or "").value)) for name, kind in kinds.items() if kind
            }
            found.append({name: each for name, each in values.items() if each[1]})
    return sorted(found, key=lambda each: str(sorted(each.items())))
