"""DistributionValidator: the newest span against the training window and against the last good span.

TFX's own takes fixed thresholds from the DAG, computes the L-infinity distance of a number as 0, knows no least sample,
and compares two splits, never a span with the spans before it. This one profiles the window, takes its thresholds from
the training spans (`monitoring.null`), and writes the same artifact: an `Anomalies` proto for each pair of splits.
"""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
import numpy as np
from pydantic import TypeAdapter
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx import types
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME as SCHEMA_FILE
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from data.spans import EVAL, TRAIN
from models.features import Feature
from monitoring.checks import Setting, by_impact, compare, rate_of_check
from monitoring.explain import explained
from monitoring.measures import Measure
from monitoring.profile import Profile
from monitoring.profiling import ProfileExamples, save_profile
from monitoring.related import Related
from monitoring.report import Check, Comparison, State
from pipeline.components.artifacts import ExampleProfile
from pipeline.components.example_gen import COUNTS
from pipeline.components.examples_files import examples_files
from schema.contract import load_schema
from storage.places import Place, at

CHECKS_FILE = "checks.json"
"""Beside the anomalies: every check, for the data gate."""

ANOMALIES_FILE = "SchemaDiff.pb"
_PAIR = f"{EVAL}_{TRAIN}"
_CHECKS = TypeAdapter(tuple[Check, ...])
_MEASURES = {
    Measure.L_INFINITY.value: anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY,
    Measure.JENSEN_SHANNON.value: anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE,
    Measure.NORMALIZED_DIFFERENCE.value: anomalies_pb2.DriftSkewInfo.Measurement.NORMALIZED_ABSOLUTE_DIFFERENCE,
}


class DistributionValidatorExecutor(base_beam_executor.BaseBeamExecutor):
    """Profiles the window, then judges its newest span."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Leaves the profile, the anomalies and the checks."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        features = [Feature.from_json(raw) for raw in json.loads(exec_properties["features"])]
        folder = artifact_utils.get_single_uri(output_dict["profile"])
        rows = sum(json.loads(examples.get_string_custom_property(COUNTS))["examples"].values())
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | ProfileExamples(examples_files(examples), features, rows, exec_properties["label"])
                | "Save" >> beam.Map(save_profile, folder)
            )
        good = input_dict.get("last_good_examples") or []
        last_good = int(good[0].get_int_custom_property("span")) if good else None
        schema = load_schema(at(artifact_utils.get_single_uri(input_dict["schema"])) / SCHEMA_FILE)
        checks = judge_newest_span(
            Profile.load(at(folder)),
            last_good,
            exec_properties["false_alarm_rate"],
            exec_properties["fewest_rows"],
            schema,
            exec_properties["label"],
        )
        anomalies = artifact_utils.get_single_instance(output_dict["anomalies"])
        anomalies.split_names = artifact_utils.encode_split_names([_PAIR])
        pair = at(anomalies.uri) / f"SplitPair-{_PAIR}"
        pair.mkdir(parents=True, exist_ok=True)
        (pair / ANOMALIES_FILE).write_bytes(as_anomalies(checks).SerializeToString())
        (at(anomalies.uri) / CHECKS_FILE).write_bytes(_CHECKS.dump_json(tuple(checks)))


def judge_newest_span(
    profile: Profile,
    last_good: int | None,
    false_alarm_rate: float,
    fewest_rows: int,
    schema: schema_pb2.Schema,
    label: str,
) -> list[Check]:
    """Compares the newest span with those before it; nothing if there is only one, or no time at all.

    Args:
        profile: Of the window, the newest span among it.
        last_good: The newest span that a data gate passed before; None if none did.
        false_alarm_rate: Of all checks together.
        fewest_rows: With fewer nothing is judged.
        schema: Its drift comparators win over thresholds from data.
        label: Is a feature like the others here.
    """
    newest = profile.newest_span
    is_newest = profile.spans == newest
    if is_newest.all():
        return []
    before = profile.only(~is_newest)
    known = last_good if last_good in before.spans else None
    current = {key: counts[is_newest].sum(axis=0) for key, counts in profile.counts.items()}
    unseen = {name: int(rows[is_newest].sum()) for name, rows in profile.new_rows.items()}
    for (name, kind), counts in current.items():
        if name in unseen:
            _tell_apart(counts, before.counts[name, kind].sum(axis=0), unseen[name])
    setting = Setting(
        Comparison.DRIFT,
        f"span {newest}",
        rate_of_check(false_alarm_rate, profile),
        fewest_rows,
        schema,
        {},
        known,
    )
    checks = compare(before, current, setting)
    return by_impact(explained(checks, profile.earlier, {}, profile.newest, label, Related.of(before, profile.sample)))


def _tell_apart(counts: np.ndarray, before: np.ndarray, unseen: int) -> None:
    """Counts values that no earlier span has as never seen: the bins know them, since they are the newest span's too.

    Args:
        counts: Of the newest span by bin of a category, the last three of others, unseen, missing: changed in place.
        before: Of the earlier spans.
        unseen: The rows of the newest span with such a value.
    """
    is_new = before == 0
    is_new[-3:] = False
    with_own_bin = int(counts[is_new].sum())
    counts[is_new] = 0
    counts[-3] -= unseen - with_own_bin
    counts[-2] += unseen


def as_anomalies(checks: list[Check]) -> anomalies_pb2.Anomalies:
    """The checks as TFDV would write them: every measurement, and an anomaly for each alarm."""
    anomalies = anomalies_pb2.Anomalies()
    for check in checks:
        if check.measure in _MEASURES:
            info = anomalies.drift_skew_info.add()
            info.path.step.append(check.subject)
            info.drift_measurements.add(type=_MEASURES[check.measure], value=check.value, threshold=check.threshold)
        if check.state is State.ALARM:
            found = anomalies.anomaly_info[check.subject]
            found.path.step[:] = [check.subject]
            found.severity = anomalies_pb2.AnomalyInfo.ERROR if check.is_fault else anomalies_pb2.AnomalyInfo.WARNING
            found.short_description = "High distance between span and window"
            found.description = describe(check)
            found.reason.add(
                type=anomalies_pb2.AnomalyInfo.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH
                if check.measure == Measure.JENSEN_SHANNON.value
                else anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH,
                short_description=found.short_description,
                description=found.description,
            )
    return anomalies


def load_checks(folder: Place) -> tuple[Check, ...]:
    """What the executor left beside the anomalies."""
    return _CHECKS.validate_json((folder / CHECKS_FILE).read_bytes())


def describe(check: Check) -> str:
    """A check in words."""
    told = f"{check.measure} {check.value:.4g}, threshold {check.threshold:.4g}, against the {check.against}"
    return f"{check.diagnosis} ({told})" if check.diagnosis else told


class DistributionValidatorSpec(component_spec.ComponentSpec):
    """What DistributionValidator takes and gives."""

    PARAMETERS = {
        "features": component_spec.ExecutionParameter(type=str),
        "label": component_spec.ExecutionParameter(type=str),
        "false_alarm_rate": component_spec.ExecutionParameter(type=float),
        "fewest_rows": component_spec.ExecutionParameter(type=int),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "last_good_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "profile": component_spec.ChannelParameter(type=ExampleProfile),
    }


class DistributionValidator(base_beam_component.BaseBeamComponent):
    """See the module. The inputs are named as the specification names them."""

    SPEC_CLASS = DistributionValidatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(DistributionValidatorExecutor)

    def __init__(self, **inputs_and_parameters: Any) -> None:
        super().__init__(
            DistributionValidatorSpec(
                anomalies=types.Channel(type=standard_artifacts.ExampleAnomalies),
                profile=types.Channel(type=ExampleProfile),
                **inputs_and_parameters,
            )
        )
