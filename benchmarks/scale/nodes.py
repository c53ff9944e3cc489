"""The pipeline's own nodes, run or translated one by one in this process, without metadata or an orchestrator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import Artifact

from pipeline.beam import IN_MEMORY_RUNNER
from pipeline.config import PipelineConfig
from pipeline.dag import build_pipeline


class Nodes:
    """The nodes of a pipeline, and the artifacts that those run so far have left.

    Args:
        config: What `pipeline.dag` builds the nodes from.
        folder: Gets a folder for each output.
    """

    def __init__(self, config: PipelineConfig, folder: Path) -> None:
        self._nodes: dict[str, BaseNode] = {node.id: node for node in build_pipeline(config, {}).components}
        self._folder = folder
        self._artifacts: dict[tuple[str, str], Artifact] = {}

    def run(self, name: str, beam_args: Sequence[str] = (IN_MEMORY_RUNNER,)) -> None:
        """Runs one node; its inputs are those that were run before, an optional one is left out.

        Args:
            name: The node's id.
            beam_args: Beam's options, if it is a Beam node.
        """
        node = self._nodes[name]
        inputs = {
            key: [self._artifacts[channel.producer_component_id, channel.output_key]]
            for key, channel in node.inputs.items()
            if (channel.producer_component_id, channel.output_key) in self._artifacts
        }
        outputs = {key: [self._output(name, key, channel.type)] for key, channel in node.outputs.items()}
        executor = node.executor_spec.executor_class
        executor(_context(executor, self._folder / "temporary", beam_args)).Do(inputs, outputs, self._properties(node))
        self._artifacts.update({(name, key): artifact for key, (artifact,) in outputs.items()})

    def output_bytes(self, name: str, key: str) -> int:
        """The size on disk of what a node left."""
        root = Path(self._artifacts[name, key].uri)
        return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())

    def _output(self, name: str, key: str, kind: type[Artifact]) -> Artifact:
        artifact = kind()
        artifact.uri = str(self._folder / name / key)
        Path(artifact.uri).mkdir(parents=True, exist_ok=True)
        return artifact

    @staticmethod
    def _properties(node: BaseNode) -> dict[str, Any]:
        return {name: value for name, value in node.exec_properties.items() if value is not None}


def _context(executor: type[BaseExecutor], temporary: Path, beam_args: Sequence[str]) -> BaseExecutor.Context:
    temporary.mkdir(parents=True, exist_ok=True)
    if issubclass(executor, BaseBeamExecutor):
        return BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args), tmp_dir=str(temporary), unique_id="1")
    return BaseExecutor.Context(tmp_dir=str(temporary), unique_id="1")
