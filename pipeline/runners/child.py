"""One node in a process of its own, forked from the runner so that TFX is imported once.

The fork is safe because the runner imports TensorFlow but never runs an operation, opens a gRPC channel or keeps a
thread of its own before it. The thread that fsspec keeps for an object store begins anew in each child (`fsspec.asyn`).
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from absl import logging
from google.protobuf.message import Message
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import beam_executor_operator, launcher
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from pipeline.metadata import History
from pipeline.runners.dataflow import explain as explain_dataflow
from pipeline.runners.dataflow import runs_on_dataflow
from pipeline.runners.reasons import cached_reason, ran_reason, resolved_reason, taken_over
from pipeline.runners.report import State
from pipeline.runners.tfx_metadata import Metadata
from schema.errors import HeadraceError, NodeError, disk_error
from storage.errors import explain as explain_storage
from storage.places import at


@dataclass(frozen=True)
class NodeResult:
    """What became of a node."""

    state: State
    reason: str = ""
    execution_id: int = 0
    error: HeadraceError | None = None

    def to_json(self) -> bytes:
        """For the pipe to the runner."""
        error = self.error.to_json() if self.error else None
        return json.dumps([self.state.value, self.reason, self.execution_id, error]).encode()

    @classmethod
    def from_json(cls, data: bytes) -> NodeResult:
        """The inverse of `to_json`."""
        state, reason, execution_id, error = json.loads(data)
        return cls(State(state), reason, execution_id, HeadraceError.from_json(error) if error else None)


class PlacedBeamOperator(beam_executor_operator.BeamExecutorOperator):
    """Runs a Beam component where the run has placed it.

    Args:
        beam_args: The options of its job, with the runner.
        executor_spec: The component's. It says nothing of a place, since the cache would ask for the same place again.
        platform_config: Not used by TFX.
    """

    def __init__(
        self, beam_args: Sequence[str], executor_spec: Message, platform_config: Message | None = None
    ) -> None:
        placed = executable_spec_pb2.BeamExecutableSpec()
        placed.CopyFrom(executor_spec)
        for argument in beam_args:
            placed.beam_pipeline_args_placeholders.add().value.string_value = argument
        super().__init__(placed, platform_config)


def run_in_child(
    pipeline: pipeline_pb2.Pipeline,
    node: pipeline_pb2.PipelineNode,
    beam_args: Sequence[str],
    forced: str | None,
    log_path: str,
    answer: Connection,
) -> None:
    """What the forked process does: runs the node with all output in its log, and answers.

    Args:
        pipeline: The compiled pipeline.
        node: Which node of it.
        beam_args: Where it runs, if it is a Beam component.
        forced: Why the node is not to be answered from the cache, if so.
        log_path: Where all output goes.
        answer: Receives the result.
    """
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    node_id = node.node_info.id
    try:
        result = _launch(pipeline, node, beam_args, forced)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        result = NodeResult(State.FAILED, error=_explain(error, node_id, log_path, beam_args))
    answer.send_bytes(result.to_json())
    answer.close()
    sys.stdout.flush()
    sys.stderr.flush()


def _launch(
    pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, beam_args: Sequence[str], forced: str | None
) -> NodeResult:
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    connection = deployment.metadata_connection_config
    connection_config = getattr(connection, connection.WhichOneof("connection_config"))
    node_id = node.node_info.id
    info = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=Metadata(connection_config),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
        custom_executor_operators={
            executable_spec_pb2.BeamExecutableSpec: functools.partial(PlacedBeamOperator, beam_args)
        },
    ).launch()
    with Metadata(connection_config) as handle:
        history = History(handle.store, pipeline.pipeline_info.id)
        if info is None or not info.execution_id:
            run_id = pipeline.runtime_spec.pipeline_run_id.field_value.string_value
            closed = [verdict.gate.value for verdict in history.verdicts_of_run(run_id) if not verdict.passed]
            return NodeResult(State.BLOCKED, f"the {' and the '.join(closed)} gate did not pass")
        [execution] = handle.store.get_executions_by_id([info.execution_id])
        if node.node_info.type.name.endswith(".Resolver"):
            return NodeResult(State.DONE, resolved_reason(history, execution), execution.id)
        return _result(history, node_id, execution, forced)


def _result(history: History, node_id: str, execution: pb.Execution, forced: str | None) -> NodeResult:
    if execution.last_known_state == pb.Execution.COMPLETE:
        reason = ran_reason(history, node_id, execution, forced=forced)
        reason += taken_over(history, execution) + _of_training(history, execution)
        return NodeResult(State.DONE, reason, execution.id)
    if execution.last_known_state == pb.Execution.CACHED:
        return NodeResult(State.CACHED, cached_reason(history, execution), execution.id)
    raise NodeError(
        f"{node_id} was not run",
        expected="all of its inputs to be resolved",
        received=f"execution {execution.id} is {pb.Execution.State.Name(execution.last_known_state)}",
    )


def _of_training(history: History, execution: pb.Execution) -> str:
    """What is to be known of a training: whether more of it could be had by reading faster."""
    for model_run in history.artifacts(execution.id, pb.Event.OUTPUT).get("model_run", []):
        from models.trainer import input_bound_share  # in this process already, and in no other node's

        with suppress(OSError, LookupError, ValueError):  # the node has succeeded, whatever is to be told
            return f"; input-bound {input_bound_share(at(model_run.uri)):.0%}"
    return ""


def _explain(error: BaseException, node: str, log_path: str, beam_args: Sequence[str]) -> HeadraceError:
    if isinstance(error, HeadraceError):
        return error
    text = " ".join(str(error).split())
    told = disk_error(error, node) or explain_storage(error, f"{node}, see {log_path}")
    if told is None and runs_on_dataflow(beam_args):
        told = explain_dataflow(error, node, Path(log_path), beam_args)
    if told is not None:
        return told
    return NodeError(
        f"{node} failed",
        where=log_path,
        received=f"{type(error).__name__}: {text[-400:]}",
        mend="The whole log is in that file. Mend the cause and run the same command again; finished nodes are kept.",
    )
