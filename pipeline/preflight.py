"""What can be found wrong before the first node starts: one small function for each rule."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tensorflow_metadata.proto.v0 import schema_pb2

from data.columns import ARROW_TYPES
from data.encoding import fits
from data.readers import FileInfo, inspect_all
from data.spans import Window, find_window
from models.features import label_feature, model_features
from monitoring.checks import require_comparators
from monitoring.config import require_features
from pipeline.config import PipelineConfig
from pipeline.gates.metrics import METRICS
from schema.contract import SERVING, in_environment, load_schema
from schema.errors import ConfigError, DataError, DiskError, SchemaError
from storage.access import require_store
from storage.places import at, is_remote

_DISK_FACTOR = 20
"""What a run leaves of examples, transformed examples and models, as a multiple of the size of packed Parquet."""

_LEAST_DISK = 200 << 20


def check(config: PipelineConfig) -> Window:
    """Applies every rule; the first that is broken is told.

    Returns:
        The spans that the run will read.

    Raises:
        HeadraceError: Something is wrong; the error says what, where, and how to mend it.
    """
    _require_root(config.root)
    _buckets_are_there(config)
    schema = load_schema(at(config.schema_path))
    for rule in _CONFIG_RULES:
        rule(config, schema)
    window = find_window(config.data)
    types = {feature.name: ARROW_TYPES[feature.type] for feature in schema.feature}
    infos = inspect_all([path for span in window.spans for path in span.files], config.data.source.format, types)
    _spans_are_not_empty(window, infos)
    for info in infos:
        for file_rule in _FILE_RULES:
            file_rule(info, config, schema)
    _disk_has_room(config, infos)
    return window


def _buckets_are_there(config: PipelineConfig) -> None:
    """Asked before anything is read from them: of a bucket that is not there, a file would only be missing."""
    places = {
        "schema": config.schema_path,
        "data.source.path": config.data.source.path,
        "push.path": config.push.path,
        "root": config.root,
    }
    for key, place in places.items():
        if is_remote(place):
            require_store(place, key)


def _label_is_in_schema(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    label = next((feature for feature in schema.feature if feature.name == config.label.name), None)
    if label is None:
        raise SchemaError(
            f"The label {config.label.name!r} is not in the schema",
            where=config.schema_path,
            expected=f"one of {', '.join(feature.name for feature in schema.feature)}",
            mend="Add it to the schema, or set label.name to a feature of the schema.",
        )
    if label.type == schema_pb2.BYTES:
        raise SchemaError(
            f"The label {label.name!r} is text",
            where=config.schema_path,
            expected="type: INT or FLOAT" + (", 0 or 1" if config.label.task == "binary" else ""),
            received="type: BYTES",
        )
    if in_environment(label, schema, SERVING):
        raise SchemaError(
            f"The label {label.name!r} is expected in requests",
            where=config.schema_path,
            expected=f'not_in_environment: "{SERVING}" in the feature {label.name!r}',
            mend="Add that line: nobody knows the label when a prediction is asked for.",
        )


def _label_is_bounded(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    label = next(feature for feature in schema.feature if feature.name == config.label.name)
    domain = label.float_domain if label.type == schema_pb2.FLOAT else label.int_domain
    is_binary = label.HasField("bool_domain") or (domain.HasField("max") and (domain.min, domain.max) == (0, 1))
    if config.label.task == "binary" and not is_binary:
        raise SchemaError(
            f"The schema does not say that the label {label.name!r} is 0 or 1",
            where=config.schema_path,
            expected="bool_domain {} or int_domain { min: 0 max: 1 } in that feature",
            mend="Add it, or set label.task to regression.",
        )


def _excluded_are_not_in_schema(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    both = sorted({feature.name for feature in schema.feature} & set(config.features.exclude))
    if both:
        raise SchemaError(
            f"The schema lists features that the configuration excludes: {', '.join(both)}",
            where=config.schema_path,
            expected="a column to be either a feature in the schema or excluded with a reason",
            mend="Remove them from the schema or from features.exclude.",
        )


def _model_has_features(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    model_features(schema, config.features, config.label.name)


def _monitor_names_features(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    require_features(config.monitor, model_features(schema, config.features, config.label.name))


def _comparators_fit_features(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    features = [*model_features(schema, config.features, config.label.name), label_feature(config.label.name, schema)]
    require_comparators(schema, features)


def _bounds_fit_task(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    names = {feature.name for feature in schema.feature}
    for bound in config.gates.quality:
        if METRICS[bound.metric].task != config.label.task:
            fitting = [name for name, metric in METRICS.items() if metric.task == config.label.task]
            raise ConfigError(
                f"The metric {bound.metric!r} is not for the task {config.label.task!r}",
                where="gates.quality",
                expected=f"one of {', '.join(fitting)}",
            )
        if bound.slice is not None and bound.slice not in names:
            raise ConfigError(
                f"The slice {bound.slice!r} is not a feature of the schema",
                where="gates.quality",
                expected=f"one of {', '.join(sorted(names))}",
            )


def _push_path_can_be_written(config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    del schema
    for text, key in ((config.push.path, "push.path"), (config.root, "root")):
        if is_remote(text):
            continue
        path = Path(text)
        nearest = next(each for each in (path, *path.parents) if each.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise ConfigError(
                f"{key} cannot be written to",
                where=str(path),
                expected="a folder, or a path in a folder, that this user can write to",
                received=f"{nearest} is {'read-only' if nearest.is_dir() else 'a file'}",
            )


def _require_root(root: str) -> None:
    """Checks that TensorFlow, which reads and writes artifacts itself, can do so there.

    Raises:
        ConfigError: It cannot.
    """
    if is_remote(root) and not root.startswith("gs://"):
        raise ConfigError(
            "Artifacts cannot lie there",
            where="root",
            expected="a folder, or gs://BUCKET/FOLDER: TensorFlow reads and writes them, and knows no other store",
            received=root,
            mend="Data, schema and push.path may be on s3://; give root a folder or a bucket on gs://.",
        )


def _spans_are_not_empty(window: Window, infos: list[FileInfo]) -> None:
    empty = {info.path for info in infos if info.is_empty}
    for span in window.spans:
        if set(span.files) <= empty:
            raise DataError(
                f"Span {span.number} is empty",
                where=", ".join(span.files),
                expected="at least one row",
                received="0 rows",
                mend="Deliver the span again, or take its files out of the source's path.",
            )


def _columns_are_there(info: FileInfo, config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    wanted = [feature.name for feature in schema.feature] + [drop.missing for drop in config.data.drop]
    missing = [name for name in dict.fromkeys(wanted) if name not in info.columns]
    if config.label.name in missing:
        raise DataError(
            f"The label {config.label.name!r} is absent",
            where=info.path,
            expected=f"a column {config.label.name!r}",
            received=f"the columns {', '.join(info.columns)}",
            mend="Deliver the file with its label, or correct label.name.",
        )
    if missing:
        raise DataError(
            f"The column(s) {', '.join(missing)} are absent",
            where=info.path,
            expected="every feature of the schema as a column",
            received=f"the columns {', '.join(info.columns)}",
            mend="Deliver the file again, or take the feature(s) out of the schema.",
        )


def _types_fit(info: FileInfo, config: PipelineConfig, schema: schema_pb2.Schema) -> None:
    del config
    for feature in schema.feature:
        wanted, received = ARROW_TYPES[feature.type], info.columns[feature.name]
        if not fits(received, wanted):
            raise DataError(
                f"The column {feature.name!r} has the wrong type",
                where=info.path,
                expected=f"{schema_pb2.FeatureType.Name(feature.type)} by the schema ({wanted})",
                received=str(received),
                mend="Deliver the file again, or change the feature's type in the schema.",
            )


def _disk_has_room(config: PipelineConfig, infos: list[FileInfo]) -> None:
    local = [] if is_remote(config.root) else [Path(info.path) for info in infos if not is_remote(info.path)]
    needed = max(_LEAST_DISK, _DISK_FACTOR * sum(path.stat().st_size for path in local))
    nearest = next(each for each in (config.home, *config.home.parents) if each.exists())
    free = shutil.disk_usage(nearest).free
    if free < needed:
        raise DiskError(
            "There is not enough room for the run's artifacts",
            where=str(config.home),
            expected=f"about {needed >> 20} MiB",
            received=f"{free >> 20} MiB free",
            mend="Free some space, or set `root` to a larger disk.",
        )


_CONFIG_RULES: tuple[Callable[[PipelineConfig, schema_pb2.Schema], None], ...] = (
    _label_is_in_schema,
    _label_is_bounded,
    _excluded_are_not_in_schema,
    _model_has_features,
    _monitor_names_features,
    _comparators_fit_features,
    _bounds_fit_task,
    _push_path_can_be_written,
)
_FILE_RULES: tuple[Callable[[FileInfo, PipelineConfig, schema_pb2.Schema], None], ...] = (
    _columns_are_there,
    _types_fit,
)
