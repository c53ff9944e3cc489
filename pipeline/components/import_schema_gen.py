"""ImportSchemaGen that knows what is in the file.

TFX's own has the path alone in its cache key: an edited schema would be answered from the cache.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from storage.places import at


class ImportSchemaGenSpec(component_spec.ComponentSpec):
    """What ImportSchemaGen takes and gives."""

    PARAMETERS = {name: component_spec.ExecutionParameter(type=str) for name in ("schema_file", "fingerprint")}
    INPUTS: dict[str, Any] = {}
    OUTPUTS = {"schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)}


class ImportSchemaGen(base_component.BaseComponent):
    """Brings the reviewed schema into the pipeline, through TFX's own executor."""

    SPEC_CLASS = ImportSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str) -> None:
        super().__init__(
            ImportSchemaGenSpec(
                schema_file=schema_file,
                fingerprint=hashlib.sha256(at(schema_file).read_bytes()).hexdigest()[:16],
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )
