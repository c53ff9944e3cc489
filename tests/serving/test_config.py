"""The `push:` section."""

import pytest
from pydantic import ValidationError

from serving.config import PushConfig


def test_a_path_is_all_it_takes():
    assert PushConfig.model_validate({"path": "serving/models/flights"}).path == "serving/models/flights"


@pytest.mark.parametrize("raw", [{}, {"path": ""}, {"path": "x", "keep": 3}], ids=["no path", "empty", "unknown key"])
def test_anything_else_is_refused(raw):
    with pytest.raises(ValidationError):
        PushConfig.model_validate(raw)
