"""The pipeline as an Apache Airflow DAG: a file that needs nothing but Airflow, in which every node is a task.

TFX's own AirflowDagRunner cannot run this pipeline: it launches nodes without TFX's intermediate representation, so it
knows no conditions (a gate would stop nothing) and none of today's drivers (tfx/orchestration/launcher, TFX 1.16; TFX
1.21 is the same). So a task is a process of Headrace's own Python that runs its node through TFX's launcher, see
`pipeline.runners.one_node`. Airflow lives in an environment of its own; 2.11 and 3 were tried.
"""

from __future__ import annotations

import shlex
import sys

from tfx.proto.orchestration import pipeline_pb2

from pipeline.beam import Runner, find_target
from pipeline.config import PipelineConfig
from pipeline.dag import build_pipeline
from pipeline.gates.verdict import GateName
from pipeline.runners.compile import compile_pipeline
from pipeline.runners.one_node import MODULE


def dag_files(config: PipelineConfig, schedule: str | None = None, on: Runner | None = None) -> dict[str, str]:
    """The pipeline as a file for Airflow's `dags` folder.

    The file names the pipeline's YAML and the Python of this machine: Airflow's workers have to see both under the same
    paths, or the file's first lines have to be changed. It holds no password.

    Args:
        config: The pipeline.
        schedule: A cron expression, or a preset of Airflow such as `@daily`; None: only when it is triggered.
        on: Where the Beam components run; None: in the process of their task.

    Returns:
        The text of `headrace_NAME.py`.

    Raises:
        ConfigError: The configuration does not say where the runner is.
        SchemaError: The schema is missing or wrong.
    """
    if on is not None:
        find_target(config, on)
    command = [sys.executable, "-m", MODULE, *shlex.split(config.argument), *(["--on", on] if on else [])]
    nodes = upstream_nodes(compile_pipeline(build_pipeline(config, {}), run_id="airflow"))
    text = _HEAD.format(name=config.name, command=command, schedule=schedule, nodes=_lines(nodes))
    text += _BODY.format(refused=sorted(int(gate.exit_code) for gate in GateName))
    return {f"headrace_{config.name}.py": text}


def upstream_nodes(pipeline: pipeline_pb2.Pipeline) -> dict[str, list[str]]:
    """What each node waits for. The first goes alone, since it may have to make ML Metadata's tables."""
    nodes = {each.pipeline_node.node_info.id: sorted(each.pipeline_node.upstream_nodes) for each in pipeline.nodes}
    first = next(iter(nodes))
    return {node: upstream or ([] if node == first else [first]) for node, upstream in nodes.items()}


def _lines(nodes: dict[str, list[str]]) -> str:
    return "\n".join(f"    {node!r}: {upstream!r}," for node, upstream in nodes.items())


_HEAD = '''\
"""The pipeline {name} as an Airflow DAG. Written by `headrace compile`; it keeps changes but for --force."""

DAG_ID = "headrace_{name}"
COMMAND = {command!r}
SCHEDULE = {schedule!r}
NODES = {{
{nodes}
}}
'''

_BODY = '''
from datetime import datetime

try:  # Airflow 3
    from airflow.providers.standard.hooks.subprocess import SubprocessHook
    from airflow.sdk import DAG, BaseOperator
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:
    from airflow.exceptions import AirflowException, AirflowFailException
    from airflow.hooks.subprocess import SubprocessHook
    from airflow.models import DAG, BaseOperator

REFUSED = {refused}
"""What a node exits with when it is a gate that did not pass: to try again would not help."""


class Node(BaseOperator):
    """One node of the pipeline, in a process of Headrace's own Python."""

    def execute(self, context):
        self.process = SubprocessHook()
        result = self.process.run_command([*COMMAND, "--node", self.task_id, "--run", context["run_id"]])
        if result.exit_code in REFUSED:
            raise AirflowFailException(f"{{self.task_id}} did not pass; its findings are above")
        if result.exit_code:
            raise AirflowException(f"{{self.task_id}} ended with exit code {{result.exit_code}}")

    def on_kill(self):
        self.process.send_sigterm()


with DAG(
    dag_id=DAG_ID,
    schedule=SCHEDULE,
    start_date=datetime(2024, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["headrace"],
) as dag:
    tasks = {{node: Node(task_id=node) for node in NODES}}
    for node, upstream in NODES.items():
        tasks[node].set_upstream([tasks[each] for each in upstream])
'''
