"""`headrace compile`: writes what Vertex AI Pipelines, Kubeflow Pipelines or Apache Airflow run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rich.console import Console

from pipeline.beam import Runner
from pipeline.config import PipelineConfig
from pipeline.gates.verdict import GateName, Outcome
from pipeline.runners.submission import Platform, kubeflow_files, vertex_files
from pipeline.targets import KubeflowTarget, VertexTarget
from pipeline.view import output_to
from schema.errors import ExitCode, UsageError
from serving.deploy.write import write_files
from storage.places import at

if TYPE_CHECKING:
    from pipeline.dag import Accepted


@dataclass(frozen=True)
class CompileOptions:
    """What `headrace compile` was asked for."""

    platform: Platform | Literal["airflow"]
    output: str | None = None
    """The folder; None: `compiled/PIPELINE-PLATFORM`. For Airflow, its `dags` folder: the pipeline gets one in it."""
    force: bool = False
    """Whether to replace files that someone else wrote or edited."""
    accept: str | None = None
    """A reason to accept what the gates of `run` refused."""
    run: str | None = None
    """The folder of a run on the platform, as its exit step prints it."""
    schedule: str | None = None
    """For Airflow: a cron expression or a preset such as `@daily`; None: only when it is triggered."""
    on: Runner | None = None
    """For Airflow: where the Beam components run; None: in their tasks."""


def compile_for(console: Console, config: PipelineConfig, options: CompileOptions) -> ExitCode:
    """Writes the files of one platform into a folder: all or none.

    Raises:
        ConfigError: Something that the containers need is missing, or is only on this machine.
        SchemaError: The schema is missing or wrong.
        UsageError: There is nothing to accept, or the folder holds files of someone else.
    """
    if options.platform == "airflow":
        return _write_dag(console, config, options)
    if options.schedule is not None or options.on is not None:
        raise UsageError(
            f"{options.platform} is not told when and where on the command line",
            where="--schedule and --on",
            expected="--for airflow",
            mend=f"Say it in the pipeline's YAML: targets.{options.platform}.schedule and .beam.",
        )
    folder = Path(options.output or f"compiled/{config.name}-{options.platform}")
    with output_to(Path(os.devnull)):
        files = _files(config, options.platform, accepted_findings(options))
    written = write_files(folder, files, options.force)
    changed = ", ".join(name for name in written.written if name in files)
    console.print(f"Written to {folder}: {changed or 'nothing new'}", markup=False, soft_wrap=True)
    console.print(f"How to run it: {folder / 'README.md'}", markup=False, soft_wrap=True)
    return ExitCode.OK


def _write_dag(console: Console, config: PipelineConfig, options: CompileOptions) -> ExitCode:
    """Each pipeline has a folder of its own, since what is in a folder is written, and forgotten, together."""
    from pipeline.runners.airflow import dag_files

    if options.accept is not None or options.run is not None:
        raise UsageError(
            "A run on Airflow is accepted like one on this machine: they share ML Metadata",
            where="--accept and --run",
            mend=f"Use `headrace run {config.argument} --accept REASON`; Airflow's next run heeds it, too.",
        )
    folder = Path(options.output or f"compiled/{config.name}-airflow", f"headrace_{config.name}")
    with output_to(Path(os.devnull)):
        files = dag_files(config, options.schedule, options.on)
    written = write_files(folder, files, options.force)
    changed = ", ".join(name for name in written.written if name in files)
    console.print(f"Written to {folder}: {changed or 'nothing new'}", markup=False, soft_wrap=True)
    console.print("Airflow reads the folder from anywhere below its dags folder.", markup=False, soft_wrap=True)
    return ExitCode.OK


def _files(config: PipelineConfig, platform: Platform, accepted: Accepted) -> dict[str, str]:
    from pipeline.runners.kubeflow import compile_job, find_target

    target = find_target(config, platform)
    job = compile_job(config, platform, accepted)
    if platform == "vertex":
        return vertex_files(config, cast(VertexTarget, target), job)
    return kubeflow_files(config, cast(KubeflowTarget, target), job)


def accepted_findings(options: CompileOptions) -> Accepted:
    """What the gates of a run refused, by gate and key: exactly those findings, with exactly those values.

    Raises:
        UsageError: There is nothing to accept, or the reason or the run is not said.
    """
    if options.accept is None and options.run is None:
        return {}
    if options.run is None or not (options.accept or "").strip():
        raise UsageError(
            "What is accepted, and why, is not said",
            where="--accept and --run",
            expected="both: a reason, and the folder of the run that a gate has stopped",
        )
    from pipeline.components.gate_report import find_verdicts

    reason = str(options.accept).strip()
    verdicts = find_verdicts(at(options.run))
    accepted: dict[GateName, dict[str, str]] = {verdict.gate: dict(verdict.accepted) for verdict in verdicts}
    refused = [
        (verdict.gate, finding)
        for verdict in verdicts
        for finding in verdict.findings
        if finding.outcome is Outcome.FAILED
    ]
    if not refused:
        raise UsageError(
            "There is nothing to accept",
            where=options.run,
            expected="the folder of a run that a gate has stopped, as its last step, GateReport, prints it",
            received=f"{len(verdicts)} verdicts, none of which stopped the run",
        )
    for gate, finding in refused:
        accepted[gate][finding.key] = reason
    return accepted
