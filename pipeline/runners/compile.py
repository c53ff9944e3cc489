"""TFX pipeline → its intermediate representation, whole or marked for a part of it."""

from __future__ import annotations

from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import partial_run_utils, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from pipeline.runners.report import RunReport
from pipeline.runners.tfx_metadata import Metadata
from schema.errors import UsageError


def compile_pipeline(pipeline: Pipeline, run_id: str) -> pipeline_pb2.Pipeline:
    """Compiles a pipeline for one run."""
    compiled = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    return compiled


def mark_partial(
    compiled: pipeline_pb2.Pipeline,
    from_node: str | None,
    until_node: str | None,
    reports: list[RunReport],
) -> None:
    """Marks the nodes between `from_node` and `until_node` to run; what they need is taken from an earlier run.

    Raises:
        UsageError: No earlier run has everything that they need.
    """
    partial_run_utils.mark_pipeline(
        compiled,
        from_nodes=[from_node] if from_node else None,
        to_nodes=[until_node] if until_node else None,
    )
    running = {
        each.pipeline_node.node_info.id
        for each in compiled.nodes
        if not each.pipeline_node.execution_options.HasField("skip")
    }
    if not running:
        raise UsageError(f"No node lies between --from {from_node} and --until {until_node}")
    needed = [
        each.pipeline_node.node_info.id
        for each in compiled.nodes
        if partial_run_utils.should_attempt_to_reuse_artifact(each.pipeline_node.execution_options)
        and not running.isdisjoint(each.pipeline_node.downstream_nodes)  # TFX marks what nothing that runs reads, too
    ]
    if not needed:
        return
    base = next(
        (run for run in reversed(reports) if all(n in run.nodes and run.nodes[n].state.is_good for n in needed)), None
    )
    if base is None:
        raise UsageError(
            f"There is no earlier run to start from {from_node} with",
            where="--from",
            expected=f"a run that finished {', '.join(needed)}",
            mend="Run without --from first.",
        )
    deployment = runner_utils.extract_local_deployment_config(compiled).metadata_connection_config
    with Metadata(getattr(deployment, deployment.WhichOneof("connection_config"))) as handle:
        partial_run_utils.snapshot(handle, compiled, base.run_id)
