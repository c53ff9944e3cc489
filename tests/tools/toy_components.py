# No `from __future__ import annotations` here: TFX reads the annotations of component functions as objects.
"""Tiny components for the runner's tests."""

import os
import time
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model

from schema.errors import DataError


@component
def Source(model: OutputArtifact[Model], text: Parameter[str]) -> None:
    Path(model.uri, "text").write_text(text)


@component
def Meet(upstream: InputArtifact[Model], model: OutputArtifact[Model], other: Parameter[str]) -> None:
    """Ends when the other node has begun as well, in this run or an earlier one; fails if it does not begin."""
    print("waiting", upstream.uri)
    Path(model.uri, "begun").touch()
    deadline = time.monotonic() + 60
    while not list(Path(model.uri).parents[2].glob(f"{other}/model/*/begun")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{other} has not begun")
        time.sleep(0.01)
    Path(model.uri, "met").touch()


@component
def Break(upstream: InputArtifact[Model], model: OutputArtifact[Model], how: Parameter[str]) -> None:
    Path(model.uri, "half").write_text("written")
    if how == "user":
        raise DataError("The value is wrong", where=upstream.uri, expected="a good one")
    if how == "bug":
        raise ValueError("some internal detail")
    if how == "disk":
        raise OSError(28, "No space left on device", "/full/file")
    if how == "kill":
        os.kill(os.getpid(), 9)
