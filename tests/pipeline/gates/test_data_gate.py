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
COUNTS = {
    "examples": {"train": 900, "eval": 100},
    "dropped": [{"missing": "y", "reason": "no label", "rows": 100}],
    "quarantined": [
        {"splits": ["train"], "rows": 0, "columns": {}, "first": []},
        {"splits": ["eval"], "rows": 0, "columns": {}, "first": []},
    ],
}
GOOD = {"miles": [1.0, 2.0], "city": ["NYC", "BOS"]}


def findings_of(rows: dict, counts: dict = COUNTS, **bounds):
    statistics = tfdv.generate_statistics_from_dataframe(pd.DataFrame(rows))
    anomalies = tfdv.validate_statistics(statistics, SCHEMA)
    return data_findings({"eval": anomalies}, SCHEMA, counts, DataGateConfig(**bounds), "examples/7/quarantine")


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
    assert failed(findings_of(GOOD, fewest_examples=101)) == [("eval split", "≥ 101", "100")]
    assert failed(findings_of(GOOD, most_dropped=0.05)) == [("y", "≤ 5.0%", "9.1% (100)")]


class TestRowsThatDoNotFit:
    @staticmethod
    def aside(*splits: str, rows: int) -> dict:
        first = ["in.csv, line 3, column 'miles': not a number: 'far'"]
        return {"splits": splits, "rows": rows, "columns": {"": 1, "miles": rows - 1}, "first": first}

    def findings(self, *aside: dict, **bounds):
        found = findings_of(GOOD, {**COUNTS, "quarantined": aside}, **bounds)
        return [each for each in found if each.check == "rows that do not fit"]

    def test_none_passes(self) -> None:
        found = [each for each in findings_of(GOOD) if each.check == "rows that do not fit"]
        assert [(each.where, each.value, each.outcome, each.mend) for each in found] == [
            ("train split", "0.00% (0)", Outcome.PASSED, ""),
            ("eval split", "0.00% (0)", Outcome.PASSED, ""),
        ]

    def test_the_newest_span_is_judged_by_itself(self) -> None:
        """Five of its hundred rows: too many, though they are few of the whole window's."""
        train, newest = self.findings(self.aside("train", rows=2), self.aside("eval", rows=5), most_quarantined=0.01)
        assert (train.outcome, train.value) == (Outcome.NOTED, "0.22% (2)")
        assert (newest.outcome, newest.bound, newest.value) == (Outcome.FAILED, "≤ 1.00%", "4.76% (5)")
        assert newest.where == "eval split (whole line: 1, miles: 4)"
        for told in ("in.csv, line 3, column 'miles'", "examples/7/quarantine", "gates.data.most_quarantined"):
            assert told in newest.mend

    def test_a_hash_split_is_judged_as_a_whole(self) -> None:
        (found,) = self.findings(self.aside("train", "eval", rows=2), most_quarantined=0.001)
        assert (found.where, found.value) == ("train and eval split (whole line: 1, miles: 1)", "0.20% (2)")
        assert found.outcome is Outcome.FAILED

    def test_the_default_lets_one_in_a_thousand_pass(self) -> None:
        assert [each.outcome for each in self.findings(self.aside("train", "eval", rows=1))] == [Outcome.NOTED]
        assert [each.outcome for each in self.findings(self.aside("train", "eval", rows=2))] == [Outcome.FAILED]

    def test_an_acceptance_does_not_depend_on_where_the_rows_were_put(self) -> None:
        one, other = (
            next(
                each
                for each in data_findings({}, SCHEMA, counts, DataGateConfig(), folder)
                if each.value == "4.76% (5)"
            )
            for folder in ("examples/7/quarantine", "examples/8/quarantine")
            for counts in [{**COUNTS, "quarantined": [self.aside("eval", rows=5)]}]
        )
        assert one.key == other.key
