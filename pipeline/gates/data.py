"""Evidence of the data gate: the anomalies that ExampleValidator found, and what ingestion left out."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from pipeline.gates.config import DataGateConfig
from pipeline.gates.verdict import Finding, Outcome
from schema.contract import string_domain

_Reason = anomalies_pb2.AnomalyInfo
_MEND = "Deliver the data again, or, if it is right, widen the schema."


def data_findings(
    anomalies: dict[str, anomalies_pb2.Anomalies],
    schema: schema_pb2.Schema,
    counts: dict[str, Any],
    config: DataGateConfig,
    quarantine: str,
) -> list[Finding]:
    """Everything that the data gate checks.

    Args:
        anomalies: By split.
        schema: What the anomalies were found against.
        counts: The examples by split, the rows left out by rule, and those put aside (see ExampleGen).
        config: The bounds.
        quarantine: The folder of the rows that were put aside.
    """
    findings = _count_findings(counts, config) + _quarantine_findings(counts, config, quarantine)
    for split, found in anomalies.items():
        findings += _anomaly_findings(split, found, schema)
    return findings


def _count_findings(counts: dict[str, Any], config: DataGateConfig) -> list[Finding]:
    findings = [
        Finding(
            check="examples",
            where=f"{split} split",
            bound=f"≥ {config.fewest_examples:,}",
            value=f"{number:,}",
            outcome=Outcome.PASSED if number >= config.fewest_examples else Outcome.FAILED,
            mend="Deliver more data, or lower gates.data.fewest_examples.",
        )
        for split, number in counts["examples"].items()
    ]
    total = sum(counts["examples"].values()) + sum(
        each["rows"] for each in (*counts["dropped"], *counts["quarantined"])
    )
    for drop in counts["dropped"]:
        share = drop["rows"] / total if total else 0.0
        findings.append(
            Finding(
                check=f"rows left out: {drop['reason']}",
                where=drop["missing"],
                bound=f"≤ {config.most_dropped:.1%}",
                value=f"{share:.1%} ({drop['rows']:,})",
                outcome=Outcome.PASSED if share <= config.most_dropped else Outcome.FAILED,
                mend="Find out why so many rows lack the column, or raise gates.data.most_dropped.",
            )
        )
    return findings


def _quarantine_findings(counts: dict[str, Any], config: DataGateConfig, folder: str) -> list[Finding]:
    findings = []
    for aside in counts["quarantined"]:
        total = aside["rows"] + sum(counts["examples"][split] for split in aside["splits"])
        share = aside["rows"] / total if total else 0.0
        is_within = share <= config.most_quarantined
        columns = [f"{column or 'whole line'}: {rows:,}" for column, rows in aside["columns"].items()]
        where = f"{' and '.join(aside['splits'])} split" + (f" ({', '.join(columns)})" if columns else "")
        findings.append(
            Finding(
                check="rows that do not fit",
                where=where,
                bound=f"≤ {config.most_quarantined:.2%}",
                value=f"{share:.2%} ({aside['rows']:,})",
                outcome=(Outcome.NOTED if aside["rows"] else Outcome.PASSED) if is_within else Outcome.FAILED,
                mend=f"{'; '.join(aside['first'])}. All of them: {folder}. Deliver the data again, change the type in "
                "the schema, or raise gates.data.most_quarantined."
                if aside["rows"]
                else "",
            )
        )
    return findings


def _anomaly_findings(split: str, found: anomalies_pb2.Anomalies, schema: schema_pb2.Schema) -> list[Finding]:
    if found.data_missing:
        return [_finding("data", f"{split} split", "some", "none", severe=True)]
    findings = []
    if found.HasField("dataset_anomaly_info"):
        info = found.dataset_anomaly_info
        findings.append(_finding("dataset", f"{split} split", "-", info.description, severe=_is_severe(info)))
    features = {feature.name: feature for feature in schema.feature}
    for name, info in sorted(found.anomaly_info.items()):
        for reason in info.reason or [None]:
            kind = reason.type if reason else _Reason.UNKNOWN_TYPE
            findings.append(
                _finding(
                    (reason.short_description if reason else info.short_description).lower() or "anomaly",
                    f"{name} ({split})",
                    _bound(features.get(name), kind, schema),
                    " ".join((reason.description if reason else info.description).split()),
                    severe=_is_severe(info),
                )
            )
    if not found.anomaly_info:
        findings.append(
            Finding(
                check="schema",
                where=f"{len(schema.feature)} features ({split})",
                bound="no anomaly",
                value="none",
                outcome=Outcome.PASSED,
            )
        )
    return findings


def _is_severe(info: anomalies_pb2.AnomalyInfo) -> bool:
    return bool(info.severity != _Reason.WARNING)


def _finding(check: str, where: str, bound: str, value: str, *, severe: bool) -> Finding:
    outcome = Outcome.FAILED if severe else Outcome.NOTED
    return Finding(check=check, where=where, bound=bound, value=value, outcome=outcome, mend=_MEND)


def _bound(feature: schema_pb2.Feature | None, kind: int, schema: schema_pb2.Schema) -> str:
    """What the schema allows, for the reasons that a domain, a range, a type or a presence decides."""
    if feature is None:
        return "listed in the schema"
    name = _Reason.Type.Name(kind)
    if name.startswith("ENUM_"):
        domain = string_domain(feature, schema) or []
        mass = feature.distribution_constraints.min_domain_mass
        least = f" in {mass:.0%} of values" if feature.HasField("distribution_constraints") else ""
        return f"one of {len(domain)} values{least}"
    if "_BIG_" in name or "_SMALL_" in name:
        low, high = _range(feature)
        return f"{low:g} to {high:g}"
    if name.startswith(("INT_TYPE", "FLOAT_TYPE")):
        return "a finite number" if "NAN" in name or "INF" in name else schema_pb2.FeatureType.Name(feature.type)
    if "MISSING" in name or "COLUMN_DROPPED" in name or "FRACTION" in name or "PRESENT" in name:
        return f"in ≥ {feature.presence.min_fraction:.0%} of examples"
    if "TYPE" in name:
        return str(schema_pb2.FeatureType.Name(feature.type))
    return "as in the schema"


def _range(feature: schema_pb2.Feature) -> tuple[float, float]:
    domain = feature.int_domain if feature.HasField("int_domain") else feature.float_domain
    low = domain.min if domain.HasField("min") else float("-inf")
    high = domain.max if domain.HasField("max") else float("inf")
    return low, high
