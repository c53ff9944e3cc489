"""Why a node was answered from the cache, or why it was not: read off ML Metadata after the fact."""

from __future__ import annotations

import json
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.metadata import FINISHED, History

_LONGEST = 60
_BOOKKEEPING = ("name", "tfx_version", "code_location", "state", "__external_execution_index__", "current_model_id")


def cached_reason(history: History, execution: pb.Execution) -> str:
    """Which run the outputs come from."""
    outputs = [each for group in history.artifacts(execution.id, pb.Event.OUTPUT).values() for each in group]
    producers = [producer for artifact in outputs if (producer := history.producer(artifact.id)) is not None]
    source = f"run {history.run_of(max(producers))}" if producers else "an earlier run"
    return f"same inputs, parameters and code as in {source}"


_RESOLVERS = {
    "BaseModel": (
        "base_model",
        "training may start from model",
        "no earlier span has a blessed model, so training starts afresh",
    ),
    "EarlierAnalysis": (
        "analyzer_cache",
        "large spans that an earlier window had are known from analysis",
        "no earlier window has been analyzed",
    ),
    "LastGoodExamples": (
        "examples",
        "the last good span is that of examples",
        "the data gate has passed no earlier span, so there is no last good one",
    ),
    "LatestBlessedModel": (
        "baseline",
        "the baseline is model",
        "there is no blessed model yet, so there is no baseline",
    ),
}
"""Node → the key of its output, what is said of what it found, what is said if it found nothing."""


def resolved_reason(history: History, execution: pb.Execution) -> str:
    """What a resolver found."""
    key, told, nothing = _RESOLVERS[history.node_of(execution.id)]
    found = history.artifacts(execution.id, pb.Event.INTERNAL_OUTPUT).get(key, [])
    if not found:
        return nothing
    producer = history.producer(found[0].id)
    return f"{told} {found[0].id}" + (f" of run {history.run_of(producer)}" if producer else "")


def ran_reason(history: History, node: str, execution: pb.Execution, *, forced: str | None) -> str:
    """What differs from the node's last execution, so that its outputs could not be used again."""
    if forced:
        return forced
    earlier = [each for each in history.executions_of_node(node) if each.id < execution.id]
    finished = [each for each in earlier if each.last_known_state in FINISHED and _is_own(history, each)]
    if not finished:
        return "the last attempt did not finish" if earlier else "first run of this node"
    last = finished[-1]
    differences = _input_differences(history, last, execution) + _property_differences(last, execution)
    differences += _output_differences(history, last, execution)
    if differences:
        return "; ".join(differences)
    if earlier[-1].id != last.id:
        return "the last attempt did not finish"
    return "the cached outputs are gone or an older run's"


def taken_over(history: History, execution: pb.Execution) -> str:
    """How many spans were there already; ExampleGen's executor notes that in the artifact."""
    for examples in history.artifacts(execution.id, pb.Event.OUTPUT).get("examples", []):
        spans = json.loads(examples.custom_properties["taken_over"].string_value or "[]")
        if spans:
            of = len(json.loads(examples.custom_properties["span_fingerprints"].string_value))
            return f"; {len(spans)} of {of} spans as an earlier run has read them"
    return ""


def _is_own(history: History, execution: pb.Execution) -> bool:
    """Not the copy that `--from` makes of an execution: that has outputs only."""
    return bool(_properties(execution) or history.artifacts(execution.id, pb.Event.INPUT))


def _input_differences(history: History, before: pb.Execution, now: pb.Execution) -> list[str]:
    old, new = (history.artifacts(each.id, pb.Event.INPUT) for each in (before, now))
    differences = []
    for key in sorted(set(old) | set(new)):
        old_ids, new_ids = ([artifact.id for artifact in each.get(key, [])] for each in (old, new))
        if old_ids == new_ids:
            continue
        key = "verdict" if key.startswith("_") else key  # a condition's own input
        if not old_ids or not new_ids:
            differences.append(f"there is {'a' if new_ids else 'no'} {key} now")
        else:
            producer = history.producer(new_ids[-1])
            differences.append(f"new {key}" + (f" from {history.node_of(producer)}" if producer else ""))
    return differences


def _property_differences(before: pb.Execution, now: pb.Execution) -> list[str]:
    old, new = (_properties(each) for each in (before, now))
    return [
        text for key in sorted(set(old) | set(new)) if old.get(key) != new.get(key)
        for text in _value_differences(key, old.get(key), new.get(key))
    ]  # fmt: skip


def _output_differences(history: History, before: pb.Execution, now: pb.Execution) -> list[str]:
    """ExampleGen's driver notes what it found in the artifact."""
    old, new = (history.artifacts(each.id, pb.Event.OUTPUT).get("examples", []) for each in (before, now))
    if not old or not new:
        return []
    found = [each[0].custom_properties["input_fingerprint"].string_value for each in (old, new)]
    if found[0] == found[1]:
        return []
    windows = [each[0].custom_properties["window"].string_value for each in (old, new)]
    return ["the data changed" if windows[0] == windows[1] else f"new window: {windows[1]}"]


def _properties(execution: pb.Execution) -> dict[str, Any]:
    return {
        key: _parsed(getattr(value, value.WhichOneof("value") or "string_value"))
        for key, value in execution.custom_properties.items()
        if key not in _BOOKKEEPING
    }


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _value_differences(path: str, old: Any, new: Any) -> list[str]:
    """Down to the innermost values that differ: `training.epochs: 3 → 4`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            text
            for key in sorted(set(old) | set(new))
            if old.get(key) != new.get(key)
            for text in _value_differences(f"{path}.{key}", old.get(key), new.get(key))
        ]
    if path == "code" or path.endswith(".code"):
        return ["the code changed"]
    old_text, new_text = json.dumps(old), json.dumps(new)
    if len(old_text) + len(new_text) > _LONGEST:
        return [f"{path} changed"]
    return [f"{path}: {old_text} → {new_text}"]
