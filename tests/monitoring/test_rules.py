"""The schema's rules: TFDV's anomalies of requests, told when many rows break them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_data_validation.statistics import stats_impl
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature, Role
from monitoring.config import MonitorConfig
from monitoring.profile import Survey
from monitoring.report import Check, State
from monitoring.rows import as_rows
from monitoring.rules import schema_checks
from monitoring.tfdv_rows import as_lists

SCHEMA = text_format.Parse(
    """
    default_environment: "TRAINING" default_environment: "SERVING"
    feature { name: "miles" type: FLOAT float_domain { min: 0 max: 100 } presence { min_fraction: 1.0 } }
    feature { name: "stops" type: INT int_domain { min: 0 max: 9 } }
    feature { name: "flight" type: INT int_domain { is_categorical: true } }
    feature { name: "city" type: BYTES string_domain { value: "NYC" value: "BOS" } presence { min_fraction: 0.9 } }
    feature { name: "gate" type: BYTES presence { min_fraction: 1.0 min_count: 1 } }
    feature { name: "late" type: INT presence { min_fraction: 1.0 } not_in_environment: "SERVING" }
    """,
    schema_pb2.Schema(),
)
FEATURES = [
    Feature("miles", Role.NUMERIC, schema_pb2.FLOAT, True),
    Feature("stops", Role.NUMERIC, schema_pb2.INT, False),
    Feature("flight", Role.VOCABULARY, schema_pb2.INT, False),
    Feature("city", Role.CATEGORICAL, schema_pb2.BYTES, False),
]
ROWS = 1000
GOOD = {"miles": [5.0] * ROWS, "stops": [1] * ROWS, "flight": ["7"] * ROWS, "city": ["NYC", "BOS"] * (ROWS // 2)}


def checks_of(**changed: list) -> dict[str, Check]:
    columns = {name: pa.array(values) for name, values in {**GOOD, **changed}.items()}
    size = len(columns["miles"])
    rows = as_rows(columns, FEATURES, size)
    options = tfdv.StatsOptions(schema=SCHEMA, num_top_values=5)
    statistics = stats_impl.generate_statistics_in_memory(as_lists(rows, FEATURES), options)
    survey = Survey.of(rows, FEATURES, 0, 1.0, np.random.default_rng(0))
    found = schema_checks(survey, statistics, SCHEMA, MonitorConfig(), {"miles": 0.7}, {"city": "LA is new"})
    return {each.subject: each for each in found}


def mixed(value: object, count: int, name: str) -> list:
    return [value] * count + GOOD[name][count:]


def test_rows_by_the_rules_make_no_check() -> None:
    assert checks_of() == {}  # `gate` is none of the model's, `late` is none of a request's


@pytest.mark.parametrize(
    ("name", "value"),
    [("miles", 101.0), ("miles", -1.0), ("miles", None), ("stops", 10), ("stops", 1.5), ("city", "LA")],
)
def test_a_rule_alarms_when_many_rows_break_it(name: str, value: object) -> None:
    [many] = checks_of(**{name: mixed(value, 30, name)}).values()
    assert (many.subject, many.value, many.state, many.is_fault) == (name, 0.03, State.ALARM, True)
    assert many.diagnosis.startswith("LA is new; breaks the schema: " if name == "city" else "breaks the schema: ")
    [one] = checks_of(**{name: mixed(value, 1, name)}).values()
    assert (one.value, one.state, one.is_fault) == (0.001, State.UNDECIDED, False)


def test_an_id_that_is_no_number() -> None:
    check = checks_of(flight=["12"] * 970 + ["A12"] * 30)["flight"]
    assert (check.value, check.state) == (0.03, State.ALARM)
    assert check.diagnosis == "breaks the schema: values that are no whole numbers"


def test_what_may_be_missing_may_be_missing_so_often() -> None:
    assert checks_of(city=mixed(None, 100, "city")) == {}
    assert checks_of(city=mixed(None, 130, "city"))["city"].value == pytest.approx(0.03)


def test_a_feature_that_no_request_carries() -> None:
    check = checks_of(miles=[None] * ROWS)["miles"]
    assert (check.value, check.state, check.importance) == (1.0, State.ALARM, 0.7)


def test_few_rows_decide_nothing() -> None:
    few = checks_of(miles=[101.0] * 299, stops=[1] * 299, flight=["7"] * 299, city=["NYC"] * 299)
    assert few["miles"].state is State.UNDECIDED


def test_without_requests_there_is_nothing_to_check() -> None:
    assert schema_checks(None, None, SCHEMA, MonitorConfig(), {}, {}) == []
    empty = Survey.empty(FEATURES)
    assert schema_checks(empty, None, SCHEMA, MonitorConfig(), {}, {}) == []
