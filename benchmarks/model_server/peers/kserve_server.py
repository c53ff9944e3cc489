"""KServe's model server with the SavedModel: `python kserve_server.py SAVED_MODEL --http_port=PORT`."""

from __future__ import annotations

import argparse
from typing import Any

import kserve
from saved_model import SavedModel


class Flights(kserve.Model):
    """Answers version 1 of the prediction protocol.

    Args:
        name: Of the model in URLs.
        path: Of the SavedModel.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._model = SavedModel(path)
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """An answer for each row."""
        return {"predictions": self._model.answer_rows(payload["instances"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("saved_model")
    arguments = parser.parse_args()
    kserve.ModelServer().start([Flights("flights", arguments.saved_model)])
