"""A BentoML service with the SavedModel that $SAVED_MODEL names: `bentoml serve bentoml_service:Flights`."""

from __future__ import annotations

import os
from typing import Any

import bentoml
from saved_model import SavedModel


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Flights:
    """Answers rows."""

    def __init__(self) -> None:
        self._model = SavedModel(os.environ["SAVED_MODEL"])

    @bentoml.api
    def predict(self, instances: list[dict[str, Any]]) -> dict[str, list[float]]:
        """An answer for each row."""
        return {"predictions": self._model.answer_rows(instances)}
