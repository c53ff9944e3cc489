"""The compiled pipeline has the shape of the picture."""

from __future__ import annotations

import json

import pytest
from tfx.components.statistics_gen.component import StatisticsGen as StockStatisticsGen
from tfx.components.transform.component import Transform as StockTransform
from tfx.proto.orchestration import pipeline_pb2

from pipeline.components.statistics_gen import StatisticsGen
from pipeline.components.transform import Transform
from pipeline.config import find_config, load_config
from pipeline.dag import build_pipeline
from pipeline.gates.verdict import GateName
from pipeline.runners.compile import compile_pipeline, mark_partial
from schema.errors import UsageError


@pytest.fixture(scope="module")
def nodes() -> dict[str, pipeline_pb2.PipelineNode]:
    pipeline = build_pipeline(load_config(find_config("flights")), {GateName.DATA: {"key": "why"}})
    return {each.pipeline_node.node_info.id: each.pipeline_node for each in compile_pipeline(pipeline, "run").nodes}


def ancestors(nodes: dict[str, pipeline_pb2.PipelineNode], node: str) -> set[str]:
    direct = set(nodes[node].upstream_nodes)
    return direct.union(*(ancestors(nodes, each) for each in direct))


def test_standard_components_are_tfx_s_own(nodes) -> None:
    kinds = {node: info.node_info.type.name for node, info in nodes.items()}
    for node in ("ExampleValidator", "Trainer"):
        assert kinds[node].startswith("tfx.components."), kinds[node]
    assert kinds["LatestBlessedModel"] == "tfx.dsl.components.common.resolver.Resolver"


def test_what_is_faster_than_tfx_s_own_has_its_interface() -> None:
    for ours, stock in ((StatisticsGen, StockStatisticsGen), (Transform, StockTransform)):
        assert issubclass(ours.SPEC_CLASS, stock.SPEC_CLASS)
        assert ours.SPEC_CLASS.OUTPUTS == stock.SPEC_CLASS.OUTPUTS


def test_every_gate_stands_between(nodes) -> None:
    assert "DataGate" in ancestors(nodes, "Transform")
    assert "InfraGate" in ancestors(nodes, "QualityGate") & ancestors(nodes, "ReferenceGen")
    assert not {"InfraValidator", "InfraGate"} & ancestors(nodes, "Evaluator")  # it runs beside them
    assert ancestors(nodes, "Pusher") >= {"DataGate", "InfraGate", "QualityGate"}


def test_functions_are_import_paths_not_module_files(nodes) -> None:
    parameters = nodes["Transform"].parameters.parameters
    assert parameters["preprocessing_fn"].field_value.string_value == "models.preprocessing.preprocessing_fn"
    assert not parameters["module_file"].field_value.string_value


def test_excluded_columns_reach_neither_transform_nor_trainer(nodes) -> None:
    for node in ("Transform", "Trainer"):
        config = json.loads(nodes[node].parameters.parameters["custom_config"].field_value.string_value)
        names = {feature["name"] for feature in config["features"]}
        assert "carrier" in names
        assert not names & {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "late"}


def test_acceptance_reaches_its_gate_only(nodes) -> None:
    accepted = {
        node: nodes[node].parameters.parameters["accepted"].field_value.string_value
        for node in ("DataGate", "InfraGate", "QualityGate")
    }
    assert accepted == {"DataGate": '{"key": "why"}', "InfraGate": "{}", "QualityGate": "{}"}


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_base_model_is_resolved_only_for_a_warm_start(warm_start) -> None:
    config = load_config(find_config("flights"))
    config = config.model_copy(update={"training": config.training.model_copy(update={"warm_start": warm_start})})
    compiled = compile_pipeline(build_pipeline(config, {}), "run")
    by_id = {each.pipeline_node.node_info.id: each.pipeline_node for each in compiled.nodes}
    assert ("BaseModel" in by_id) is warm_start
    assert ("base_model" in by_id["Trainer"].inputs.inputs) is warm_start
    assert "InfraGate" not in ancestors(by_id, "Trainer")


def test_until_a_node_needs_no_earlier_run_for_what_it_does_not_read() -> None:
    compiled = compile_pipeline(build_pipeline(load_config(find_config("flights")), {}), "run")
    mark_partial(compiled, None, "ExampleGen", [])
    skipped = {
        each.pipeline_node.node_info.id
        for each in compiled.nodes
        if each.pipeline_node.execution_options.HasField("skip")
    }
    assert skipped == {each.pipeline_node.node_info.id for each in compiled.nodes} - {"ExampleGen"}


def test_from_a_node_needs_an_earlier_run_for_what_it_reads() -> None:
    compiled = compile_pipeline(build_pipeline(load_config(find_config("flights")), {}), "run")
    with pytest.raises(UsageError, match="There is no earlier run to start from Trainer with"):
        mark_partial(compiled, "Trainer", None, [])
