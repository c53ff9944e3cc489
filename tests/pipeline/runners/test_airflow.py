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

from pipeline.beam import Runner
from pipeline.config import PipelineConfig, load_config
from pipeline.dag import build_pipeline
from pipeline.gates.verdict import GateName
from pipeline.metadata_config import PostgresqlMetadata
from pipeline.runners.airflow import dag_files, upstream_nodes
from pipeline.runners.compile import compile_pipeline
from pipeline.targets import TargetsConfig

GATES = ("DataGate", "InfraGate", "QualityGate")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    return load_config(make_project(tmp_path_factory.mktemp("project") / "it's here", rows=10).config_path)


def write_dag_file(config: PipelineConfig, folder: Path, schedule: str | None = None, on: Runner | None = None) -> Path:
    [(name, text)] = dag_files(config, schedule, on).items()
    (folder / name).write_text(text)
    return folder / name


def constants(path: Path) -> dict[str, Any]:
    """What the file's first lines say, without running it."""
    tree = ast.parse(path.read_text())
    return {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }


def test_file_is_python_that_imports_airflow_only(config: PipelineConfig, tmp_path: Path) -> None:
    path = write_dag_file(config, tmp_path, schedule="0 3 * * *")
    assert path.name == "headrace_flights.py"
    imported = {
        node.module.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert imported == {"airflow", "datetime"}
    assert constants(path)["SCHEDULE"] == "0 3 * * *"
    assert constants(path)["REFUSED"] == sorted(int(gate.exit_code) for gate in GateName)


def test_command_starts_one_node_of_this_pipeline(config: PipelineConfig, tmp_path: Path) -> None:
    targets = TargetsConfig.model_validate({"portable": {"job_endpoint": "localhost:8099"}})
    placed = config.model_copy(update={"targets": targets})
    command = constants(write_dag_file(placed, tmp_path, on="portable"))["COMMAND"]
    assert command[0] == sys.executable
    assert command[2:] == [
        "pipeline.runners.one_node",
        str(config.home.parents[1] / "flights.yaml"),
        "--on",
        "portable",
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
