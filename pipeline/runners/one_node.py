"""One node of a run that another orchestrator keeps, such as Airflow: what it starts for each node.

    python -m pipeline.runners.one_node PIPELINE --node NODE --run RUN

The node runs as under the local runner, through TFX's launcher, cache and conditions, and is told in the same reports:
`headrace status`, `why` and `run --accept` see these runs. Its log is copied to standard output as it grows. A gate
that does not pass ends with its exit code, so that the orchestrator stops there, too.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from data.spans import find_window
from pipeline.beam import (
    EVAL_NODES,
    IN_MEMORY,
    RUNNERS,
    WINDOW_NODES,
    Runner,
    beam_args,
    build_package,
    find_target,
    needs_package,
    taking_over,
)
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.dag import build_pipeline
from pipeline.gates.verdict import Verdict
from pipeline.metadata import History, open_store
from pipeline.processes import interruptible
from pipeline.runners.claim import claim_root
from pipeline.runners.compile import compile_pipeline
from pipeline.runners.dataflow import Job
from pipeline.runners.joint_report import JointReport, join_report, lock_file
from pipeline.runners.local import LocalRunner, new_report
from pipeline.runners.placement import bytes_of, end_job
from pipeline.runners.report import OTHERS_RUN, NodeReport, RunReport, State, run_folder
from pipeline.runners.sharing import share
from schema.errors import ExitCode, HeadraceError, UsageError
from storage.locks import alone
from storage.places import at

MODULE = "pipeline.runners.one_node"

_PACKAGE_LOCK = "package.lock"


def main(arguments: Sequence[str]) -> ExitCode:
    """Runs the node that the command line names; a user's mistake is shown in one paragraph."""
    parser = argparse.ArgumentParser(prog=MODULE)
    parser.add_argument("pipeline")
    parser.add_argument("--node", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--on", choices=RUNNERS)
    given = parser.parse_args(arguments)
    try:
        with interruptible():
            return run_node(load_config(find_config(given.pipeline)), given.node, given.run, given.on)
    except HeadraceError as error:
        print(f"Error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def run_node(config: PipelineConfig, node_id: str, run: str, on: Runner | None = None) -> ExitCode:
    """Runs one node.

    Args:
        config: The pipeline.
        node_id: Of which node.
        run: The orchestrator's name of the run: the same for all its nodes, another for each run.
        on: Where the node runs if it is a Beam component; None: here.

    Returns:
        The gate's exit code if the node is a gate that did not pass, else OK.

    Raises:
        UsageError: There is no such node.
        HeadraceError: The node failed, or it stands behind a gate that did not pass.
        KeyboardInterrupt: On Ctrl-C or SIGTERM, after the node and its job elsewhere have been ended.
    """
    run_id = OTHERS_RUN + re.sub(r"[^A-Za-z0-9_-]+", "-", run)
    claim_root(config)
    history = History(open_store(config.home, config.metadata), config.name)
    compiled = compile_pipeline(build_pipeline(config, history.accepted()), run_id)
    whole = new_report(compiled, run_id, ["compile", config.argument, "--for", "airflow"])
    whole.on = on or ""
    if node_id not in whole.nodes:
        raise UsageError(f"There is no node {node_id!r}", expected=f"one of {', '.join(whole.nodes)}")
    report = join_report(config.home, whole, node_id, partial(history.verdicts_of_run, run_id))
    copy = _Copy(run_folder(config.home, run_id) / f"{node_id}.log")
    with tempfile.TemporaryDirectory(prefix="headrace-") as for_workers:
        args = _place(config, on, node_id, run_id, Path(for_workers))
        abandon = partial(end_job, config, report, tell=_tell_of_job)
        placed = taking_over({node_id: args})
        runner = LocalRunner(compiled, report, config.home, placed, {}, 1, watch=copy, abandon=abandon)
        runner.run()
    _share(config, report)
    if runner.errors:
        raise runner.errors[node_id]
    node = report.nodes[node_id]
    print(f"{node_id} {node.state.value}: {node.reason}")
    if node.state is State.BLOCKED:
        raise UsageError(f"{node_id} was not to run: {node.reason}")
    return _verdict(history, node.execution_id)


class _Copy:
    """Copies to standard output what a log has grown by.

    Args:
        log: The file; what it holds already is an earlier attempt's.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._copied = log.stat().st_size if log.exists() else 0

    def __call__(self, report: RunReport) -> None:
        if self.log.exists():
            with self.log.open("rb") as lines:
                lines.seek(self._copied)
                shutil.copyfileobj(lines, sys.stdout.buffer)
                self._copied = lines.tell()
            sys.stdout.flush()


def _place(config: PipelineConfig, on: Runner | None, node_id: str, run_id: str, folder: Path) -> tuple[str, ...]:
    """The options of the node's job, if it is a Beam component; what workers install is built into the folder.

    One process builds at a time: the build has files of its own among the project's.
    """
    if node_id not in (*WINDOW_NODES, *EVAL_NODES):
        return ()
    if on is None:
        return IN_MEMORY
    target, window = find_target(config, on), find_window(config.data)
    spans = (window.eval_span,) if window.eval_span and node_id in EVAL_NODES else window.spans
    if bytes_of(spans) < target.local_below_mib << 20:
        return IN_MEMORY
    if not needs_package(target):
        return beam_args(config, on, node_id, run_id, None)
    with alone(config.home / _PACKAGE_LOCK):
        return beam_args(config, on, node_id, run_id, build_package(folder))


def _share(config: PipelineConfig, report: JointReport) -> None:
    """Puts the report where other machines look, once the run has ended. A node does not fail for want of that."""
    if report.outcome == "running":
        return
    try:
        with alone(lock_file(config.home, report.run_id)):
            share(config, report)
    except Exception as error:  # each store has its own classes of errors
        print(f"The logs could not be copied to {config.shared}: {error}")


def _tell_of_job(outcome: HeadraceError | Job, node: NodeReport) -> None:
    told = outcome if isinstance(outcome, HeadraceError) else f"The Dataflow job {outcome.id} was cancelled."
    print(f"{node.node}: {told}")


def _verdict(history: History, execution_id: int) -> ExitCode:
    """Tells the verdict that an execution reached, if it is a gate's."""
    for artifact in history.artifacts(execution_id, pb.Event.OUTPUT).get("verdict", []):
        verdict = Verdict.load(at(artifact.uri))
        print(f"{verdict.gate.value} gate: {verdict.outcome.value} ({verdict.summary})")
        for each in verdict.findings:
            print(
                f"  {each.outcome.value}: {each.check}, {each.where}: {each.value} ({each.bound}) {each.mend}".rstrip()
            )
        if not verdict.passed:
            return verdict.gate.exit_code
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(int(main(sys.argv[1:])))
