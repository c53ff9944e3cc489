"""What a pipeline did before, as inputs of its nodes: the last good span, the model to beat, the weights to begin with.

On this machine ML Metadata knows. A platform of containers has metadata of its own that nobody else can ask, so there
the pushed versions know: they are where every run can see them.
"""

from __future__ import annotations

from enum import Enum

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.types import BaseChannel, Channel
from tfx.types.standard_artifacts import Examples, Model, TransformCache

from pipeline.components.artifacts import GateVerdict
from pipeline.components.base_model import BaseModelStrategy
from pipeline.components.baseline import LatestBlessedModelStrategy
from pipeline.components.earlier_analysis import EarlierAnalysisStrategy
from pipeline.components.evaluator import Evaluator
from pipeline.components.last_good import LastGoodExamplesStrategy
from pipeline.components.pushed import Evaluator as PushedEvaluator
from pipeline.components.pushed import LastPushedExamples, LatestPushedModel
from schema.errors import ConfigError


class History(Enum):
    """Where a pipeline finds what it did before."""

    METADATA = "ML Metadata"
    PUSHED = "pushed versions"


def last_good_examples(history: History, examples: BaseChannel, push_path: str) -> BaseNode:
    """The node whose output `examples` is the last good span before that of `examples`."""
    if history is History.PUSHED:
        return LastPushedExamples(candidate=examples, path=push_path).with_id("LastGoodExamples")
    return Resolver(
        strategy_class=LastGoodExamplesStrategy,
        examples=Channel(type=Examples),
        verdict=Channel(type=GateVerdict),
        candidate=examples,
    ).with_id("LastGoodExamples")


def earlier_analysis(history: History, examples: BaseChannel) -> BaseNode | None:
    """The node whose output `analyzer_cache` is what an earlier window's analysis left.

    None where only pushed versions tell: they do not hold it.
    """
    if history is History.PUSHED:
        return None
    return Resolver(
        strategy_class=EarlierAnalysisStrategy,
        analyzer_cache=Channel(type=TransformCache),
        examples=examples,
    ).with_id("EarlierAnalysis")


def latest_blessed_model(history: History, model: BaseChannel, push_path: str) -> BaseNode:
    """The node whose output `baseline` is what the candidate `model` is compared with."""
    if history is History.PUSHED:
        return LatestPushedModel(candidate=model, path=push_path).with_id("LatestBlessedModel")
    return Resolver(
        strategy_class=LatestBlessedModelStrategy,
        config={"push_path": push_path},
        baseline=Channel(type=Model),
        verdict=Channel(type=GateVerdict),
        candidate=model,
    ).with_id("LatestBlessedModel")


def evaluator_class(history: History) -> type[BaseBeamComponent]:
    """Our Evaluator, or the one that knows that nothing may be pushed yet."""
    return PushedEvaluator if history is History.PUSHED else Evaluator


def base_model_of(history: History, examples: BaseChannel, push_path: str) -> BaseNode:
    """The node whose output `base_model` is what a warm start begins with.

    Raises:
        ConfigError: The history does not keep the weights.
    """
    if history is History.PUSHED:
        raise ConfigError(
            "A warm start needs the weights of an earlier model, and a pushed version does not hold them",
            where="training.warm_start",
            expected="false, where the pipeline runs in containers",
            received="true",
        )
    return Resolver(
        strategy_class=BaseModelStrategy,
        base_model=Channel(type=Model),
        verdict=Channel(type=GateVerdict),
        examples=examples,
        config={"push_path": push_path},
    ).with_id("BaseModel")
