"""The schema's rules for requests: TFDV's anomalies in the SERVING environment, with the share of rows that break them.

TFDV calls one value out of a million an anomaly. Here a rule alarms when the rows that break it are as many as a
change must have to be told (`monitoring.checks`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from monitoring.checks import LEAST_CHANGE
from monitoring.config import MonitorConfig
from monitoring.measures import Measure
from monitoring.profile import Survey
from monitoring.report import Check, Comparison, State
from schema.contract import SERVING, string_domain

WHOLE = re.compile(rb"-?\d{1,18}")
"""An id that is a number, written out."""


def schema_checks(
    survey: Survey | None,
    statistics: statistics_pb2.DatasetFeatureStatisticsList | None,
    schema: schema_pb2.Schema,
    config: MonitorConfig,
    importances: Mapping[str, float],
    told: Mapping[str, str],
) -> list[Check]:
    """A check for each feature whose requests break a rule of the schema.

    Args:
        survey: Of the requests' rows.
        statistics: Of the same rows, by TFDV.
        schema: The reviewed schema.
        config: The least sample.
        importances: Of the features.
        told: What other checks said of a feature: it says more than that a rule is broken.
    """
    if survey is None or statistics is None or not survey.rows:
        return []
    anomalies = tfdv.validate_statistics(statistics, schema, environment=SERVING)
    checks = []
    for feature in schema.feature:
        name, info = feature.name, anomalies.anomaly_info.get(feature.name)
        if name not in survey.numbers and name not in survey.categories:
            continue  # the model does not read it, and so no request carries it
        if info is None and not _not_whole(feature, survey):
            continue
        share = _share(feature, schema, survey, has_alarmed=name in told)
        is_alarm = survey.rows >= config.fewest_rows and share >= LEAST_CHANGE[Measure.SHARE]
        rule = f"breaks the schema: {_broken(info) if info is not None else 'values that are no whole numbers'}"
        checks.append(
            Check(
                comparison=Comparison.SKEW,
                subject=name,
                aspect="schema",
                measure=Measure.SHARE.value,
                value=share,
                threshold=LEAST_CHANGE[Measure.SHARE],
                rows=survey.rows,
                state=State.ALARM if is_alarm else State.UNDECIDED,
                against="schema",
                source="requests",
                importance=importances.get(name, 0.0),
                is_fault=is_alarm,
                diagnosis=f"{told[name]}; {rule}" if name in told else rule,
            )
        )
    return checks


def _broken(info: anomalies_pb2.AnomalyInfo) -> str:
    reasons = dict.fromkeys(" ".join(reason.description.split()) for reason in info.reason)
    return "; ".join(reasons) or str(info.description)


def _not_whole(feature: schema_pb2.Feature, survey: Survey) -> float:
    """The share of rows whose value is no whole number where one belongs, which TFDV is not shown."""
    if feature.type != schema_pb2.INT:
        return 0.0
    if feature.name in survey.numbers:
        numbers = survey.numbers[feature.name]
        return float(np.mean(~np.isnan(numbers) & (np.floor(numbers) != numbers))) if len(numbers) else 0.0
    values = survey.categories[feature.name]
    return sum(rows for value, (rows, _) in values.items() if not WHOLE.fullmatch(value)) / survey.rows


def _share(feature: schema_pb2.Feature, schema: schema_pb2.Schema, survey: Survey, *, has_alarmed: bool) -> float:
    """The share of rows that break the feature's rules."""
    if feature.name in survey.numbers:
        values_of = survey.numbers[feature.name]
        missing = float(np.mean(np.isnan(values_of))) if len(values_of) else 1.0
        return _out_of_range(feature, values_of) + _too_few(feature, missing, has_alarmed=has_alarmed)
    values = survey.categories[feature.name]
    domain = string_domain(feature, schema)
    known = None if domain is None else {value.encode() for value in domain}
    strange = sum(rows for value, (rows, _) in values.items() if known is not None and value not in known)
    missing = survey.missing[feature.name] / survey.rows
    return strange / survey.rows + _not_whole(feature, survey) + _too_few(feature, missing, has_alarmed=has_alarmed)


def _out_of_range(feature: schema_pb2.Feature, values: np.ndarray) -> float:
    domain = feature.int_domain if feature.HasField("int_domain") else feature.float_domain
    low = domain.min if domain.HasField("min") else -np.inf
    high = domain.max if domain.HasField("max") else np.inf
    is_missing = np.isnan(values)
    is_strange = (values < low) | (values > high)
    if feature.type == schema_pb2.INT:
        is_strange |= ~is_missing & (np.floor(values) != values)
    return float(np.mean(is_strange)) if len(values) else 0.0


def _too_few(feature: schema_pb2.Feature, missing: float, *, has_alarmed: bool) -> float:
    """By how much the share of rows without a value is more than may be.

    A share below 1 is asked of a whole data set. Half a day may have less (a station without a barometer), so then it
    counts only where the null band says as well that something is not normal.
    """
    may_be_missing = 1 - feature.presence.min_fraction
    if may_be_missing > 0 and not has_alarmed:
        return 0.0
    return missing - may_be_missing if missing > may_be_missing else 0.0
