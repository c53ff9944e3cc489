"""One node of a run that another orchestrator keeps, such as Airflow: what it starts for each node.

    python -m pipeline.runners.one_node PIPELINE --node NODE --run RUN

The node runs as under the local runner, through TFX's launcher, cache and conditions; all output goes to standard
output. A gate that does not pass ends with its exit code, so that the orchestrator stops there, too.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from multiprocessing import Pipe

from ml_metadata.proto import metadata_store_pb2 as pb

from data.spans import find_window
from pipeline.beam import RUNNERS, Runner
from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.dag import build_pipeline
from pipeline.gates.verdict import Verdict
from pipeline.metadata import History, open_store
from pipeline.runners.child import NodeResult, run_in_child
from pipeline.runners.compile import compile_pipeline
from pipeline.runners.lock import OTHERS_RUN
from pipeline.runners.placement import place_run
from pipeline.runners.report import State, run_folder
from schema.errors import ExitCode, HeadraceError, UsageError
from storage.places import at

MODULE = "pipeline.runners.one_node"


def main(arguments: Sequence[str]) -> ExitCode:
    """Runs the node that the command line names; a user's mistake is shown in one paragraph."""
    parser = argparse.ArgumentParser(prog=MODULE)
    parser.add_argument("pipeline")
    parser.add_argument("--node", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--on", choices=RUNNERS)
    given = parser.parse_args(arguments)
    try:
        return run_node(load_config(find_config(given.pipeline)), given.node, given.run, given.on)
    except HeadraceError as error:
        print(f"Error: {error}")
        return error.exit_code


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
    """
    run_id = OTHERS_RUN + re.sub(r"[^A-Za-z0-9_-]+", "-", run)
    history = History(open_store(config.home, config.metadata), config.name)
    compiled = compile_pipeline(build_pipeline(config, history.accepted()), run_id)
    nodes = {each.pipeline_node.node_info.id: each.pipeline_node for each in compiled.nodes}
    if node_id not in nodes:
        raise UsageError(f"There is no node {node_id!r}", expected=f"one of {', '.join(nodes)}")
    run_folder(config.home, run_id).mkdir(parents=True, exist_ok=True)  # for the workers' package
    beam_args = place_run(config, on, find_window(config.data), run_id)
    receiving, sending = Pipe(duplex=False)
    run_in_child(compiled, nodes[node_id], beam_args.get(node_id, ()), None, "/dev/stdout", sending)
    result = NodeResult.from_json(receiving.recv_bytes())
    if result.error is not None:
        raise result.error
    print(f"{node_id} {result.state.value}: {result.reason}")
    if result.state is State.BLOCKED:
        raise UsageError(f"{node_id} was not to run: {result.reason}")
    return _verdict(history, result.execution_id)


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
