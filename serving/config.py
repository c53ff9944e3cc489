"""The `push:` and `serve:` sections of a pipeline's YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, model_validator

from schema.strict import Strict

Port = Annotated[int, Field(ge=0, le=65535)]


class PushConfig(Strict):
    """Where validated models go."""

    path: Annotated[str, Field(min_length=1)]
    """The base path that a model server polls; each model becomes a numbered folder in it."""


class RequestLogConfig(Strict):
    """What a model server logs of the requests that it answers."""

    path: Annotated[str, Field(min_length=1)]
    """A folder; each file in it is a TFRecord of PredictionLogs."""
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of requests that are logged."""
    rotate_mib: PositiveFloat = 64.0
    rotate_seconds: PositiveFloat = 900.0
    """A file is finished after so many bytes or so much time, whichever comes first."""


class ServeConfig(Strict):
    """How `headrace serve PIPELINE` serves what was pushed."""

    host: str = "127.0.0.1"
    """The address to listen on."""
    grpc_port: Port = 8500
    rest_port: Port = 8501
    """0 for no REST."""
    request_log: RequestLogConfig | None = None
    """None to log nothing."""

    @model_validator(mode="after")
    def _ports_differ(self) -> ServeConfig:
        if self.grpc_port == self.rest_port:
            raise ValueError("grpc_port and rest_port must differ")
        return self
