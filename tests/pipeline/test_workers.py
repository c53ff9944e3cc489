"""Every Beam step of ours on workers that know nothing but the installed package: see `workers_elsewhere`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from small_artifacts import SmallModel, artifact_at, execute
from small_reference import FEATURES, LABEL, SCHEMA, changed, flights_of, small_schema, watch_small
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, Model, Schema
from workers_elsewhere import ELSEWHERE

from data.config import DataConfig
from monitoring.profile import Profile
from monitoring.reference import Reference
from pipeline.components.artifacts import ExampleProfile, ModelReference
from pipeline.components.distribution_validator import DistributionValidatorExecutor, load_checks
from pipeline.components.example_gen import ExampleGen, ExampleGenExecutor
from pipeline.components.reference_gen import ReferenceGenExecutor
from pipeline.looking import LookOptions, look
from schema.errors import DataError
from storage.places import at

SPANS = {span: flights_of(span, 400) for span in (1, 2, 3)}


def test_the_workers_are_elsewhere(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    with beam.Pipeline(options=PipelineOptions([ELSEWHERE])) as pipeline:
        where = lambda _: json.dumps([os.getpid(), str(Path.cwd()), tempfile.gettempdir()])  # noqa: E731 - travels by value
        write = lambda text, path: Path(path).write_text(text)  # noqa: E731
        _ = pipeline | beam.Create([None]) | "Where" >> beam.Map(where) | "Write" >> beam.Map(write, str(told))
    process, folder, temporary = json.loads(told.read_text())
    assert process != os.getpid()
    assert folder != str(Path.cwd())
    assert temporary != tempfile.gettempdir()
    assert not Path(folder).exists()


def ingest(folder: Path, spans: dict[int, pa.Table]) -> Examples:
    """What ExampleGen makes of spans."""
    for span, table in spans.items():
        pq.write_table(table, folder / f"span-{span}.parquet")
    data = {"source": {"path": str(folder / "span-{SPAN}.parquet")}, "window": {"train": 2}}
    component = ExampleGen(DataConfig.model_validate(data), small_schema(), exclude=["gate"], label="late", code="")
    examples = artifact_at(Examples, folder / "examples")
    execute(ExampleGenExecutor, folder, {}, {"examples": examples}, component.exec_properties, ELSEWHERE)
    return examples


def test_from_files_to_a_reference(tmp_path: Path) -> None:
    examples = ingest(tmp_path, SPANS)
    assert not (tmp_path / "examples" / "unfinished").exists()
    schema = artifact_at(Schema, tmp_path / "schema")
    (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
    profile, anomalies = (artifact_at(kind, tmp_path / kind.TYPE_NAME) for kind in (ExampleProfile, ExampleAnomalies))
    execute(
        DistributionValidatorExecutor,
        tmp_path,
        {"examples": examples, "schema": schema},
        {"profile": profile, "anomalies": anomalies},
        {
            "features": json.dumps([each.to_json() for each in (*FEATURES, LABEL)]),
            "label": "late",
            "false_alarm_rate": 0.01,
            "fewest_rows": 100,
        },
        ELSEWHERE,
    )
    assert Profile.load(at(profile.uri)).rows == 1200
    assert {check.subject for check in load_checks(at(anomalies.uri))} >= {"miles", "carrier"}

    model, reference = (artifact_at(kind, tmp_path / kind.TYPE_NAME) for kind in (Model, ModelReference))
    SmallModel().save(tmp_path / Model.TYPE_NAME / "Format-Serving")
    properties = {"label": '{"name": "late", "task": "binary"}', "slices": json.dumps(["carrier"])}
    inputs = {"examples": examples, "model": model, "profile": profile}
    execute(ReferenceGenExecutor, tmp_path, inputs, {"reference": reference}, properties, ELSEWHERE)
    assert sum(Reference.load(at(reference.uri)).importances.values()) == pytest.approx(1)


def test_a_mistake_in_the_data_arrives_as_itself(tmp_path: Path) -> None:
    unlabelled = pa.array([None, *SPANS[2]["late"].to_pylist()[1:]], pa.int64())
    with pytest.raises(DataError, match="1 rows of a batch of 400 have no label"):
        ingest(tmp_path, {**SPANS, 2: changed(SPANS[2], late=unlabelled)})


def test_a_look_at_a_served_version(tmp_path: Path) -> None:
    it = watch_small(tmp_path)
    live = flights_of(5, 900)
    it.write_span(5, live)
    it.log(live)
    scratch = tmp_path / "scratch"
    report = look(it.config, LookOptions(), (ELSEWHERE,), str(scratch))
    assert report.rows == 900
    assert report.checks
    assert [point.rows for point in report.quality if point.metric == "auc" and not point.is_estimate]
    assert list(scratch.iterdir()) == []
