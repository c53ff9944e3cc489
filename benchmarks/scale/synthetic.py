"""A pipeline with as many features as wanted, of every kind, and a few rows of data for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.config import PipelineConfig, load_config

KINDS = ("number", "number", "number", "number", "category", "category", "vocabulary", "vocabulary", "time", "text")
"""The kinds of ten features."""

_ROWS = 400
_VALUES = ("a", "b", "c")
_SCHEMA = {
    "number": "type: FLOAT",
    "category": "type: BYTES string_domain { " + " ".join(f'value: "{value}"' for value in _VALUES) + " }",
    "vocabulary": "type: BYTES",
    "time": "type: INT time_domain { integer_format: UNIX_SECONDS }",
    "text": "type: BYTES natural_language_domain {}",
}


def make(folder: Path, features: int, spans: int = 2) -> PipelineConfig:
    """Writes schema, data and configuration of a pipeline with that many features.

    Args:
        folder: Gets the files.
        features: A multiple of ten.
        spans: The newest evaluates.
    """
    names = [f"{kind}_{number}" for number, kind in enumerate(KINDS * (features // len(KINDS)))]
    (folder / "schema.pbtxt").write_text(schema_of(names))
    random = np.random.default_rng(1)
    for span in range(1, spans + 1):
        path = folder / "data" / f"span-{span:03d}" / "rows.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {name: _column(name, random) for name in names} | {"late": random.integers(0, 2, _ROWS)}
        pq.write_table(pa.table(columns), path)
    config = {
        "name": "synthetic",
        "schema": str(folder / "schema.pbtxt"),
        "data": {
            "source": {"format": "parquet", "path": str(folder / "data" / "span-{SPAN}" / "*.parquet")},
            "window": {"train": spans - 1, "newest": "latest"},
        },
        "label": {"name": "late", "task": "binary"},
        "features": {"text_buckets": 16},
        "model": {"architecture": "linear"},
        "training": {"epochs": 1, "batch_size": 100},
        "gates": {
            "quality": [{"metric": "auc", "at_least": 0.0}, {"metric": "auc", "slice": "category_4", "at_least": 0.0}]
        },
        "push": {"path": str(folder / "models")},
        "root": str(folder / "root"),
    }
    path = folder / "synthetic.yaml"
    path.write_text(yaml.safe_dump(config))
    return load_config(path)


def schema_of(names: list[str]) -> str:
    """The schema of features named `KIND_NUMBER` and of the label `late`, as text."""
    features = [f'feature {{ name: "{name}" {_SCHEMA[name.split("_")[0]]} }}' for name in names]
    label = 'feature { name: "late" type: INT not_in_environment: "SERVING" presence { min_fraction: 1.0 } }'
    return "\n".join(['default_environment: "TRAINING"', 'default_environment: "SERVING"', *features, label, ""])


def _column(name: str, random: np.random.Generator) -> pa.Array:
    kind = name.split("_")[0]
    if kind == "number":
        return pa.array(random.normal(size=_ROWS))
    if kind == "category":
        return pa.array(random.choice(_VALUES, _ROWS))
    if kind == "vocabulary":
        return pa.array([f"value {number}" for number in random.integers(0, 50, _ROWS)])
    if kind == "time":
        return pa.array(random.integers(1_400_000_000, 1_500_000_000, _ROWS))
    return pa.array([f"word {number} of words" for number in random.integers(0, 50, _ROWS)])
