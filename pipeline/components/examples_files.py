"""The files of the examples that our ExampleGen left, each with its span and its place in time."""

from __future__ import annotations

import bisect
import json

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from data.shards import index_of
from data.spans import EVAL, TRAIN
from monitoring.neighbours import ExamplesFile
from pipeline.components.example_gen import SHARD_SPANS


def examples_files(examples: types.Artifact) -> list[ExamplesFile]:
    """All of them, oldest first; of a shard, the train split's before the eval split's."""
    firsts = {int(span): first for span, first in json.loads(examples.get_string_custom_property(SHARD_SPANS)).items()}
    spans = sorted(firsts)
    starts = [firsts[span] for span in spans]
    found = sorted(
        (index_of(path), split == EVAL, path)
        for split in (TRAIN, EVAL)
        for path in fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*.gz")
    )
    return [
        ExamplesFile(path, index, spans[bisect.bisect(starts, shard) - 1], is_eval=is_eval)
        for index, (shard, is_eval, path) in enumerate(found)
    ]
