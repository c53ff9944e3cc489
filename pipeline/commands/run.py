"""`headrace run`: preflight, the nodes, the gates' verdicts, what was pushed."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ml_metadata.proto import metadata_store_pb2 as pb

from data.spans import Window, fingerprint
from pipeline.beam import EXAMPLE_GEN, IN_MEMORY_RUNNER, BeamArgs, Runner, taking_over
from pipeline.commands.accept import accepted_findings
from pipeline.config import PipelineConfig
from pipeline.gates.verdict import GateName, Verdict
from pipeline.metadata import History, open_store
from pipeline.preflight_targets import check_target
from pipeline.processes import interruptible, kept_for_good
from pipeline.runners.dataflow import Job
from pipeline.runners.placement import end_job, end_jobs_of_killed, place_run
from pipeline.runners.report import (
    RUNNING,
    NodeReport,
    RunReport,
    State,
    close_killed,
    load_reports,
    run_folder,
)
from pipeline.runners.sharing import receive, share
from pipeline.view import Progress, output_to, show_error, show_verdict
from schema.errors import ExitCode, HeadraceError, LockedError, UsageError
from serving.versions import candidate, find, rolled_back
from storage.errors import explain
from storage.places import at

if TYPE_CHECKING:
    from rich.console import Console
    from upath import UPath

    from pipeline.runners.local import LocalRunner

_RUNNER_LOG = "runner.log"


@dataclass(frozen=True)
class RunOptions:
    """What `headrace run` was asked for."""

    pipeline: str
    accept: str | None = None
    force: frozenset[str] = frozenset()
    from_node: str | None = None
    until_node: str | None = None
    span: int | None = None
    """The span that evaluates, instead of `data.window.newest`."""
    on: Runner | None = None
    """Where the Beam components run; None: on this machine."""
    resumes: str | None = None
    """The run that this one resumes: `accept` means what the gates refused before it."""
    jobs: int = field(default_factory=lambda: max(2, len(os.sched_getaffinity(0))))


def run(console: Console, config: PipelineConfig, options: RunOptions) -> ExitCode:
    """Runs the pipeline and shows it; returns what the process should.

    Raises:
        HeadraceError: The run could not start, or a node failed.
    """
    from pipeline import preflight
    from pipeline.runners.claim import claim_root
    from pipeline.runners.lock import recover, run_lock, shared_lock

    started = time.monotonic()
    if options.span is not None:
        config = with_newest(config, options.span)
    window = preflight.check(config)
    if options.on is not None:
        check_target(config, options.on)
    if config.data.window is not None:
        config = with_newest(config, window.number)  # so that a span that arrives from now on changes nothing
    with run_lock(config.home), shared_lock(config.metadata, config.name) as confirm:
        close_killed(config.home)
        claim_root(config)
        run_id = _new_run(config.home)
        with output_to(run_folder(config.home, run_id) / _RUNNER_LOG):
            history = History(open_store(config.home, config.metadata), config.name)
            interrupted = recover(history, at(config.artifacts))
            if interrupted:
                console.print(f"The last run was interrupted in {', '.join(interrupted)}; finished nodes are kept.")
            receive(config)
            reports = load_reports(config.home)
            tell = partial(_tell_of_job, console)
            end_jobs_of_killed(config, reports, tell)
            console.print(f"{config.name}: {window.describe()}")
            runner = _runner(config, options, run_id, reports, history)
            runner.report.spans = _contents(window, options)
            runner.report.on = options.on or ""
            placed = place_run(config, options.on, window, run_id, options.jobs)
            runner.beam_args = placed if EXAMPLE_GEN in runner.forced else taking_over(placed)
            if options.on is not None:
                console.print(_placed(options.on, placed), markup=False, soft_wrap=True)
            runner.abandon = partial(end_job, config, runner.report, tell=tell)
            runner.confirm = confirm
            return _execute(console, config, options, runner, history, started)


def _execute(
    console: Console,
    config: PipelineConfig,
    options: RunOptions,
    runner: LocalRunner,
    history: History,
    started: float,
) -> ExitCode:
    """Runs the nodes; however that ends, the report says so."""
    from pipeline.runners.lock import recover

    try:
        with Progress(console) as progress, interruptible():
            runner.watch = progress
            runner.run()
    except LockedError as error:  # another machine has the run's lock by now, and perhaps its own run
        runner.report.error = str(error)
        _close(runner.report, config.home, "failed", started)
        raise
    except KeyboardInterrupt:
        runner.confirm()
        recover(history, at(config.artifacts))
        _close(runner.report, config.home, "interrupted", started)
        resume = f"headrace resume {shlex.quote(options.pipeline)}"
        console.print(f"Interrupted. Finished nodes are kept: {resume} goes on from there.")
        _share(console, config, runner.report)
        return ExitCode.INTERRUPTED
    try:
        return _conclude(console, config, options, runner, history, started)
    except BaseException:
        if runner.report.outcome == RUNNING:  # the metadata server is gone, say
            _close(runner.report, config.home, "failed", started)
        raise


def with_newest(config: PipelineConfig, span: int) -> PipelineConfig:
    """The configuration with the span that evaluates fixed.

    Raises:
        UsageError: The data has no window of spans.
    """
    if config.data.window is None:
        raise UsageError(
            f"There is no span {span}",
            where="--span",
            expected="a pipeline with data.window",
            received="data.split: the rows are divided by a hash, not by time",
            mend="Run it without --span.",
        )
    window = config.data.window.model_copy(update={"newest": span})
    return config.model_copy(update={"data": config.data.model_copy(update={"window": window})})


def _contents(window: Window, options: RunOptions) -> dict[int, str]:
    """The fingerprint of each span's content; nothing for a run of some nodes, which may not have read them."""
    if window.eval_span is None or options.from_node or options.until_node:
        return {}
    return {span.number: fingerprint([span]) for span in window.spans}


def _forced(options: RunOptions, history: History, reports: list[RunReport]) -> dict[str, str]:
    """The nodes that the cache must not answer for, with the reason of each."""
    forced = {}
    pushed = history.pushed()
    if pushed and find(*_pushed_where(pushed[-1])) is None:  # rolled back is not gone: it is not pushed again
        forced["Pusher"] = "the pushed version is gone"
    last = history.verdicts_of_run(reports[-1].run_id) if reports else []
    if options.accept is None and any(each.gate is GateName.INFRA and not each.passed for each in last):
        forced["InfraValidator"] = "the infra gate failed: time and memory are measured again"
    return forced | dict.fromkeys(options.force, "forced")


def _runner(
    config: PipelineConfig,
    options: RunOptions,
    run_id: str,
    reports: list[RunReport],
    history: History,
) -> LocalRunner:
    with kept_for_good():
        from pipeline.dag import build_pipeline
        from pipeline.runners.compile import compile_pipeline, mark_partial
        from pipeline.runners.local import LocalRunner, new_report

    resumed = (number for number, each in enumerate(reports) if each.run_id == options.resumes)
    accepted = accepted_findings(history, reports[: next(resumed, len(reports))], options.accept)
    forced = _forced(options, history, reports)
    compiled = compile_pipeline(build_pipeline(config, accepted), run_id)
    nodes = [each.pipeline_node.node_info.id for each in compiled.nodes]
    named = [*options.force, *filter(None, (options.from_node, options.until_node))]
    for node in named:
        if node not in nodes:
            raise UsageError(f"There is no node {node!r}", expected=f"one of {', '.join(nodes)}")
    if options.from_node or options.until_node:
        mark_partial(compiled, options.from_node, options.until_node, reports)
    report = new_report(compiled, run_id, sys.argv[1:])
    return LocalRunner(
        compiled, report, config.home, {}, forced, options.jobs, watch=lambda report: None, abandon=lambda node: None
    )


def _placed(on: Runner, placed: BeamArgs) -> str:
    away = [node for node, args in placed.items() if IN_MEMORY_RUNNER not in args]
    here = [node for node in placed if node not in away]
    told = f"On {on}: {', '.join(away) or 'nothing'}."
    if here:
        told += f" Here, since their input is smaller than targets.{on}.local_below_mib: {', '.join(here)}."
    return told


def _tell_of_job(console: Console, outcome: HeadraceError | Job, node: NodeReport) -> None:
    if isinstance(outcome, HeadraceError):
        show_error(console, outcome)
    else:
        console.print(f"The Dataflow job {outcome.id} of {node.node} was cancelled.")


def _conclude(
    console: Console,
    config: PipelineConfig,
    options: RunOptions,
    runner: LocalRunner,
    history: History,
    started: float,
) -> ExitCode:
    """Shows the verdicts and how the run ended."""
    report = runner.report
    verdicts = history.verdicts_of_run(report.run_id)
    console.print()
    for verdict in verdicts:
        show_verdict(console, verdict, options.pipeline)
    closed = [verdict for verdict in verdicts if not verdict.passed]
    code = _exit_code(runner, closed)
    report.error = "; ".join(str(error) for error in runner.errors.values())
    report.seconds = time.monotonic() - started
    if code is ExitCode.OK:
        outcome, report.headline = "succeeded", _pushed_line(config, history, report)
    elif closed:  # also if a node beside the gate failed, on the same model perhaps: nothing is pushed either way
        gates = " and the ".join(verdict.gate.value for verdict in closed)
        outcome = "stopped"
        report.headline = f"Stopped by the {gates} gate after {report.seconds:.0f} s; nothing was pushed."
    else:
        outcome, report.headline = "failed", report.error
    _close(report, config.home, outcome, started)
    for error in runner.errors.values():
        show_error(console, error)
    if report.headline and outcome != "failed":
        console.print(report.headline, markup=False, soft_wrap=True)  # a reason may hold [brackets]
    console.print(f"Logs: {run_folder(config.home, report.run_id)}")
    _share(console, config, report)
    return code


def _exit_code(runner: LocalRunner, closed: list[Verdict]) -> ExitCode:
    if closed:
        return closed[0].gate.exit_code
    if runner.errors:
        return next(iter(runner.errors.values())).exit_code
    idle = [node.node for node in runner.report.nodes.values() if node.state in (State.WAITING, State.BLOCKED)]
    return ExitCode.NODE if idle else ExitCode.OK


def _pushed_line(config: PipelineConfig, history: History, report: RunReport) -> str:
    pusher = report.nodes["Pusher"]
    if pusher.state not in (State.DONE, State.CACHED):
        return f"Done in {report.seconds:.0f} s; nothing was to be pushed."
    [artifact] = history.artifacts(pusher.execution_id, pb.Event.OUTPUT)["pushed_model"]
    base_path, version = _pushed_where(artifact)
    mark, trial = rolled_back(base_path).get(version), candidate(base_path)
    if mark is not None:
        return (
            f"Not pushed: this model is version {version}, which was rolled back ({mark.reason}). To bring it back: "
            f"headrace promote {config.argument} {version}. Done in {report.seconds:.0f} s."
        )
    place, seconds = f"version {version} in {base_path}", f"{report.seconds:.0f} s"
    tried = " It is tried on a share of the traffic." if trial is not None and trial.version == version else ""
    if pusher.state is State.DONE and artifact.custom_properties["is_new"].int_value:
        return f"Pushed {place} in {seconds}.{tried}"
    return f"Nothing new to push: this model is {place}.{tried} Done in {seconds}."


def _pushed_where(artifact: pb.Artifact) -> tuple[UPath, int]:
    """The base path and the version of a PushedModel, whatever its folder is called by now."""
    facts = artifact.custom_properties
    return at(facts["pushed_destination"].string_value).parent, int(facts["pushed_version"].string_value)


def _close(report: RunReport, home: Path, outcome: str, started: float) -> None:
    report.outcome, report.seconds = outcome, time.monotonic() - started
    report.save(home)


def _share(console: Console, config: PipelineConfig, report: RunReport) -> None:
    """Puts the run's report and logs where other machines look for them. A run does not fail for want of that."""
    try:
        share(config, report)
    except Exception as error:  # each store has its own classes of errors
        told = explain(error, config.shared)
        if told is None:
            raise
        console.print(f"The logs could not be copied to {config.shared}: {told.what}.", markup=False, soft_wrap=True)


def _new_run(home: Path) -> str:
    """A run id that sorts by time, and its folder."""
    while True:
        run_id = datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        try:
            run_folder(home, run_id).mkdir(parents=True)
        except FileExistsError:
            continue
        return run_id
