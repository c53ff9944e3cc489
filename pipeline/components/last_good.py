"""Resolves the examples of the last good span: the rolling baseline that a new span is compared with."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.dsl.components.common import resolver

from pipeline.components.gate import EXAMPLES_ID
from pipeline.gates.verdict import GateName


class LastGoodExamplesStrategy(resolver.ResolverStrategy):
    """The newest examples that the data gate passed, of an earlier span than the candidate's.

    So a repeated run resolves the same, and is answered from the cache.

    Inputs: `examples`, all examples; `verdict`, all verdicts; `candidate`, the ones to judge.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves at most one; none before the first is good."""
        del store
        newest = max((_span(artifact) for artifact in input_dict["candidate"]), default=0)
        last: dict[int, bool] = {}
        for verdict in sorted(input_dict["verdict"], key=lambda artifact: artifact.id):
            if verdict.get_string_custom_property("gate") == GateName.DATA.value:
                examples_id = verdict.get_int_custom_property(EXAMPLES_ID)
                last[examples_id] = bool(verdict.get_int_custom_property("passed"))
        good = [each for each in input_dict["examples"] if last.get(each.id) and _span(each) < newest]
        good.sort(key=lambda artifact: (_span(artifact), artifact.id))
        return {**input_dict, "examples": good[-1:], "verdict": [], "candidate": []}


def _span(artifact: types.Artifact) -> int:
    return int(artifact.get_int_custom_property(SPAN_PROPERTY_NAME))
