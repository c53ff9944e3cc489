"""PipelineConfig: one YAML file as frozen types, composed from the rooms' own configuration types."""

from __future__ import annotations

import difflib
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from data.config import DataConfig
from models.config import FeaturesConfig, LabelConfig, ModelConfig, TrainingConfig
from monitoring.config import MonitorConfig
from pipeline.gates.config import GatesConfig
from pipeline.metadata_config import MetadataConfig, SqliteMetadata, with_absolute_files
from pipeline.targets import TargetsConfig
from schema.errors import ConfigError
from schema.strict import Strict
from serving.config import PushConfig, ServeConfig
from storage.places import is_remote

CONFIGS = Path(__file__).parent / "configs"
_STATE = ".headrace"
_ROOT_MARKS = ("pyproject.toml", ".git")


class PipelineConfig(Strict):
    """One pipeline. Every path is absolute once the configuration is loaded."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    schema_path: Annotated[str, Field(alias="schema", min_length=1)]
    """The reviewed schema, a .pbtxt file."""
    data: DataConfig
    label: LabelConfig
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    gates: GatesConfig
    push: PushConfig
    serve: ServeConfig = ServeConfig()
    monitor: MonitorConfig = MonitorConfig()
    targets: TargetsConfig = TargetsConfig()
    metadata: MetadataConfig = SqliteMetadata()
    """Where ML Metadata is kept."""
    root: Annotated[str, Field(min_length=1)] = _STATE
    """Holds a folder for each pipeline: metadata, artifacts, logs. A URL holds the artifacts and the logs of finished
    runs; what only this machine needs is then in `.headrace`."""
    _file: Path | None = PrivateAttr(default=None)
    _project: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _label_is_no_feature(self) -> PipelineConfig:
        if self.label.name in self.features.exclude:
            raise ValueError(f"the label {self.label.name!r} is excluded from the features by being the label already")
        return self

    @model_validator(mode="after")
    def _warm_start_needs_time(self) -> PipelineConfig:
        if self.training.warm_start and self.data.window is None:
            raise ValueError("training.warm_start needs data.window: without spans no model is earlier than another")
        return self

    @property
    def argument(self) -> str:
        """How a command line names this pipeline: two YAML files may give the same name."""
        is_shipped = self._file is None or self._file.parent == CONFIGS
        return self.name if is_shipped else shlex.quote(str(self._file))

    @property
    def home(self) -> Path:
        """The folder on this machine with the pipeline's logs, its lock and, unless told otherwise, its metadata."""
        return (self._project / _STATE if is_remote(self.root) else Path(self.root)) / self.name

    @property
    def shared(self) -> str:
        """The folder or URL with what all machines see of the pipeline: `artifacts`, and `logs` of finished runs."""
        return f"{self.root.rstrip('/')}/{self.name}"

    @property
    def artifacts(self) -> str:
        """The pipeline root, as TFX calls it: the folder or URL with all artifacts."""
        return f"{self.shared}/artifacts"


def find_config(name: str) -> Path:
    """The YAML file of a pipeline given by name (`flights`) or by path (`my/pipeline.yaml`).

    Raises:
        ConfigError: There is no such file.
    """
    is_path = name.endswith((".yaml", ".yml")) or "/" in name
    path = Path(name) if is_path else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in CONFIGS.glob("*.yaml"))
        raise ConfigError(
            f"There is no pipeline {name!r}",
            where=str(path),
            expected=f"one of {', '.join(known)}, or the path of a .yaml file",
            mend=_did_you_mean(name, known),
        )
    return path.resolve()


def load_config(path: Path) -> PipelineConfig:
    """Reads and validates a pipeline's YAML; relative paths start at the project's root.

    The project's root is the nearest folder above the file with a pyproject.toml or a .git, else the file's own.

    Raises:
        ConfigError: The file cannot be read, is not YAML, repeats a key, or has an unknown or a wrong value.
    """
    raw = _read_yaml(path)
    try:
        config = PipelineConfig.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, path) from None
    project = _project_root(path.resolve())
    loaded = _with_absolute_paths(config, project)
    loaded._file, loaded._project = path.resolve(), project
    return loaded


def to_yaml(config: PipelineConfig) -> str:
    """The whole configuration, with every default, as YAML."""
    return yaml.safe_dump(json.loads(config.model_dump_json(by_alias=True)), sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = _UniqueKeyLoader(path.read_text(encoding="utf-8")).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError("The configuration is not YAML", where=str(path), received=_one_line(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The configuration cannot be read", where=str(path), received=str(error)) from None
    if not isinstance(raw, dict):
        raise ConfigError(
            "The configuration is empty or not a mapping",
            where=str(path),
            expected="keys such as name, data, label",
            received=type(raw).__name__,
        )
    return raw


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, which YAML forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given {keys.count(key)} times", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _explain(error: ValidationError, path: Path) -> ConfigError:
    """The first mistake in words, and how many more there are."""
    first, *others = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")  # a typo explains more
    where = ".".join(str(part) for part in first["loc"]) or "(the whole file)"
    more = f" ({len(others)} more mistake(s) follow.)" if others else ""
    if first["type"] == "extra_forbidden":
        allowed = _allowed_keys(first["loc"][:-1])
        mend = _did_you_mean(str(first["loc"][-1]), allowed)
        expected = f"one of {', '.join(allowed)}" if allowed else None
        return ConfigError("Unknown key", where=f"{path}: {where}", expected=expected, mend=f"{mend}{more}")
    if first["type"] == "missing":
        return ConfigError("A required key is missing", where=f"{path}: {where}", mend=f"Add it.{more}")
    return ConfigError(
        "A value is wrong",
        where=f"{path}: {where}",
        expected=first["msg"].removeprefix("Value error, "),
        received=_told(first["input"]),
        mend=f"See `headrace config NAME --resolved` for a complete example.{more}",
    )


def _told(value: Any) -> str:
    """A value that was received; of a section the keys only, since a secret may be among its values."""
    return f"the keys {', '.join(map(str, value))}" if isinstance(value, dict) else repr(value)[:200]


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the model at this place in the configuration has."""
    definition: dict[str, Any] = PipelineConfig.model_json_schema(by_alias=True)
    definitions = definition.get("$defs", {})
    for part in location:
        definition = _resolve(definition, definitions)
        if isinstance(part, int):
            definition = definition.get("items", {})
        elif "mapping" in definition.get("discriminator", {}):
            definition = {"$ref": definition["discriminator"]["mapping"].get(part, "")}
        else:
            definition = definition.get("properties", {}).get(part, {})
    return sorted(_resolve(definition, definitions).get("properties", {}))


def _resolve(definition: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    choices = [each for each in definition.get("anyOf", []) if "$ref" in each]
    reference = definition.get("$ref") or (choices[0]["$ref"] if choices else None)
    return definitions.get(reference.rsplit("/", 1)[-1], {}) if reference else definition


def _did_you_mean(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _project_root(path: Path) -> Path:
    for folder in path.parents:
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folder
    return path.parent


def _with_absolute_paths(config: PipelineConfig, root: Path) -> PipelineConfig:
    source = config.data.source.model_copy(update={"path": _absolute(config.data.source.path, root)})
    log = config.serve.request_log
    if log is not None:
        log = log.model_copy(update={"path": _absolute(log.path, root)})
    labels = config.monitor.labels
    if labels is not None:
        labels = labels.model_copy(update={"path": _absolute(labels.path, root)})
    return config.model_copy(
        update={
            "schema_path": _absolute(config.schema_path, root),
            "data": config.data.model_copy(update={"source": source}),
            "push": config.push.model_copy(update={"path": _absolute(config.push.path, root)}),
            "serve": config.serve.model_copy(update={"request_log": log}),
            "monitor": config.monitor.model_copy(update={"labels": labels}),
            "metadata": with_absolute_files(config.metadata, root),
            "root": _absolute(config.root, root),
        }
    )


def _absolute(path: str, root: Path) -> str:
    """A remote path stays as it is; `{SPAN}` may stand anywhere, so this is text, not a Path."""
    return path if is_remote(path) else str(root / path)
