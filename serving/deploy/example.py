"""A request that a pushed version answers, from the warm-up requests that travel with it."""

from __future__ import annotations

import base64
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from storage.places import Place

_DEFAULT_SIGNATURES = ("", "serving_default")


def example_request(version: Place) -> str | None:
    """The body of a predict request for one row, as TensorFlow Serving's REST API and most platforms take it.

    A row with a NaN is passed over, since JSON has none.

    Args:
        version: The folder of the SavedModel, wherever it lies.

    Returns:
        JSON, `{"instances": [{feature: value}]}`, or None if the version brings no warm-up request for its default
        signature.
    """
    from tensorflow import make_ndarray  # takes seconds, and most commands need none of it
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.records import read_records
    from serving.warmup import WARMUP_FILE

    warmup = version / WARMUP_FILE.as_posix()
    if not warmup.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder, "records")
        records.write_bytes(warmup.read_bytes())
        for record in read_records(str(records)):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            if request.inputs and request.model_spec.signature_name in _DEFAULT_SIGNATURES:
                row = {name: make_ndarray(each).tolist()[0] for name, each in sorted(request.inputs.items())}
                if not any(isinstance(value, float) and math.isnan(value) for value in row.values()):
                    return json.dumps({"instances": [_as_json(row)]}, indent=2, ensure_ascii=False) + "\n"
    return None


def _as_json(value: Any, name: str = "") -> Any:
    """Texts are bytes in a tensor; what is no text, or is called …_bytes, is sent as {"b64": …}."""
    if isinstance(value, dict):
        return {key: _as_json(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each, name) for each in value]
    if not isinstance(value, bytes):
        return value
    try:
        if not name.endswith("_bytes"):
            return value.decode("utf-8")
    except UnicodeDecodeError:
        pass
    return {"b64": base64.b64encode(value).decode("ascii")}
