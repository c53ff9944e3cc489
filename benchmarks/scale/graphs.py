"""What the Beam nodes ask of Dataflow: transforms, fused stages, shuffles and bytes of each job graph."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.translations import Stage
from apache_beam.runners.worker.bundle_processor import DATA_OUTPUT_URN

from benchmarks.scale.measured import Graph
from benchmarks.scale.nodes import Nodes

_GROUP_BUFFER = b"group:"


class Translated(Exception):
    """The job was translated; nothing is to be run."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("translated")
        self.graph = graph


class TranslatingRunner(DataflowRunner):
    """The real DataflowRunner, which ends with `Translated` when it has written its template."""

    def run_pipeline(
        self, pipeline: beam.Pipeline, options: PipelineOptions, pipeline_proto: Any = None
    ) -> beam.runners.runner.PipelineResult:
        """Translates.

        Raises:
            Translated: Always, if the pipeline can be translated.
        """
        super().run_pipeline(pipeline, options, pipeline_proto)
        template = Path(options.view_as(GoogleCloudOptions).template_location)
        raise Translated(graph_of(self.proto_pipeline, template.stat().st_size))


def translate(nodes: Nodes, name: str) -> Graph:
    """The job of one node, whose inputs have been run."""
    os.environ["NO_GCE_CHECK"] = "true"  # else Beam waits for a metadata server
    with tempfile.TemporaryDirectory() as folder:
        try:
            nodes.run(name, _options(folder))
        except Translated as translated:
            return translated.graph
    raise RuntimeError(f"{name} has run no Beam pipeline")


def graph_of(pipeline: beam_runner_api_pb2.Pipeline, job_bytes: int) -> Graph:
    """Counts, after Beam's own fusion (the service's rules are the same, its fuser is not public)."""
    _, stages = FnApiRunner().create_stages(pipeline)
    leaves = [each for each in pipeline.components.transforms.values() if not each.subtransforms and each.spec.urn]
    return Graph(
        transforms=len(leaves),
        stages=len(stages),
        shuffles=sum(1 for _ in group_inputs(stages)),
        bytes=job_bytes,
        proto_bytes=pipeline.ByteSize(),
    )


def group_inputs(stages: list[Stage]) -> Iterator[str]:
    """The PCollection that goes into each shuffle; combiners are lifted by then."""
    for stage in stages:
        for transform in stage.transforms:
            if transform.spec.urn == DATA_OUTPUT_URN and transform.spec.payload.startswith(_GROUP_BUFFER):
                yield from transform.inputs.values()


def _options(folder: str) -> list[str]:
    return [
        f"--runner={TranslatingRunner.__module__}.{TranslatingRunner.__name__}",
        "--dataflow_endpoint=http://localhost:1",  # what a local endpoint takes may lie on disk
        "--project=project",
        "--region=us-central1",
        "--no_auth",
        "--sdk_container_image=image",
        f"--temp_location={folder}",
        f"--staging_location={folder}",
        f"--template_location={folder}/job.json",
    ]
