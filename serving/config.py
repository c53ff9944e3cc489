"""The `push:` section of a pipeline's YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schema.strict import Strict


class PushConfig(Strict):
    """Where validated models go."""

    path: Annotated[str, Field(min_length=1)]
    """The base path that a model server polls; each model becomes a numbered folder in it."""
