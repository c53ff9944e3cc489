"""The base of every configuration type."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and refuses keys it does not know: a misspelt key is an error, never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
