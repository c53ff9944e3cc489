"""One look at a served model: where its log, its spans and its reference are, and what they say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.config import SourceConfig
from data.encoding import ARROW_TYPES
from data.readers import inspect
from data.spans import find_spans
from models.features import Feature, Role
from monitoring.collect import CollectPlan, TableBlock, collect, partitions_of
from monitoring.evidence import Evidence
from monitoring.join import JoinPlan
from monitoring.judge import JudgePlan
from monitoring.logs import LogFile, find_logs
from monitoring.policy import Situation, decide
from monitoring.reference import REFERENCE, Reference
from monitoring.report import Report, ServerHealth
from monitoring.server_metrics import Snapshot, health, read
from pipeline.beam import IN_MEMORY_RUNNER
from pipeline.config import PipelineConfig
from pipeline.reports import monitor_folder
from schema.contract import load_schema
from schema.errors import ConfigError, DataError, UsageError
from serving.versions import PROVENANCE, candidate, logged_as, read_manifest, require_local, versions

SCHEMA_FILE = "schema.pbtxt"
_EVIDENCE_FILE = ".evidence.json"
_SERVER_FILE = "server.json"
_ROWS_TO_KEEP = 50_000
_BYTES_OF_A_ROW = 600
_METRICS_PATH = "monitoring/prometheus/metrics"
_METRICS_SECONDS = 2.0


@dataclass(frozen=True)
class LookOptions:
    """What is looked at; None for what the configuration says."""

    version: int | None = None
    log: str | None = None
    """A folder of PredictionLogs."""
    labels: str | None = None
    """A glob of Parquet or CSV files with the identifier and the label."""


@dataclass(frozen=True)
class Served:
    """The version that is judged."""

    version: int
    reference: Reference
    manifest: dict[str, Any]
    schema_path: Path
    others: tuple[int, ...]
    """All versions in the push path."""


def look(config: PipelineConfig, options: LookOptions, beam_args: tuple[str, ...] = (IN_MEMORY_RUNNER,)) -> Report:
    """Looks once.

    Args:
        config: The pipeline.
        options: What is looked at.
        beam_args: Where Beam runs; the runner is always named.

    Raises:
        UsageError: Nothing is pushed, or the version does not exist.
        ConfigError: The configuration names a column that the model does not have.
        DataError: The version has no reference, or a source cannot be listed.
        SchemaError: A comparator in the schema does not fit its feature.
    """
    served = find_served(config, options.version)
    reference = served.reference
    _require_columns(config, reference)
    folder = monitor_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    evidence = _gather(config, options, served, folder, beam_args)
    now = time.time()
    server = _server_health(config, folder, now)
    pushed_at = served.manifest.get("pushed_at")
    earlier = tuple(version for version in served.others if version < served.version)
    decision = decide(evidence, Situation(now, pushed_at, earlier, server), config.monitor)
    return Report(
        pipeline=config.name,
        version=served.version,
        window=str(served.manifest.get("window", "unknown")),
        created=now,
        start=evidence.start,
        end=evidence.end,
        rows=evidence.rows,
        decision=decision,
        checks=evidence.checks,
        quality=evidence.quality,
        volumes=evidence.volumes,
        server=server,
        versions=evidence.versions,
        problems=evidence.problems,
    )


def find_served(config: PipelineConfig, version: int | None) -> Served:
    """The version to judge (the newest unless told), with what travels with it.

    Raises:
        UsageError: Nothing is pushed, or the version does not exist.
        DataError: It has no reference.
    """
    base = require_local(config.push.path)
    pushed = versions(base)
    if not pushed:
        raise UsageError("Nothing is pushed yet", where=str(base), mend=f"Run it first: headrace run {config.name}")
    if version is not None and version not in pushed:
        known = ", ".join(map(str, pushed))
        raise UsageError(f"There is no version {version}", where=str(base), expected=f"one of {known}")
    chosen = version if version is not None else pushed[-1]
    provenance = base / str(chosen) / PROVENANCE
    reference = Reference.load(provenance / REFERENCE)
    return Served(chosen, reference, read_manifest(base / str(chosen)), provenance / SCHEMA_FILE, tuple(pushed))


def _require_columns(config: PipelineConfig, reference: Reference) -> None:
    known = [feature.name for feature in reference.profile.features]
    named = {
        "monitor.identifier": config.monitor.identifier,
        "monitor.slices": config.monitor.slices,
        "monitor.event_time": (config.monitor.event_time,) if config.monitor.event_time else (),
    }
    for key, names in named.items():
        for name in names:
            if name not in known or name == reference.label:
                raise ConfigError(
                    f"The model has no feature {name!r}", where=key, expected=f"some of {', '.join(sorted(known))}"
                )
    times = {feature.name for feature in reference.profile.features if feature.role is Role.TIME}
    if config.monitor.event_time and config.monitor.event_time not in times:
        raise ConfigError(
            f"The feature {config.monitor.event_time!r} is no time",
            where="monitor.event_time",
            expected=f"one of {', '.join(sorted(times))}" if times else "a feature with a time_domain in the schema",
        )


def _gather(
    config: PipelineConfig, options: LookOptions, served: Served, folder: Path, beam_args: tuple[str, ...]
) -> Evidence:
    reference, monitor = served.reference, config.monitor
    log_folder = options.log or (config.serve.request_log.path if config.serve.request_log else None)
    logs = find_logs(log_folder, config.name) if log_folder else []
    log_bytes = sum(_size(file) for file in logs)
    features = tuple(each for each in reference.profile.features if each.name != reference.label)
    [label] = [each for each in reference.profile.features if each.name == reference.label]
    share = min(1.0, _ROWS_TO_KEEP / max(log_bytes / _BYTES_OF_A_ROW, 1))
    base_path = Path(config.push.path)
    trial = candidate(base_path)
    join = JoinPlan(
        monitor.identifier,
        features,
        reference.label,
        monitor.slices,
        reference.task,
        served.version,
        share,
        losses_since=trial.since if trial is not None else 0.0,
    )
    plan = CollectPlan(
        features,
        label,
        reference.profile.bins,
        served.version,
        logged_as(base_path),
        int(monitor.window_hours * 3600),
        monitor.event_time,
        share,
        join,
        partitions_of(log_bytes),
    )
    schema = load_schema(served.schema_path)
    judging = JudgePlan(reference, served.version, monitor, schema.SerializeToString())
    types = {feature.name: ARROW_TYPES[feature.type] for feature in schema.feature}
    tables = [*_spans(config, served, features, types), *_labels(config, options, label, types)]
    output = folder / _EVIDENCE_FILE
    collect(logs, tables, plan, judging, output, beam_args)
    evidence = Evidence.model_validate_json(output.read_text(encoding="utf-8"))
    output.unlink()
    return evidence


def _size(file: LogFile) -> int:
    try:
        return file.path.stat().st_size
    except FileNotFoundError:  # still open, or just renamed
        return 0


def _spans(
    config: PipelineConfig, served: Served, features: tuple[Feature, ...], types: dict[str, Any]
) -> Iterator[TableBlock]:
    """The spans that arrived since, and, to join, those that the version was trained and evaluated on."""
    reference = served.reference
    own = set(reference.profile.spans.tolist())
    for span in find_spans(config.data.source):
        is_new = config.data.window is not None and span.number > reference.profile.newest_span
        is_joined = bool(config.monitor.identifier) and (is_new or span.number in own)
        if not is_new and not is_joined:
            continue
        for path in span.files:
            yield from _blocks(
                path,
                config.data.source,
                (*(each.name for each in features), reference.label),
                types,
                span=span.number if is_new else None,
                is_joined=is_joined,
                required=tuple(drop.missing for drop in config.data.drop),
            )


def _labels(
    config: PipelineConfig, options: LookOptions, label: Feature, types: dict[str, Any]
) -> Iterator[TableBlock]:
    """The labels that arrive by themselves."""
    source = config.monitor.labels
    if options.labels is not None:
        given = SourceConfig(format="csv" if options.labels.endswith(".csv") else "parquet", path=options.labels)
    elif source is not None:
        given = SourceConfig(format=source.format, path=source.path)
    else:
        return
    if not config.monitor.identifier:
        raise ConfigError(
            "Labels cannot be joined with requests",
            where="monitor.identifier",
            expected="the columns that together identify a row",
            received="none",
        )
    columns = (*config.monitor.identifier, label.name)
    for span in find_spans(given):
        for path in span.files:
            yield from _blocks(path, given, columns, types, span=None, is_joined=True, required=())


def _blocks(
    path: str, source: SourceConfig, columns: tuple[str, ...], types: dict[str, Any], **told: Any
) -> Iterator[TableBlock]:
    info = inspect(path, source.format, types)
    present = [*dict.fromkeys(name for name in (*columns, *told["required"]) if name in info.columns)]
    needed = [name for name in (columns if told["span"] is None else ()) if name not in present]
    if needed and told["is_joined"] and told["required"] == ():
        raise DataError("A table of labels lacks columns", where=path, expected=", ".join(needed))
    told = {**told, "required": tuple(name for name in told["required"] if name in present)}
    for block in info.blocks:
        yield TableBlock(block, tuple(present), types, **told)


def _server_health(config: PipelineConfig, folder: Path, now: float) -> ServerHealth | None:
    """What the server's metrics say since the last look; None if it does not answer."""
    url = config.monitor.metrics_url
    if url is None and config.serve.rest_port:
        host = "127.0.0.1" if config.serve.host in ("", "0.0.0.0", "::") else config.serve.host  # noqa: S104 - not bound
        url = f"http://{host}:{config.serve.rest_port}/{_METRICS_PATH}"
    if url is None:
        return None
    snapshot = read(url, _METRICS_SECONDS)
    if isinstance(snapshot, str):
        return None
    path = folder / _SERVER_FILE
    before, seconds = _last_snapshot(path, now)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"time": now, "snapshot": snapshot.model_dump()}), encoding="utf-8")
    unfinished.replace(path)
    return health(snapshot, before, seconds, config.name)


def _last_snapshot(path: Path, now: float) -> tuple[Snapshot | None, float | None]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Snapshot.model_validate(kept["snapshot"]), now - float(kept["time"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
