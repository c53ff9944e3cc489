"""Evaluator: the stock component's artifacts, from batches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from columns_of_shards import write_columns
from small_artifacts import artifact_at, execute
from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.proto import config_pb2, validation_result_pb2
from tfx.components.evaluator import executor as stock
from tfx.types import Artifact, Channel
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation
from tfx.utils import json_utils, proto_utils

from data import columns, records
from models.config import LabelConfig
from models.signatures import SERVE_EXAMPLES
from pipeline.components.evaluator import Evaluator, EvaluatorExecutor
from pipeline.components.history import History, evaluator_class
from pipeline.gates.config import QualityBound
from pipeline.gates.quality import eval_config, quality_findings
from pipeline.gates.verdict import Outcome

ROWS = 150
SHARDS = 3


class Line(tf.Module):
    """A line in x, or its sigmoid, that is not a number beyond some x."""

    def __init__(self, task: str, slope: float, known_to: float) -> None:
        super().__init__()
        self._task = task
        self._slope = tf.Variable(slope)
        self._known_to = known_to

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def examples(self, examples):
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        answer = tf.where(x < self._known_to, self._slope * x, math.nan)
        return {"answer": tf.sigmoid(answer) if self._task == "binary" else answer}


def examples_at(folder: Path, task: str, has_labels: bool = True, most_carriers: int = 3) -> Examples:
    """Slices of text, of whole numbers and of numbers; texts may be missing, or several, or twice the same."""
    random = np.random.default_rng(7)
    for shard in range(SHARDS):
        path = folder / "Split-eval" / f"data-{shard:05d}-of-{SHARDS:05d}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for _ in range(ROWS):
                x = random.normal()
                example = tf.train.Example()
                feature = example.features.feature
                feature["x"].float_list.value.append(x)
                feature["month"].int64_list.value.append(random.integers(1, 4))
                feature["half"].float_list.value.append(random.integers(0, 2) / 2)
                feature["carrier"].bytes_list.value.extend(
                    random.choice([b"AA", b"D\xc3\xa9"], size=random.integers(0, most_carriers + 1))
                )
                if not has_labels and random.random() < 0.1:
                    pass
                elif task == "binary":
                    feature["label"].int64_list.value.append(int(random.random() < 1 / (1 + np.exp(-x))))
                else:
                    feature["label"].float_list.value.append(3 * x + random.normal())
                writer.write(example.SerializeToString())
    examples = artifact_at(Examples, folder)
    examples.split_names = '["eval"]'
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    return examples


def model_at(folder: Path, task: str, slope: float, known_to: float = math.inf) -> Model:
    line = Line(task, slope, known_to)
    tf.saved_model.save(line, str(folder / "Format-Serving"), signatures={SERVE_EXAMPLES: line.examples})
    model = artifact_at(Model, folder)
    model.id = int(slope * 10)
    model.set_string_custom_property("tfx_version", "1.16.0")  # else TFX takes it for one of its early artifacts
    return model


def evaluated(
    executor: Any, folder: Path, inputs: dict[str, Artifact], config: config_pb2.EvalConfig
) -> dict[str, Artifact]:
    outputs = {
        "evaluation": artifact_at(ModelEvaluation, folder / "evaluation"),
        "blessing": artifact_at(ModelBlessing, folder / "blessing"),
    }
    properties = {
        "eval_config": proto_utils.proto_to_json(config),
        "example_splits": json_utils.dumps(["eval"]),
        "fairness_indicator_thresholds": "null",
        "current_component_id": "Evaluator",
    }
    execute(executor, folder, inputs, outputs, properties)
    return outputs


def bounds_of(*bounds: dict[str, Any]) -> list[QualityBound]:
    return [QualityBound(**bound) for bound in bounds]


CASES = {
    "binary, passed against a baseline": (
        "binary",
        True,
        bounds_of(
            {"metric": "auc", "at_least": 0.6},
            {"metric": "auc", "not_worse_by": 0.01},
            {"metric": "log_loss", "at_most": 0.8, "slice": "carrier"},
            {"metric": "accuracy", "at_least": 0.3, "slice": "month"},
        ),
        True,
    ),
    "binary, failed in a slice, without a baseline": (
        "binary",
        False,
        bounds_of(
            {"metric": "pr_auc", "not_worse_by": 0.01},
            {"metric": "calibration", "at_least": 5, "slice": "half"},
            {"metric": "auc", "at_least": 0.5},
        ),
        False,
    ),
    "regression, failed against a baseline": (
        "regression",
        True,
        bounds_of(
            {"metric": "mse", "at_most": 100},
            {"metric": "mae", "not_worse_by": 0.01, "slice": "carrier"},
        ),
        False,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def both(request, tmp_path_factory) -> tuple[dict[str, Artifact], dict[str, Artifact], bool]:
    """What TFX's executor and what ours left, and whether the model is good."""
    task, has_baseline, bounds, is_good = CASES[request.param]
    folder: Path = tmp_path_factory.mktemp("evaluator")
    inputs: dict[str, Artifact] = {
        "examples": examples_at(folder / "examples", task),
        "model": model_at(folder / "model", task, 1.0),
    }
    if has_baseline:
        inputs["baseline_model"] = model_at(folder / "baseline", task, 0.5 if task == "binary" else 2.0)
    config = eval_config(LabelConfig(name="label", task=task), bounds)
    expected = evaluated(stock.Executor, folder / "stock", inputs, config)
    return expected, evaluated(EvaluatorExecutor, folder / "ours", inputs, config), is_good


def metrics_at(evaluation: Artifact) -> dict[tuple[bytes, bytes], float]:
    return {
        (per_slice.slice_key.SerializeToString(), each.key.SerializeToString()): each.value.double_value.value
        for per_slice in model_eval_lib.load_metrics(evaluation.uri)
        for each in per_slice.metric_keys_and_values
    }


def validation_at(evaluation: Artifact) -> tuple[Any, ...]:
    """Slices come in any order; the values in the messages are those of `metrics_at`."""
    result: validation_result_pb2.ValidationResult = model_eval_lib.load_validation_result(evaluation.uri)
    failures = sorted(
        (per_slice.slice_key.SerializeToString(), failure.metric_key.SerializeToString())
        for per_slice in result.metric_validations_per_slice
        for failure in per_slice.failures
    )
    details = sorted(each.SerializeToString() for each in result.validation_details.slicing_details)
    return result.validation_ok, failures, details, list(result.missing_slices)


def test_metrics_are_the_stock_component_s(both) -> None:
    expected, found, _ = both
    values = metrics_at(expected["evaluation"])
    assert len({key for key, _ in values}) >= 3
    assert metrics_at(found["evaluation"]) == pytest.approx(values, rel=1e-6, abs=1e-9, nan_ok=True)


def test_validation_is_the_stock_component_s(both) -> None:
    expected, found, is_good = both
    assert validation_at(found["evaluation"]) == validation_at(expected["evaluation"])
    assert validation_at(found["evaluation"])[0] == is_good


def test_files_are_the_stock_component_s(both) -> None:
    expected, found, _ = both
    for output in ("evaluation", "blessing"):
        names = [sorted(path.name for path in Path(side[output].uri).iterdir()) for side in (found, expected)]
        assert names[0] == names[1]
    configs = [json.loads(Path(side["evaluation"].uri, "eval_config.json").read_text()) for side in (found, expected)]
    assert configs[0] == configs[1]
    result = model_eval_lib.load_eval_result(found["evaluation"].uri, model_name=min(configs[0]["modelLocations"]))
    assert len(result.slicing_metrics) >= 3


def test_the_blessing_is_the_stock_component_s(both) -> None:
    expected, found, is_good = both
    properties = [side["blessing"].mlmd_artifact.custom_properties for side in (found, expected)]
    assert dict(properties[0]) == dict(properties[1])
    assert Path(found["blessing"].uri, "BLESSED").exists() == is_good


def test_an_example_without_a_label_is_an_error(tmp_path) -> None:
    inputs = {
        "examples": examples_at(tmp_path / "examples", "binary", has_labels=False),
        "model": model_at(tmp_path / "model", "binary", 1.0),
    }
    config = eval_config(LabelConfig(name="label", task="binary"), [])
    with pytest.raises(ValueError, match="one label and one prediction of each example"):
        evaluated(EvaluatorExecutor, tmp_path, inputs, config)


def test_columns_beside_the_shards_give_the_same(tmp_path, monkeypatch) -> None:
    """However they, and the examples that the model is asked with, are cut into batches."""
    inputs = {
        "examples": examples_at(tmp_path / "examples", "binary", most_carriers=1),
        "model": model_at(tmp_path / "model", "binary", 1.0),
    }
    bounds = [{"metric": "log_loss", "at_most": 1, "slice": name} for name in ("carrier", "month", "half", "nowhere")]
    config = eval_config(LabelConfig(name="label", task="binary"), bounds_of(*bounds))
    parsed = evaluated(EvaluatorExecutor, tmp_path / "parsed", inputs, config)
    shards = sorted((tmp_path / "examples" / "Split-eval").iterdir())
    monkeypatch.setattr(columns, "_BATCH_BYTES", 2000)
    for shard in shards:
        write_columns(shard)
    monkeypatch.setattr(records, "BATCH_ROWS", 40)
    read = evaluated(EvaluatorExecutor, tmp_path / "read", inputs, config)
    assert len({where for where, _ in metrics_at(read["evaluation"])}) == 1 + 2 + 3 + 2
    assert metrics_at(read["evaluation"]) == pytest.approx(metrics_at(parsed["evaluation"]), rel=1e-6)


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS + 1])
def test_columns_of_other_examples_are_an_error(tmp_path, rows) -> None:
    inputs = {
        "examples": examples_at(tmp_path / "examples", "binary", most_carriers=1),
        "model": model_at(tmp_path / "model", "binary", 1.0),
    }
    shard = tmp_path / "examples" / "Split-eval" / f"data-00000-of-{SHARDS:05d}.gz"
    Path(columns.columns_path(str(shard))).parent.mkdir(parents=True)
    with columns.ColumnsWriter(columns.columns_path(str(shard))) as writer:
        writer.write(pa.RecordBatch.from_pydict({"label": [0] * rows}))
    with pytest.raises(ValueError, match=f"{shard}"):
        evaluated(EvaluatorExecutor, tmp_path, inputs, eval_config(LabelConfig(name="label", task="binary"), []))


@pytest.mark.parametrize("known_to", [-math.inf, 1.0])
@pytest.mark.parametrize(
    ("task", "bounds"),
    [
        ("binary", [{"metric": "auc", "not_worse_by": 1}, {"metric": "accuracy", "at_least": 0, "slice": "half"}]),
        ("regression", [{"metric": "mse", "at_most": 1e9}, {"metric": "mae", "not_worse_by": 1e9, "slice": "half"}]),
    ],
)
def test_a_model_that_diverged_is_evaluated_and_not_blessed(tmp_path, task, bounds, known_to) -> None:
    inputs = {
        "examples": examples_at(tmp_path / "examples", task),
        "model": model_at(tmp_path / "model", task, 1.0, known_to),
        "baseline_model": model_at(tmp_path / "baseline", task, 0.5),
    }
    config = eval_config(LabelConfig(name="label", task=task), bounds_of(*bounds))
    found = evaluated(EvaluatorExecutor, tmp_path, inputs, config)
    assert not Path(found["blessing"].uri, "BLESSED").exists()
    findings, _ = quality_findings(found["evaluation"].uri, bounds_of(*bounds))
    assert [(each.value, each.outcome) for each in findings] == [("nan", Outcome.FAILED)] * 3
    assert "nan" not in {each.baseline for each in findings}


@pytest.fixture
def asked_of_stock(monkeypatch) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(stock.Executor, "Do", lambda self, inputs, outputs, properties: seen.append(properties))
    return seen


def test_what_needs_single_examples_is_the_stock_executor_s(tmp_path, asked_of_stock) -> None:
    config = eval_config(LabelConfig(name="label", task="binary"), [])
    config.metrics_specs[0].metrics.add(class_name="Precision")
    inputs = {
        "examples": examples_at(tmp_path / "examples", "binary"),
        "model": model_at(tmp_path / "model", "binary", 1.0),
    }
    evaluated(EvaluatorExecutor, tmp_path, inputs, config)
    assert len(asked_of_stock) == 1


def test_examples_that_are_not_gzipped_are_the_stock_executor_s(tmp_path, asked_of_stock) -> None:
    (tmp_path / "examples" / "Split-eval").mkdir(parents=True)
    (tmp_path / "examples" / "Split-eval" / "data-00000-of-00001").touch()
    examples = artifact_at(Examples, tmp_path / "examples")
    examples.split_names = '["eval"]'
    inputs = {"examples": examples, "model": artifact_at(Model, tmp_path / "model")}
    evaluated(EvaluatorExecutor, tmp_path, inputs, eval_config(LabelConfig(name="label", task="binary"), []))
    assert len(asked_of_stock) == 1


def test_a_change_of_the_code_is_not_answered_from_the_cache() -> None:
    channels = {key: Channel(type=Model) for key in ("model", "baseline_model")}
    config = eval_config(LabelConfig(name="label", task="binary"), [])
    evaluator = Evaluator(
        examples=Channel(type=Examples), **channels, eval_config=config, example_splits=["eval"], code="abc"
    )
    assert evaluator.exec_properties["code"] == "abc"
    assert evaluator.exec_properties["example_splits"] == '["eval"]'
    assert set(evaluator.outputs) == {"evaluation", "blessing"}
    assert evaluator_class(History.METADATA) is Evaluator
