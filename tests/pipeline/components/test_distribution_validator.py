"""DistributionValidator: the window's profile, and what the newest span differs in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import watched
from google.protobuf import text_format
from small_artifacts import artifact_at, execute, write_examples
from small_reference import FEATURES, LABEL, SCHEMA, changed, flights_of, rows_of, small_schema
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types.standard_artifacts import ExampleAnomalies, Schema

from monitoring.profile import Profile
from monitoring.report import Check, Comparison, State
from pipeline.components.artifacts import ExampleProfile
from pipeline.components.distribution_validator import (
    DistributionValidatorExecutor,
    as_anomalies,
    describe,
    judge_newest_span,
    load_checks,
)
from schema.errors import SchemaError

ALL = (*FEATURES, LABEL)
SPANS = {span: flights_of(span, 800) for span in (1, 2, 3, 4)}
KILOMETRES = changed(SPANS[4], miles=SPANS[4]["miles"].to_numpy() * 1.609344)


def judged(newest: pa.Table, last_good: int | None = None, schema=None) -> list[Check]:
    tables = {**SPANS, 4: newest}
    profile = watched.profile_of(ALL, {span: rows_of(table) for span, table in tables.items()})
    return judge_newest_span(profile, last_good, 0.01, 100, schema or small_schema(), "late")


def alarms(checks: list[Check]) -> dict[str, Check]:
    return {check.subject: check for check in reversed(checks) if check.state is State.ALARM}


def run(folder: Path, newest: pa.Table, last_good: int | None = None) -> tuple[Profile, Path]:
    schema = artifact_at(Schema, folder / "schema")
    (folder / "schema" / "schema.pbtxt").write_text(SCHEMA)
    inputs = {"examples": write_examples(folder / "examples", {**SPANS, 4: newest}), "schema": schema}
    if last_good is not None:
        inputs["last_good_examples"] = write_examples(folder / "good", {last_good: SPANS[last_good]})
        inputs["last_good_examples"].set_int_custom_property("span", last_good)
    outputs = {
        "profile": artifact_at(ExampleProfile, folder / "profile"),
        "anomalies": artifact_at(ExampleAnomalies, folder / "anomalies"),
    }
    properties = {
        "features": json.dumps([each.to_json() for each in ALL]),
        "label": "late",
        "false_alarm_rate": 0.01,
        "fewest_rows": 100,
    }
    execute(DistributionValidatorExecutor, folder, inputs, outputs, properties)
    assert outputs["anomalies"].split_names == '["eval_train"]'
    assert {path.name for path in (folder / "profile").iterdir()} == {"profile.json", "counts.npz"}
    return Profile.load(folder / "profile"), folder / "anomalies"


def test_a_good_span_and_the_profile_of_its_window(tmp_path: Path) -> None:
    profile, folder = run(tmp_path, SPANS[4], last_good=2)
    assert profile.rows == 3200
    assert np.unique(profile.spans).tolist() == [1, 2, 3, 4]
    checks = load_checks(folder)
    assert alarms(list(checks)) == {}
    assert {check.against for check in checks} == {"training window", "last span, 2"}
    anomalies = anomalies_pb2.Anomalies.FromString((folder / "SplitPair-eval_train" / "SchemaDiff.pb").read_bytes())
    assert not anomalies.anomaly_info
    assert {info.path.step[0] for info in anomalies.drift_skew_info} >= {"miles", "carrier", "late"}


def test_a_fault_in_the_newest_span(tmp_path: Path) -> None:
    _, folder = run(tmp_path, KILOMETRES)
    first, *_ = load_checks(folder)
    assert (first.subject, first.is_fault, first.source, first.comparison) == (
        "miles",
        True,
        "span 4",
        Comparison.DRIFT,
    )
    assert "1.609" in first.diagnosis
    anomalies = anomalies_pb2.Anomalies.FromString((folder / "SplitPair-eval_train" / "SchemaDiff.pb").read_bytes())
    found = anomalies.anomaly_info["miles"]
    assert found.severity == anomalies_pb2.AnomalyInfo.ERROR
    assert "1.609" in found.description


def test_a_new_value_is_told_apart_though_the_bins_know_it() -> None:
    carriers = SPANS[4]["carrier"].to_pylist()
    carriers[::20] = ["ZZ"] * 40
    checks = judged(changed(SPANS[4], carrier=carriers))
    [unseen] = [check for check in checks if (check.subject, check.aspect) == ("carrier", "unseen values")]
    assert (unseen.value, unseen.state, unseen.rows) == (0.05, State.ALARM, 800)
    shown = dict(zip(unseen.distribution.bins, unseen.distribution.current, strict=True))
    assert sum(shown.values()) == pytest.approx(1, abs=1e-4)


def test_new_values_that_share_a_bin() -> None:
    tables = {span: changed(table, carrier=[f"c{i % 200}" for i in range(800)]) for span, table in SPANS.items()}
    tables[4] = changed(SPANS[4], carrier=[f"c{i % 200}" if i % 10 else f"new{i}" for i in range(800)])
    profile = watched.profile_of(ALL, {span: rows_of(table) for span, table in tables.items()})
    checks = judge_newest_span(profile, None, 0.01, 100, small_schema(), "late")
    [unseen] = [check for check in checks if (check.subject, check.aspect) == ("carrier", "unseen values")]
    assert (unseen.value, unseen.rows) == (0.1, 800)


def test_the_last_good_span_is_the_one_that_it_is_told() -> None:
    def against(last_good: int | None) -> set[str]:
        return {check.against for check in judged(SPANS[4], last_good)} - {"training window"}

    assert against(2) == {"last span, 2"}
    assert against(None) == against(99) == {"last span, 3"}


def test_flipped_labels() -> None:
    late = np.where(np.arange(800) < 640, 1, 0)
    found = alarms(judged(changed(SPANS[4], late=late)))
    assert "late" in found
    assert found["late"].diagnosis


def test_one_span_has_nothing_to_be_compared_with() -> None:
    profile = watched.profile_of(ALL, {4: rows_of(SPANS[4])})
    assert judge_newest_span(profile, None, 0.01, 100, small_schema(), "late") == []


def test_few_rows_decide_nothing() -> None:
    assert {check.state for check in judged(KILOMETRES.slice(0, 99))} == {State.UNDECIDED}


def test_a_comparator_in_the_schema() -> None:
    schema = small_schema()
    miles = schema.feature[0]
    miles.drift_comparator.jensen_shannon_divergence.threshold = 0.99
    [check] = [each for each in judged(KILOMETRES, None, schema) if (each.subject, each.aspect) == ("miles", "values")]
    assert (check.threshold, check.state) == (0.99, State.PASSED)
    text_format.Merge("drift_comparator { infinity_norm { threshold: 0.1 } }", miles)
    with pytest.raises(SchemaError, match="miles"):
        judged(KILOMETRES, None, schema)


def test_the_profile_is_not_changed() -> None:
    profile = watched.profile_of(ALL, {span: rows_of(table) for span, table in SPANS.items()})
    before = {key: counts.copy() for key, counts in profile.counts.items()}
    judge_newest_span(profile, None, 0.01, 100, small_schema(), "late")
    assert all((profile.counts[key] == counts).all() for key, counts in before.items())


def test_anomalies_of_what_alarms_only() -> None:
    checks = judged(KILOMETRES)
    anomalies = as_anomalies(checks)
    assert set(anomalies.anomaly_info) == set(alarms(checks))
    [first, *_] = checks
    assert describe(first) == (
        f"{first.diagnosis} ({first.measure} {first.value:.4g}, threshold {first.threshold:.4g}, "
        f"against the {first.against})"
    )
