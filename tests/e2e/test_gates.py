"""Each gate stops what is behind it, with the reason: broken data, a worse model, a model that answers NaN."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from e2e_tools import headrace, states
from projects import Project, make_project

from schema.errors import ExitCode
from serving.versions import versions


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a model in production; the tests change its data or its training."""
    project = make_project(tmp_path_factory.mktemp("gates"))
    result = headrace("run", str(project.config_path))
    assert result.returncode == ExitCode.OK, result.stdout
    return project


def test_diverged_model_is_stopped_by_the_infra_gate(pushed: Project) -> None:
    pushed.change_config(lambda raw: raw["training"].update(learning_rate=1e38))
    result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.INFRA_GATE, result.stdout
    assert "64 of 64 not finite" in result.stdout
    assert "The training diverged" in result.stdout
    assert states(pushed)["Transform"] == "cached"
    assert states(pushed)["Evaluator"] == "done"  # it runs beside the infra check, and breaks on nothing
    assert states(pushed)["QualityGate"] == "blocked"
    assert len(versions(pushed.push_path)) == 1


def test_worse_model_is_stopped_by_the_quality_gate(pushed: Project) -> None:
    """The same data and features, but steps so large that the model is confidently wrong."""

    def worse(raw: dict) -> None:
        raw["training"].update(learning_rate=10.0)
        raw["gates"]["quality"] = [{"metric": "log_loss", "not_worse_by": 0.0}]

    pushed.change_config(worse)
    result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.QUALITY_GATE, result.stdout
    assert "Compared with the last blessed model" in result.stdout
    assert "worse by ≤ 0" in result.stdout
    assert "training.learning_rate" in result.stdout  # why the trainer ran again
    assert states(pushed)["Pusher"] == "blocked"
    assert len(versions(pushed.push_path)) == 1


def test_broken_feature_is_stopped_by_the_data_gate(pushed: Project) -> None:
    pushed.change_span(3, "distance", lambda table: pc.multiply(table["distance"], pa.scalar(1000)))
    pushed.change_span(2, "carrier", lambda table: pa.array(["ZZ"] * len(table)))
    result = headrace("run", str(pushed.config_path))
    assert result.returncode == ExitCode.DATA_GATE, result.stdout
    assert "distance (eval)" in result.stdout
    assert "0 to 6000" in result.stdout
    assert "carrier (train)" in result.stdout
    assert "one of 16 values" in result.stdout
    assert "ZZ" in result.stdout
    assert states(pushed)["Transform"] == "blocked"
    assert len(versions(pushed.push_path)) == 1
