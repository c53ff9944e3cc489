"""Where each Beam job of a run or of a look runs, what its workers install, and what is ended with the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from data.spans import Span, Window
from pipeline.beam import (
    DATAFLOW,
    IN_MEMORY_RUNNER,
    BeamArgs,
    Runner,
    beam_args,
    build_package,
    find_target,
    needs_package,
    on_this_machine,
    place,
)
from pipeline.config import PipelineConfig
from pipeline.runners.dataflow import Job, cancel
from pipeline.runners.report import KILLED, NodeReport, RunReport, State, run_folder
from schema.errors import HeadraceError
from storage.places import at

_ASKED_AT_ONCE = 16

Tell = Callable[[HeadraceError | Job, NodeReport], None]
"""Is told of a job that was cancelled, or why it could not be."""


def place_run(config: PipelineConfig, on: Runner | None, window: Window, run_id: str, processes: int) -> BeamArgs:
    """The options of each Beam component's job.

    The package for the workers is built into the run's folder if any component runs elsewhere.

    Args:
        config: Says where the runner is.
        on: None: everything runs on this machine.
        window: Of the run.
        run_id: Of the run.
        processes: The most at once on this machine.

    Raises:
        ConfigError: The configuration does not say where the runner is.
        UsageError: Headrace is installed without its sources, and the workers' image does not hold it.
        NodeError: The package cannot be built.
    """
    window_bytes = bytes_of(window.spans)
    if on is None:
        return on_this_machine(window_bytes, processes)
    target = find_target(config, on)
    eval_bytes = bytes_of([window.eval_span]) if window.eval_span else window_bytes
    is_away = window_bytes >= target.local_below_mib << 20
    package = build_package(run_folder(config.home, run_id)) if is_away and needs_package(target) else None
    return place(config, on, window_bytes, eval_bytes, run_id, package)


def place_look(config: PipelineConfig, on: Runner | None, folder: Path) -> tuple[tuple[str, ...], str | None]:
    """The options of the one job of a look, and a folder that its workers and this machine both see.

    Args:
        config: Says where the runner is.
        on: None: on this machine.
        folder: Where the package for the workers is built, if they need one.

    Raises:
        HeadraceError: As `place_run`.
    """
    if on is None:
        return (IN_MEMORY_RUNNER,), None
    package = build_package(folder) if needs_package(find_target(config, on)) else None
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return beam_args(config, on, "Monitor", stamp, package), f"{config.shared}/scratch"


def end_job(config: PipelineConfig, report: RunReport, node: NodeReport, tell: Tell) -> None:
    """Cancels the Dataflow job of a node that did not end well: it would go on, and cost, with nobody waiting for it.

    Args:
        config: Says where Dataflow is.
        report: Of the run.
        node: Of the node.
        tell: Is told what became of the job, if there was one.
    """
    if report.on != DATAFLOW or not node.log:
        return
    try:
        job = cancel(config, Path(node.log), beam_args(config, DATAFLOW, node.node, report.run_id, None))
    except HeadraceError as error:
        tell(error, node)
    else:
        if job is not None:
            tell(job, node)


def end_jobs_of_killed(config: PipelineConfig, reports: Sequence[RunReport], tell: Tell) -> None:
    """Cancels what the last run has left on Dataflow, if it was killed.

    Args:
        config: Says where Dataflow is.
        reports: Of all runs before this one, oldest first.
        tell: See `end_job`.
    """
    for report in reports[-1:]:
        for node in report.nodes.values() if report.outcome == KILLED else ():
            if node.state is State.CANCELLED:
                end_job(config, report, node, tell)


def bytes_of(spans: Iterable[Span]) -> int:
    """Of all files of some spans, wherever they lie."""
    paths = [path for span in spans for path in span.files]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return sum(pool.map(lambda path: int(at(path).stat().st_size), paths))
