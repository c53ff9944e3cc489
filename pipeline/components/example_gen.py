"""ExampleGen over a window of spans.

TFX's file-based ExampleGen takes one span a run and fingerprints files by their modification times. This one
takes a rolling window (the newest span evaluates, those before it train) or a hash split, and fingerprints
content. The reading itself is `data.examples`.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter, defaultdict
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tfx_bsl
from pydantic import TypeAdapter
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.example_gen import driver, utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.orchestration.portable import data_types
from tfx.proto import example_gen_pb2
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts

from data.columns import ARROW_TYPES
from data.config import DataConfig
from data.examples import (
    EVERY_SPLIT,
    METRICS,
    ExamplesPlan,
    WriteExamples,
    count_of,
    dropped_of,
    error_of,
    quarantined_of,
    split_name,
)
from data.quarantine import FOLDER, tell_first
from data.spans import EVAL, TRAIN, Window, find_window, fingerprint
from pipeline.components.examples_plan import ShardsPlan, plan_shards, shards_of
from pipeline.components.seen_spans import (
    SpanRecord,
    SpanShards,
    TakeOver,
    find_seen,
    leave_records,
    pairs_of,
    takes_over,
)
from pipeline.components.shares import divided, shares_of
from schema.errors import DataError

SPLITS = (TRAIN, EVAL)
WINDOW = "window"
_WINDOW = TypeAdapter(Window)
COUNTS = "counts"
"""Custom property of the examples: JSON of the examples in each split, the rows left out with reasons, and the rows
that were put aside since they do not fit: how many, for which column, and the first ones (see `data.quarantine`)."""
SHARD_SPANS = "shard_spans"
"""Custom property of the examples: JSON of the index of each span's first shard, by the span."""
SPAN_FINGERPRINTS = "span_fingerprints"
"""Custom property of the examples: JSON of a fingerprint of each span's examples, by the span: of the data they are
made of, and of all that says how."""
TAKEN_OVER = "taken_over"
"""Custom property of the examples: JSON of the spans that were not read again, see `seen_spans`."""

_FIRST_ROWS = 3


class ExampleGenDriver(driver.Driver):
    """Chooses the spans and fingerprints them before the cache is asked, so that the same data is not read twice."""

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Adds the window to the execution's properties, and span and fingerprint to the artifact's."""
        window = find_window(DataConfig.model_validate_json(execution_info.exec_properties["data"]))
        output = driver_output_pb2.DriverOutput()
        output.exec_properties[WINDOW].string_value = _WINDOW.dump_json(window).decode()
        artifact = copy.deepcopy(execution_info.output_dict["examples"][0])
        describe(artifact, window)
        output.output_artifacts["examples"].artifacts.append(artifact.mlmd_artifact)
        return output


class ExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Writes the window's examples, split by split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Reads every block of every span and writes one shard of examples for each.

        Raises:
            DataError: A file cannot be read, a column does not fit, or a split would be empty.
        """
        data = DataConfig.model_validate_json(exec_properties["data"])
        chosen = exec_properties.get(WINDOW)
        window = _WINDOW.validate_json(chosen) if chosen else find_window(data)
        artifact = artifact_utils.get_single_instance(output_dict["examples"])
        if not artifact.has_custom_property(utils.FINGERPRINT_PROPERTY_NAME):  # Kubeflow runs no driver of ours
            describe(artifact, window)
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        feature_types = json.loads(exec_properties["types"])
        plan = ExamplesPlan(
            types={name: ARROW_TYPES[feature_type] for name, feature_type in feature_types.items()},
            exclude=frozenset(json.loads(exec_properties["exclude"])),
            drop=data.drop,
            label=exec_properties["label"],
            split_uris={split: artifact_utils.get_split_uri([artifact], split) for split in SPLITS},
            hash_buckets={TRAIN: data.split.train, EVAL: data.split.eval} if data.split else {},
            quarantine=f"{artifact.uri}/{FOLDER}",
            temporary=f"{artifact.uri}/unfinished",
        )
        # An attempt before this one, in Airflow say, may have left half of another window.
        if fileio.exists(artifact.uri):
            fileio.rmtree(artifact.uri)
        fingerprints = _how_made(artifact, exec_properties)
        seen = find_seen(artifact.uri, fingerprints) if takes_over(self._beam_pipeline_args) else {}
        shards = plan_shards(data, window, plan.types, seen)
        found = self._write(artifact.uri, plan, shards)
        for span, each in seen.items():
            found[span] = _in_split(each.record, shards.spans[span])
        counts = _counts(sum(found.values(), Counter()), data, plan.quarantine)
        _refuse_empty(counts, window, data)
        artifact.set_string_custom_property(COUNTS, json.dumps(counts))
        firsts = {span: each.first for span, each in shards.spans.items() if each.count}
        artifact.set_string_custom_property(SHARD_SPANS, json.dumps(firsts))
        artifact.set_string_custom_property(SPAN_FINGERPRINTS, json.dumps(fingerprints))
        artifact.set_string_custom_property(TAKEN_OVER, json.dumps(sorted(seen)))
        leave_records(artifact.uri, shards.spans, fingerprints, found)
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")

    def _write(self, uri: str, examples: ExamplesPlan, shards: ShardsPlan) -> dict[int, Counter[str]]:
        """Writes all examples; gives what was counted of each span that was read."""
        fileio.makedirs(examples.temporary)
        shares = min(shares_of(self._beam_pipeline_args), shards.most_shares)

        def write(share: int) -> dict[str, int]:
            with self._make_beam_pipeline() as pipeline:
                if shards.taken:
                    _ = (
                        pipeline
                        | "Taken" >> beam.Create(shards.taken, reshuffle=False)
                        | "Pairs" >> beam.FlatMap(pairs_of, uri, share, shares)
                        | "SpreadPairs" >> beam.Reshuffle()
                        | "TakeOver" >> beam.ParDo(TakeOver(examples.temporary))
                    )
                _ = (
                    pipeline
                    | "Files" >> beam.Create(shards.read, reshuffle=False)
                    | "Blocks" >> beam.FlatMap(shards_of, share, shares)
                    | "Spread" >> beam.Reshuffle()
                    | "WriteExamples" >> beam.ParDo(WriteExamples(examples))
                )
            return _counted(pipeline.result)

        found: dict[int, Counter[str]] = defaultdict(Counter)
        try:
            with divided("ExampleGen", write, shares) as written:
                for counters in written():
                    for counter, number in counters.items():
                        span, name = split_name(counter)
                        found[span][name] += number
        except Exception as failure:
            raise error_of(examples) or failure from failure
        fileio.rmtree(examples.temporary)
        return found


class ExampleGenSpec(component_spec.ComponentSpec):
    """What ExampleGen takes and gives."""

    PARAMETERS = {
        "data": component_spec.ExecutionParameter(type=str),
        "types": component_spec.ExecutionParameter(type=str),
        "exclude": component_spec.ExecutionParameter(type=str),
        "label": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, Any] = {}
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class ExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests the window of spans that one run trains and evaluates on.

    Args:
        data: Where the data is and how it is divided; paths already absolute.
        schema: Gives the type of each column.
        exclude: Columns that never become features.
        label: The column without which a row is no example.
        code: Fingerprint of the reading code, so that a change to it is not answered from the cache.
    """

    SPEC_CLASS = ExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(ExampleGenExecutor)
    DRIVER_CLASS = ExampleGenDriver

    def __init__(self, data: DataConfig, schema: schema_pb2.Schema, exclude: list[str], label: str, code: str) -> None:
        super().__init__(
            ExampleGenSpec(
                data=data.model_dump_json(),
                types=json.dumps({feature.name: int(feature.type) for feature in schema.feature}),
                exclude=json.dumps(sorted(exclude)),
                label=label,
                code=code,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )


def describe(examples: types.Artifact, window: Window) -> None:
    """Sets the properties that tell which data the examples are of: the newest span, and the content of all.

    Raises:
        DataError: A file cannot be read.
    """
    spans = {span.number: fingerprint([span]) for span in window.spans}
    examples.set_int_custom_property(utils.SPAN_PROPERTY_NAME, window.number)
    examples.set_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME, _digest(spans))
    examples.set_string_custom_property(SPAN_FINGERPRINTS, json.dumps(spans))
    examples.set_string_custom_property(WINDOW, window.describe())


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _how_made(examples: types.Artifact, exec_properties: dict[str, Any]) -> dict[int, str]:
    """The fingerprint of each span's examples: of the data, and of all that says how they are made of it."""
    how = [exec_properties[name] for name in ("types", "exclude", "label", "code")]
    how += [pa.__version__, tfx_bsl.__version__]  # what one lane's libraries made is not mixed with the other's
    data = json.loads(exec_properties["data"])
    how += [data["source"]["format"], data["drop"], data["split"]]
    spans = json.loads(examples.get_string_custom_property(SPAN_FINGERPRINTS))
    return {int(span): _digest([found, how]) for span, found in spans.items()}


def _in_split(record: SpanRecord, shards: SpanShards) -> Counter[str]:
    """What was counted of a span, which may have been in another split."""
    before, now = record.shards.split, shards.split
    renamed = {count_of(before): count_of(now)} if before and now else {}
    return Counter({renamed.get(name, name): number for name, number in record.counts.items()})


def _counted(result: beam.runners.runner.PipelineResult) -> dict[str, int]:
    counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(METRICS))["counters"]
    return {counter.key.metric.name: counter.committed for counter in counters}


def _counts(found: Counter[str], data: DataConfig, quarantine: str) -> dict[str, Any]:
    return {
        "examples": {split: found[count_of(split)] for split in SPLITS},
        "dropped": [
            {"missing": drop.missing, "reason": drop.reason, "rows": found[dropped_of(drop)]} for drop in data.drop
        ],
        "quarantined": [
            _quarantined(split, of, found, quarantine)
            for split, of in ([(EVERY_SPLIT, SPLITS)] if data.split else [(split, (split,)) for split in SPLITS])
        ],
    }


def _quarantined(split: str, of: tuple[str, ...], found: Counter[str], folder: str) -> dict[str, Any]:
    prefix = quarantined_of(split, "")
    columns = {name.removeprefix(prefix): rows for name, rows in sorted(found.items()) if name.startswith(prefix)}
    rows = sum(columns.values())
    return {
        "splits": of,
        "rows": rows,
        "columns": columns,
        "first": tell_first(folder, split, _FIRST_ROWS) if rows else [],
    }


def _refuse_empty(counts: dict[str, Any], window: Window, data: DataConfig) -> None:
    left_out = [f"{each['rows']} rows left out: {each['reason']}" for each in counts["dropped"]]
    for each in counts["quarantined"]:
        left_out += [f"{each['rows']} rows that do not fit, the first: {told}" for told in each["first"][:1]]
    for split, number in counts["examples"].items():
        if not number:
            raise DataError(
                f"The {split} split has no example",
                where=f"{data.source.path} ({window.describe()})",
                expected="at least one row that is kept",
                received="; ".join(left_out) or "no row",
                mend="Deliver the span again, or correct the schema or data.drop.",
            )
