"""Which model a warm start begins with."""

from __future__ import annotations

import itertools

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types.standard_artifacts import Examples, Model

from pipeline.components.artifacts import GateVerdict
from pipeline.components.base_model import BaseModelStrategy, newest_span


class Pipeline:
    """Records runs in a store as TFX does, and answers which base model a run would resolve."""

    def __init__(self) -> None:
        config = pb.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = mlmd.MetadataStore(config)
        self.type_id = self.store.put_artifact_type(pb.ArtifactType(name="Artifact"))
        self.execution_type_id = self.store.put_execution_type(pb.ExecutionType(name="Node"))
        self.models: list[int] = []
        self.verdicts: list[GateVerdict] = []
        self.verdict_ids = itertools.count(1000)

    def node(self, properties: dict[str, int] | None = None, **inputs: int) -> int:
        """Runs a node on artifacts by key; gives the artifact that it makes."""
        made = pb.Artifact(type_id=self.type_id)
        for key, value in (properties or {}).items():
            made.custom_properties[key].int_value = value
        [artifact_id] = self.store.put_artifacts([made])
        [execution_id] = self.store.put_executions([pb.Execution(type_id=self.execution_type_id)])
        events = [(pb.Event.INPUT, key, read) for key, read in inputs.items()]
        for kind, key, artifact in [*events, (pb.Event.OUTPUT, "made", artifact_id)]:
            event = pb.Event(type=kind, artifact_id=artifact, execution_id=execution_id)
            event.path.steps.add().key = key
            self.store.put_events([event])
        return artifact_id

    def train(self, span: int, base: int | None = None) -> int:
        examples = self.node({"span": span})
        transformed = self.node(examples=examples, schema=self.node())
        self.models.append(self.node(examples=transformed, **({} if base is None else {"base_model": base})))
        return self.models[-1]

    def judge(self, model: int, *, infra: bool = True, quality: bool = True) -> None:
        for gate, passed in (("infra", infra), ("quality", quality)):
            verdict = GateVerdict()
            verdict.id = next(self.verdict_ids)
            verdict.set_string_custom_property("gate", gate)
            verdict.set_int_custom_property("model_id", model)
            verdict.set_int_custom_property("passed", int(passed))
            self.verdicts.append(verdict)

    def bless(self, span: int, base: int | None = None) -> int:
        model = self.train(span, base)
        self.judge(model)
        return model

    def base_model(self, span: int) -> int | None:
        examples = Examples()
        examples.set_int_custom_property("span", span)
        models = []
        for number in self.models:
            models.append(Model())
            models[-1].id = number
        inputs = {"base_model": models, "verdict": self.verdicts, "examples": [examples]}
        outputs = BaseModelStrategy().resolve_artifacts(self.store, inputs)
        assert outputs.keys() == inputs.keys()
        assert not outputs["verdict"]
        assert not outputs["examples"]
        return next((model.id for model in outputs["base_model"]), None)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_the_first_run_has_no_base_model(pipeline) -> None:
    assert pipeline.base_model(span=3) is None


def test_the_model_of_the_span_before_is_the_base(pipeline) -> None:
    pipeline.bless(span=3)
    second = pipeline.bless(span=4)
    assert pipeline.base_model(span=5) == second


def test_a_run_repeated_after_its_model_was_blessed_has_the_same_base(pipeline) -> None:
    first = pipeline.bless(span=3)
    assert pipeline.base_model(span=4) == first
    pipeline.bless(span=4, base=first)
    assert pipeline.base_model(span=4) == first


def test_history_repeated_never_starts_from_a_model_that_saw_its_newest_span(pipeline) -> None:
    first = pipeline.bless(span=3)
    pipeline.bless(span=5)
    pipeline.bless(span=6)
    assert pipeline.base_model(span=5) == first
    assert pipeline.base_model(span=3) is None


def test_the_newest_span_wins_over_the_newest_model(pipeline) -> None:
    newest = pipeline.bless(span=4)
    pipeline.bless(span=3)
    assert pipeline.base_model(span=5) == newest


def test_of_one_span_the_last_blessed_model_is_the_base(pipeline) -> None:
    pipeline.bless(span=3)
    again = pipeline.bless(span=3)
    pipeline.train(span=3)
    assert pipeline.base_model(span=4) == again


@pytest.mark.parametrize("gates", [{"infra": False}, {"quality": False}])
def test_a_model_that_a_gate_refused_is_passed_over(pipeline, gates) -> None:
    first = pipeline.bless(span=3)
    pipeline.judge(pipeline.train(span=4), **gates)
    assert pipeline.base_model(span=5) == first


def test_a_model_blessed_once_and_refused_later_is_passed_over(pipeline) -> None:
    first, second = pipeline.bless(span=3), pipeline.bless(span=4)
    pipeline.judge(second, quality=False)
    assert pipeline.base_model(span=5) == first


def test_a_model_s_span_is_its_own_and_not_its_base_s(pipeline) -> None:
    late = pipeline.bless(span=9)
    assert newest_span(pipeline.store, pipeline.train(span=4, base=late)) == 4


def test_a_model_of_unrecorded_origin_is_no_base(pipeline) -> None:
    model = pipeline.node()
    pipeline.models.append(model)
    pipeline.judge(model)
    assert newest_span(pipeline.store, model) is None
    assert pipeline.base_model(span=3) is None
