"""Anomalies, found by TFDV itself on small statistics, become findings with bound and value."""

from __future__ import annotations

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.gates.config import DataGateConfig
from pipeline.gates.data import data_findings
from pipeline.gates.verdict import Outcome

SCHEMA = text_format.Parse(
    """
    default_environment: "TRAINING" default_environment: "SERVING"
    feature { name: "miles" type: FLOAT presence { min_fraction: 1.0 } float_domain { min: 0 max: 100 } }
    feature {
      name: "city" type: BYTES presence { min_fraction: 0.5 } string_domain { value: "NYC" value: "BOS" }
    }
    """,
    schema_pb2.Schema(),
)
COUNTS = {"examples": {"train": 900, "eval": 100}, "dropped": [{"missing": "y", "reason": "no label", "rows": 100}]}


def findings_of(rows: dict, **bounds):
    statistics = tfdv.generate_statistics_from_dataframe(pd.DataFrame(rows))
    anomalies = tfdv.validate_statistics(statistics, SCHEMA)
    return data_findings({"eval": anomalies}, SCHEMA, COUNTS, DataGateConfig(**bounds))


def failed(findings):
    return [(each.where, each.bound, each.value) for each in findings if each.outcome is Outcome.FAILED]


def test_good_data_passes() -> None:
    findings = findings_of({"miles": [1.0, 2.0], "city": ["NYC", "BOS"]})
    assert failed(findings) == []
    assert [each.check for each in findings][-1] == "schema"


@pytest.mark.parametrize(
    ("rows", "where", "bound", "value"),
    [
        ({"miles": [1.0, 900.0], "city": ["NYC", "BOS"]}, "miles (eval)", "0 to 100", "900"),
        ({"miles": [1.0, 2.0], "city": ["NYC", "LAX"]}, "city (eval)", "one of 2 values", "LAX"),
        ({"miles": [1.0, None], "city": ["NYC", "BOS"]}, "miles (eval)", "in ≥ 100% of examples", "0.5"),
        ({"miles": ["a", "b"], "city": ["NYC", "BOS"]}, "miles (eval)", "FLOAT", "STRING"),
        ({"city": ["NYC", "BOS"]}, "miles (eval)", "in ≥ 100% of examples", "completely missing"),
        ({"miles": [1.0, 2.0], "city": ["NYC", "BOS"], "new": [1, 2]}, "new (eval)", "listed in the schema", "New"),
    ],
)
def test_each_anomaly_names_feature_bound_and_value(rows: dict, where: str, bound: str, value: str) -> None:
    found = failed(findings_of(rows))
    assert {each[0] for each in found} == {where}
    assert any(each[1] == bound and value in each[2] for each in found), found


def test_too_few_examples_and_too_many_left_out_fail() -> None:
    rows = {"miles": [1.0, 2.0], "city": ["NYC", "BOS"]}
    assert failed(findings_of(rows, fewest_examples=101)) == [("eval split", "≥ 101", "100")]
    assert failed(findings_of(rows, most_dropped=0.05)) == [("y", "≤ 5.0%", "9.1% (100)")]
