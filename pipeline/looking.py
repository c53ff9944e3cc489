"""One look at a served model: where its log, its spans and its reference are, and what they say."""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upath import UPath

from data.columns import ARROW_TYPES
from monitoring.checks import require_comparators
from monitoring.collect import CollectPlan, collect, partitions_of
from monitoring.config import require_features
from monitoring.evidence import Evidence
from monitoring.join import JoinPlan
from monitoring.judge import JudgePlan
from monitoring.logs import find_logs
from monitoring.policy import Situation, decide
from monitoring.problems import Problems
from monitoring.reference import REFERENCE, Reference
from monitoring.report import Report, ServerHealth
from monitoring.server_metrics import Snapshot, health, read
from pipeline.beam import IN_MEMORY_RUNNER
from pipeline.config import PipelineConfig
from pipeline.reports import monitor_folder
from pipeline.tables import label_tables, span_tables
from schema.contract import load_schema
from schema.errors import DataError, UsageError
from serving.versions import PROVENANCE, candidate, logged_as, read_manifest, versions
from storage.places import at

SCHEMA_FILE = "schema.pbtxt"
_EVIDENCE_FILE = "evidence.json"
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
    schema_path: UPath
    others: tuple[int, ...]
    """All versions in the push path."""


def look(
    config: PipelineConfig,
    options: LookOptions,
    beam_args: tuple[str, ...] = (IN_MEMORY_RUNNER,),
    scratch: str | None = None,
) -> Report:
    """Looks once.

    Args:
        config: The pipeline.
        options: What is looked at.
        beam_args: Where Beam runs; the runner is always named.
        scratch: A folder that this machine and Beam's workers both see, such as the runner's `temp_location`, for what
            they find; None if the workers are on this machine.

    Raises:
        UsageError: Nothing is pushed, or the version does not exist.
        ConfigError: The configuration names a column that the model does not have.
        DataError: The version has no reference, the log's folder cannot be listed, or no file is there that
            `options.labels` names.
        SchemaError: A comparator in the schema does not fit its feature.
    """
    served = find_served(config, options.version)
    reference = served.reference
    require_features(config.monitor, [each for each in reference.profile.features if each.name != reference.label])
    folder = monitor_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    evidence = _gather(config, options, served, beam_args, scratch)
    now = time.time()
    server = _server_health(config, folder, now)
    pushed_at = served.manifest.get("pushed_at")
    pushed_at = float(pushed_at) if isinstance(pushed_at, (int, float)) else None
    earlier = tuple(version for version in served.others if version < served.version)
    decision = decide(
        evidence,
        Situation(now, served.version, pushed_at, earlier, server, config.data.window is not None),
        config.monitor,
    )
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
    base = at(config.push.path)
    pushed = versions(base)
    if not pushed:
        raise UsageError("Nothing is pushed yet", where=str(base), mend=f"Run it first: headrace run {config.argument}")
    if version is not None and version not in pushed:
        known = ", ".join(map(str, pushed))
        raise UsageError(f"There is no version {version}", where=str(base), expected=f"one of {known}")
    chosen = version if version is not None else pushed[-1]
    provenance = base / str(chosen) / PROVENANCE
    reference = Reference.load(provenance / REFERENCE)
    return Served(chosen, reference, read_manifest(base / str(chosen)), provenance / SCHEMA_FILE, tuple(pushed))


def _gather(
    config: PipelineConfig, options: LookOptions, served: Served, beam_args: tuple[str, ...], scratch: str | None
) -> Evidence:
    reference, monitor = served.reference, config.monitor
    log_folder = options.log or (config.serve.request_log.path if config.serve.request_log else None)
    logs = find_logs(log_folder, config.name) if log_folder else []
    if options.log is not None and not logs and not at(options.log).is_dir():
        raise DataError("There is no such folder of request logs", where=options.log)
    log_bytes = sum(file.bytes for file in logs)
    features = tuple(each for each in reference.profile.features if each.name != reference.label)
    [label] = [each for each in reference.profile.features if each.name == reference.label]
    share = min(1.0, _ROWS_TO_KEEP / max(log_bytes / _BYTES_OF_A_ROW, 1))
    base_path = at(config.push.path)
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
    schema = load_schema(served.schema_path)
    require_comparators(schema, reference.profile.features)  # an error that is raised within Beam loses its type
    judging = JudgePlan(reference, served.version, monitor, schema.SerializeToString())
    types = {feature.name: ARROW_TYPES[feature.type] for feature in schema.feature}
    problems = Problems()
    if log_folder is not None and not logs:
        problems.add("no request was logged yet", log_folder)
    has_labels = options.labels is not None or monitor.labels is not None
    tables = [
        *span_tables(config, reference, types, problems, has_labels=has_labels),
        *label_tables(config, options.labels, label.name, types, problems),
    ]
    plan = CollectPlan(
        features=features,
        label=label,
        bins=reference.profile.bins,
        version=served.version,
        versions=logged_as(base_path),
        window_seconds=int(monitor.window_hours * 3600),
        event_time=monitor.event_time,
        share=share,
        join=join,
        partitions=partitions_of(log_bytes, tables),
    )
    with _folder_below(scratch) as folder:
        output = folder / _EVIDENCE_FILE
        collect(logs, tables, plan, judging, str(output), beam_args)
        evidence = Evidence.model_validate_json(output.read_text(encoding="utf-8"))
    return evidence.model_copy(update={"problems": (*problems.found(), *evidence.problems)})


@contextmanager
def _folder_below(scratch: str | None) -> Iterator[UPath]:
    """A folder of its own for as long as the context lasts; None: on this machine."""
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix="headrace-") as name:
            yield at(name)
        return
    folder = at(scratch) / f"look-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        if folder.exists():  # a store has no empty folders
            folder.rmdir(recursive=True)


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
