"""Data without time, in CSV, with a feature of every kind and a regression label: the other way through."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from e2e_tools import headrace

from schema.errors import ExitCode
from serving.session_model import SessionModel
from serving.versions import versions

SCHEMA = """
default_environment: "TRAINING"
default_environment: "SERVING"
feature { name: "area" type: FLOAT presence { min_fraction: 1.0 } }
feature { name: "rooms" type: INT }
feature { name: "city" type: BYTES presence { min_fraction: 1.0 } string_domain { value: "NYC" value: "BOS" } }
feature { name: "street" type: BYTES presence { min_fraction: 1.0 } }
feature { name: "note" type: BYTES natural_language_domain {} }
feature { name: "new" type: INT presence { min_fraction: 1.0 } bool_domain {} }
feature { name: "built" type: INT presence { min_fraction: 1.0 } time_domain { integer_format: UNIX_SECONDS } }
feature { name: "price" type: FLOAT presence { min_fraction: 1.0 } not_in_environment: "SERVING" }
"""

CONFIG = """
name: houses
schema: schema.pbtxt
data:
  source: {format: csv, path: "*.csv"}
  split: {train: 8, eval: 2}
label: {name: price, task: regression}
features: {hashed: {street: 50}}
model: {architecture: mlp, units: [64]}
training: {epochs: 20, batch_size: 64, learning_rate: 0.01}
gates:
  quality: [{metric: mae, at_most: 40}]
push: {path: models}
"""


def write_houses(folder: Path, rows: int = 2000) -> None:
    random = np.random.default_rng(0)
    houses = pd.DataFrame(
        {
            "area": random.normal(100, 20, rows).round(1),
            "rooms": random.integers(1, 6, rows).astype(float),
            "city": random.choice(["NYC", "BOS"], rows),
            "street": [f"{number:05d}" for number in random.integers(0, 300, rows)],  # text that looks like numbers
            "note": random.choice(["sunny flat, near park", "old house", ""], rows),
            "new": random.choice([True, False], rows),
            "built": pd.Timestamp("2001-01-01") + pd.to_timedelta(random.integers(0, 4000, rows), unit="D"),
        }
    )
    houses["price"] = houses["area"] * 3 + houses["rooms"] * 10 + (houses["city"] == "NYC") * 50
    houses.loc[::7, "rooms"] = np.nan
    houses.to_csv(folder / "houses.csv", index=False)
    (folder / "schema.pbtxt").write_text(SCHEMA)
    (folder / "houses.yaml").write_text(CONFIG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("houses")
    write_houses(folder)
    result = headrace("run", str(folder / "houses.yaml"))
    assert result.returncode == ExitCode.OK, result.stdout
    assert "1 file(s), split by hash" in result.stdout
    assert "mae" in result.stdout
    return folder


def test_model_answers_rows_with_and_without_missing_values(folder: Path) -> None:
    [version] = versions(folder / "models")
    model = SessionModel(str(folder / "models" / str(version)))
    assert "classify" not in model.signatures
    rows = {
        "area": np.array([100.0, np.nan], np.float32),
        "rooms": np.array([3.0, np.nan]),
        "city": np.array(["NYC", "unheard of"], object),
        "street": np.array(["00001", ""], object),
        "note": np.array(["old house", ""], object),
        "new": np.array([1, 0], np.int64),
        "built": np.array([10**9, 0], np.int64),
    }
    known, strange = model.run("serving_default", rows)["prediction"]
    assert abs(known - 380) < 60
    assert np.isfinite(strange)


def test_a_few_damaged_rows_are_put_aside_and_told(folder: Path) -> None:
    """What no header tells is found by the node that reads the row; the gate judges the share."""
    rows = (folder / "houses.csv").read_text().splitlines()
    (folder / "houses.csv").write_text("\n".join([*rows[:-3], *("wide" + row for row in rows[-3:])]))
    result = headrace("run", str(folder / "houses.yaml"), "--until", "DataGate")
    (folder / "houses.csv").write_text("\n".join(rows))
    assert result.returncode == ExitCode.DATA_GATE, result.stdout
    assert "rows that do not fit" in result.stdout
    assert "0.15% (3)" in result.stdout
    [aside] = (folder / ".headrace/houses/artifacts/ExampleGen/examples").glob("*/quarantine/*.jsonl")
    told = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [each["line"] for each in told] == [len(rows) - 2, len(rows) - 1, len(rows)]
    assert all(each["column"] == "area" and each["value"].startswith("wide") for each in told)


def test_hopeless_file_fails_the_node_in_words_and_leaves_no_examples(folder: Path) -> None:
    examples = folder / ".headrace" / "houses" / "artifacts" / "ExampleGen" / "examples"
    before = sorted(examples.iterdir())
    rows = (folder / "houses.csv").read_text().splitlines()
    damaged = [rows[0], *rows[1:] * 5, *["wide" + row for row in rows[1:]] * 10]
    (folder / "houses.csv").write_text("\n".join(damaged))
    result = headrace("run", str(folder / "houses.yaml"))
    (folder / "houses.csv").write_text("\n".join(rows))
    assert result.returncode == ExitCode.DATA, result.stdout
    assert "ExampleGen           failed" in result.stdout
    assert "Most rows of a file do not fit" in result.stdout
    assert "wide" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert sorted(examples.iterdir()) == before
