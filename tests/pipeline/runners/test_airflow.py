"""The DAG file: it is Python, it has the pipeline's graph, and Airflow loads it where Airflow is installed."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from postgres import PASSWORD
from projects import make_project

from pipeline.config import PipelineConfig, load_config
from pipeline.dag import build_pipeline
from pipeline.gates.verdict import GateName
from pipeline.metadata_config import PostgresqlMetadata
from pipeline.runners.airflow import upstream_nodes, write_dag_file
from pipeline.runners.compile import compile_pipeline
from pipeline.runners.one_node import main, run_node
from schema.errors import ExitCode, UsageError

GATES = ("DataGate", "InfraGate", "QualityGate")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    return load_config(make_project(tmp_path_factory.mktemp("project") / "it's here", rows=10).config_path)


def constants(path: Path) -> dict[str, Any]:
    """What the file's first lines say, without running it."""
    tree = ast.parse(path.read_text())
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }


def test_file_is_python_that_imports_airflow_only(config: PipelineConfig, tmp_path: Path) -> None:
    path = write_dag_file(config, tmp_path / "dags", schedule="0 3 * * *")
    assert path == tmp_path / "dags" / "headrace_flights.py"
    imported = {
        node.module.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert imported == {"airflow", "datetime"}
    assert constants(path)["SCHEDULE"] == "0 3 * * *"
    assert constants(path)["REFUSED"] == sorted(int(gate.exit_code) for gate in GateName)


def test_command_starts_one_node_of_this_pipeline(config: PipelineConfig, tmp_path: Path) -> None:
    command = constants(write_dag_file(config, tmp_path, on="dataflow"))["COMMAND"]
    assert command[0] == sys.executable
    assert command[2:] == [
        "pipeline.runners.one_node",
        str(config.home.parents[1] / "flights.yaml"),
        "--on",
        "dataflow",
    ]


def test_tasks_wait_as_the_nodes_do(config: PipelineConfig, tmp_path: Path) -> None:
    nodes = constants(write_dag_file(config, tmp_path))["NODES"]
    compiled = compile_pipeline(build_pipeline(config, {}), "run")
    assert nodes == upstream_nodes(compiled)
    assert list(nodes) == [each.pipeline_node.node_info.id for each in compiled.nodes]
    assert [node for node, upstream in nodes.items() if not upstream] == ["ExampleGen"]
    assert set(GATES) <= set(nodes["Pusher"])
    for node, upstream in nodes.items():
        assert set(upstream) <= set(list(nodes)[: list(nodes).index(node)])


def test_no_password_is_in_the_file(config: PipelineConfig, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    server = PostgresqlMetadata(kind="postgresql", host="db", database="d", user="u", password_file=secret)
    written = write_dag_file(config.model_copy(update={"metadata": server}), tmp_path).read_text()
    assert PASSWORD not in written
    assert "pass=word" not in written


@pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="Airflow lives in an environment of its own")
def test_airflow_loads_it(config: PipelineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    path = write_dag_file(config, tmp_path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {task.task_id: sorted(task.upstream_task_ids) for task in module.dag.tasks} == constants(path)["NODES"]


def test_a_node_that_is_not_there_is_told(config: PipelineConfig, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"no node 'Trainr'.*Trainer"):
        run_node(config, "Trainr", "manual__2026-01-01T00:00:00+00:00")
    assert main([str(config.home.parents[1] / "flights.yaml"), "--node", "Trainr", "--run", "1"]) is ExitCode.USAGE
    assert "There is no node 'Trainr'" in capfd.readouterr().out
