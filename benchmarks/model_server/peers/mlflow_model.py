"""The model for `mlflow models serve`: `python mlflow_model.py SAVED_MODEL FOLDER` writes it.

Without a model signature, which MLflow would check each request against, and asked with TensorFlow Serving's own
`instances`, which MLflow hands over as arrays: pandas would cost more.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlflow
from saved_model import SavedModel


class Flights(mlflow.pyfunc.PythonModel):
    """Answers with the SavedModel among its artifacts."""

    def load_context(self, context: Any) -> None:
        """Loads it."""
        self._model = SavedModel(context.artifacts["saved_model"])

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """An answer for each row."""
        return self._model.answer_columns(model_input)


if __name__ == "__main__":
    here = Path(__file__).resolve()
    mlflow.pyfunc.save_model(
        path=sys.argv[2],
        python_model=str(here),
        artifacts={"saved_model": sys.argv[1]},
        code_paths=[str(here.with_name("saved_model.py"))],
        pip_requirements=[],
    )
else:
    mlflow.models.set_model(Flights())
