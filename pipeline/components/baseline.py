"""Resolves the model that the candidate is compared with."""

from __future__ import annotations

from itertools import islice

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.utils import path_utils

from pipeline.components.gate import MODEL_ID
from pipeline.gates.verdict import GateName
from serving.push import digest_of
from serving.versions import rolled_back_models
from storage.places import at, local_copy

_MODEL_GATES = (GateName.QUALITY, GateName.INFRA)


class LatestBlessedModelStrategy(resolver.ResolverStrategy):
    """The newest model, other than the candidate, whose last verdict from each model gate is a pass and which was not
    rolled back.

    TFX's own strategy may answer with the candidate itself once that is blessed, so that a repeated run compares the
    model with itself instead of being answered from the cache; and it knows nothing of a person's acceptance.

    A rollback may come at any time and from anywhere, so the push path is asked, by the model's content: an id or a
    path would mean another model after the metadata was started afresh.

    Inputs: `baseline`, all models; `verdict`, all verdicts; `candidate`, the one to compare.
    """

    def __init__(self, push_path: str = "") -> None:
        self._push_path = push_path

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
        bad = rolled_back_models(at(self._push_path)) if self._push_path else frozenset()
        blessed = (
            model
            for model in sorted(input_dict["baseline"], key=lambda artifact: artifact.id, reverse=True)
            if model.id not in candidates
            and all(last.get((gate.value, model.id)) for gate in _MODEL_GATES)
            and not (bad and _digest_of(model) in bad)
        )
        return {**input_dict, "baseline": list(islice(blessed, 1)), "verdict": []}


def _digest_of(model: types.Artifact) -> str:
    with local_copy(at(path_utils.serving_model_dir(model.uri))) as folder:
        return digest_of(folder)
