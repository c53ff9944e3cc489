"""Resolves the analyzer cache of an earlier window: what Transform need not learn again."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.components.example_gen.utils import SPAN_PROPERTY_NAME
from tfx.dsl.components.common import resolver


class EarlierAnalysisStrategy(resolver.ResolverStrategy):
    """Of the caches that are older than this run's examples, that of the newest window before theirs.

    So the same examples always get the same cache, and a repeated run is answered from TFX's.

    Inputs: `analyzer_cache`, all caches; `examples`, those of this run, as ExampleGen left them.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves at most one; none for the first window."""
        del store
        [examples] = input_dict["examples"]
        earlier = [
            each for each in input_dict["analyzer_cache"] if _span(each) < _span(examples) and each.id < examples.id
        ]
        earlier.sort(key=lambda artifact: (_span(artifact), artifact.id))
        return {"analyzer_cache": earlier[-1:], "examples": []}


def _span(artifact: types.Artifact) -> int:
    return int(artifact.get_int_custom_property(SPAN_PROPERTY_NAME))
