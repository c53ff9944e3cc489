"""The YAML is validated once, at the edge, and every mistake is told with its place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from projects import REPOSITORY, Project, make_project

from pipeline.config import PipelineConfig, find_config, load_config, to_yaml
from schema.errors import ConfigError


def test_shipped_pipeline_is_found_by_name_and_paths_are_absolute() -> None:
    config = load_config(find_config("flights"))
    assert config.schema_path == str(REPOSITORY / "schema" / "flights.pbtxt")
    assert config.data.source.path == f"{REPOSITORY}/data/flights/span-{{SPAN}}/*.parquet"
    assert config.home == REPOSITORY / ".headrace" / "flights"


def test_shipped_pipeline_keeps_the_future_from_the_model() -> None:
    excluded = load_config(find_config("flights")).features.exclude
    for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"):
        assert "after the fact" in excluded[name]


def test_unknown_pipeline_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Expected: one of flights") as error:
        find_config("flight")
    assert "Did you mean 'flights'?" in str(error.value)


def test_resolved_configuration_is_a_configuration_again(tmp_path: Path) -> None:
    config = load_config(find_config("flights"))
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(config))
    assert to_yaml(load_config(path)) == to_yaml(config)


def change(raw: dict, key: str, value: object) -> None:
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
    raw[last] = value


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "training.epoch",
            3,
            "Unknown key. Where: {path}: training.epoch. Expected: one of batch_size, cache_mib, epochs",
        ),
        ("training.epoch", 3, "Did you mean 'epochs'?"),
        ("model.units", [8], "Unknown key. Where: {path}: model.linear.units"),
        ("modle", {}, "Did you mean 'model'?"),
        ("training.epochs", 0, "training.epochs. Expected: Input should be greater than 0. Received: 0"),
        ("data.split", {"train": 8}, "expects exactly one of `window`"),
        ("data.source.path", "data/*.parquet", "`window` needs spans: put {{SPAN}} into source.path"),
        ("gates.quality", [{"metric": "auc"}], "expects exactly one of at_least, at_most and not_worse_by"),
        ("gates.quality", [{"metric": "f1", "at_least": 1}], "gates.quality.0.metric"),
        ("model", {"architecture": "tree"}, "'linear', 'mlp'"),
        ("name", "../flights", "name. Expected: String should match pattern"),
    ],
)
def test_mistakes_are_told_with_place_and_remedy(project: Project, key: str, value: object, told: str) -> None:
    project.change_config(lambda raw: change(raw, key, value))
    with pytest.raises(ConfigError) as error:
        load_config(project.config_path)
    assert told.format(path=project.config_path) in str(error.value)


def test_missing_key_is_told(project: Project) -> None:
    project.change_config(lambda raw: raw.pop("label"))
    with pytest.raises(ConfigError, match=r"A required key is missing.*label"):
        load_config(project.config_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nname: b\n", "the key 'name' is given 2 times"),
        ("name: [a", "is not YAML"),
        ("", "empty or not a mapping"),
        ("- a\n", "empty or not a mapping"),
        ("name: !!python/object/apply:os.getcwd []\n", "is not YAML"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert told in str(error.value)


def test_configuration_is_frozen() -> None:
    config = load_config(find_config("flights"))
    with pytest.raises(ValueError, match="frozen"):
        config.name = "other"  # type: ignore[misc]


def test_reading_a_configuration_imports_no_framework() -> None:
    program = (
        "import sys; from pipeline import cli; from pipeline.config import *; load_config(find_config('flights'));"
        "print([m for m in ('tensorflow', 'tfx', 'apache_beam', 'ml_metadata') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_default_is_shown() -> None:
    shown = yaml.safe_load(to_yaml(load_config(find_config("flights"))))
    assert shown["training"]["learning_rate"] == 1e-3
    assert set(shown) == {field.alias or name for name, field in PipelineConfig.model_fields.items()}


def test_a_command_names_the_file_that_was_given(tmp_path: Path) -> None:
    shipped = load_config(find_config("flights"))
    assert shipped.argument == "flights"
    other = tmp_path / "my flights.yaml"
    other.write_text(find_config("flights").read_text())
    assert load_config(other).argument == f"'{other}'"  # the name alone would be the shipped pipeline
    assert load_config(other).model_copy(update={"root": tmp_path}).argument == f"'{other}'"


def test_a_section_that_is_wrong_is_told_by_its_keys_since_one_may_hold_a_secret(tmp_path: Path) -> None:
    project = make_project(tmp_path, spans=2, rows=20)
    project.change_config(lambda raw: raw.update(metadata={"kind": "postgres", "password": "s3cret"}))
    with pytest.raises(ConfigError) as caught:
        load_config(project.config_path)
    assert "s3cret" not in str(caught.value)
    assert "the keys kind, password" in str(caught.value)


def test_a_misspelt_key_is_told_before_the_key_that_it_leaves_missing(tmp_path: Path) -> None:
    project = make_project(tmp_path, spans=2, rows=20)
    dataflow = {"project": "plant", "regoin": "europe-west1", "temp_location": "gs://plant/tmp"}
    project.change_config(lambda raw: raw.update(targets={"dataflow": dataflow}))
    with pytest.raises(ConfigError, match="Unknown key") as caught:
        load_config(project.config_path)
    assert "Did you mean 'region'?" in str(caught.value)
