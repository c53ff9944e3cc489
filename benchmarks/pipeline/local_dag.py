"""Headrace's nodes on TFX's LocalDagRunner, in a process of its own: what the runner brings, and what the nodes bring.

python -m benchmarks.pipeline.local_dag CONFIG.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.orchestration.local.local_dag_runner import LocalDagRunner

from pipeline.beam import IN_MEMORY
from pipeline.config import load_config
from pipeline.dag import build_pipeline

if __name__ == "__main__":
    pipeline = build_pipeline(load_config(Path(sys.argv[1])), {})
    for component in pipeline.components:
        if isinstance(component, BaseBeamComponent):
            component.with_beam_pipeline_args(list(IN_MEMORY))
    LocalDagRunner().run(pipeline)
