"""Resolves the model whose weights a warm start begins with."""

from __future__ import annotations

from collections import defaultdict

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import types
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.dsl.components.common import resolver

from pipeline.components.baseline import LatestBlessedModelStrategy

_EXAMPLES = "examples"


class BaseModelStrategy(resolver.ResolverStrategy):
    """Of the blessed models whose newest span lies before this run's: the one with the newest span, the last of them.

    "The last blessed model" would not do. After this run it is this run's own model: the same run, repeated, would
    train again from there and never come from the cache. And a model that has seen this run's newest span, when
    history is repeated, would flatter the evaluation on it.

    Inputs: `base_model`, all models; `verdict`, all verdicts; `examples`, those of this run, as ExampleGen left them.
    """

    def __init__(self, push_path: str = "") -> None:
        self._push_path = push_path

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves at most one model; none while no earlier span has a blessed one."""
        [examples] = input_dict[_EXAMPLES]
        this_span = examples.get_int_custom_property(SPAN_PROPERTY_NAME)
        by_span: dict[int, list[types.Artifact]] = defaultdict(list)
        for model in input_dict["base_model"]:
            span = newest_span(store, model.id)
            if span is not None and span < this_span:
                by_span[span].append(model)
        blessed = [
            model
            for span in sorted(by_span, reverse=True)
            for model in self._last_blessed(store, by_span[span], input_dict["verdict"])
        ]
        return {"base_model": blessed[:1], "verdict": [], _EXAMPLES: []}

    def _last_blessed(
        self, store: mlmd.MetadataStore, models: list[types.Artifact], verdicts: list[types.Artifact]
    ) -> list[types.Artifact]:
        inputs = {"baseline": models, "verdict": verdicts, "candidate": []}
        return LatestBlessedModelStrategy(self._push_path).resolve_artifacts(store, inputs)["baseline"]


def newest_span(store: mlmd.MetadataStore, model_id: int) -> int | None:
    """The newest span of the window that a model comes from; None if its origin is not recorded.

    Follows the examples upstream, from the model's Trainer to those that carry the number of their span. Other inputs
    are left aside: a Trainer may have read a base model, which has examples of its own.
    """
    artifacts = [model_id]
    while artifacts:
        made = [each for each in store.get_events_by_artifact_ids(artifacts) if each.type == pb.Event.OUTPUT]
        read = store.get_events_by_execution_ids({event.execution_id for event in made}) if made else []
        artifacts = sorted(
            {
                event.artifact_id
                for event in read
                if event.type == pb.Event.INPUT and event.path.steps[0].key == _EXAMPLES
            }
        )
        found = store.get_artifacts_by_id(artifacts) if artifacts else []
        spans = [
            each.custom_properties[SPAN_PROPERTY_NAME].int_value
            for each in found
            if SPAN_PROPERTY_NAME in each.custom_properties
        ]
        if spans:
            return int(max(spans))
    return None
