"""Resolves the model that the candidate is compared with."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver

from pipeline.components.gate import MODEL_ID
from pipeline.gates.verdict import GateName

_MODEL_GATES = (GateName.QUALITY, GateName.INFRA)


class LatestBlessedModelStrategy(resolver.ResolverStrategy):
    """The newest model, other than the candidate, whose last verdict from each model gate is a pass.

    TFX's own strategy may answer with the candidate itself once that is blessed, so that a repeated run compares the
    model with itself instead of being answered from the cache; and it knows nothing of a person's acceptance.

    Inputs: `baseline`, all models; `verdict`, all verdicts; `candidate`, the one to compare.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves at most one model; none before the first is blessed."""
        del store
        candidates = {artifact.id for artifact in input_dict["candidate"]}
        last: dict[tuple[str, int], bool] = {}
        for verdict in sorted(input_dict["verdict"], key=lambda artifact: artifact.id):
            model_id = verdict.get_int_custom_property(MODEL_ID)
            last[verdict.get_string_custom_property("gate"), model_id] = bool(verdict.get_int_custom_property("passed"))
        blessed = [
            model
            for model in sorted(input_dict["baseline"], key=lambda artifact: artifact.id, reverse=True)
            if model.id not in candidates and all(last.get((gate.value, model.id)) for gate in _MODEL_GATES)
        ]
        return {**input_dict, "baseline": blessed[:1], "verdict": []}
