"""One look: the whole way from a log and spans to a decision; and that no bad input ends it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory_places import new_place
from small_reference import IDENTIFIER, SCHEMA, Watched, changed, flights_of, reference_of, watch_small

from monitoring.report import Action, Comparison, Report, State
from monitoring.slicing import ALL_EXAMPLES
from pipeline.looking import LookOptions, find_served, look
from schema.errors import ConfigError, DataError, ExitCode, SchemaError, UsageError
from storage.places import upload

LIVE = flights_of(5)


@pytest.fixture
def it(tmp_path: Path) -> Watched:
    return watch_small(tmp_path)


def problems(report: Report) -> dict[str, int]:
    return {problem.what: problem.count for problem in report.problems}


def whole_period(report: Report, metric: str) -> Any:
    [*_, last] = sorted(
        (each for each in report.quality if (each.metric, each.slice) == (metric, ALL_EXAMPLES)),
        key=lambda each: (each.end - each.start, not each.is_estimate),
    )
    return last


def test_clean_requests_keep(it: Watched) -> None:
    it.write_span(5, LIVE)
    it.log(LIVE)
    report = it.look()
    assert report.decision.action is Action.KEEP, report.decision
    assert report.decision.headline.startswith("Keep: nothing moved beyond what is normal")
    assert (report.rows, report.version, report.alarms, report.problems) == (1500, it.versions[-1], (), ())
    assert {check.comparison for check in report.checks} == {Comparison.SKEW, Comparison.DRIFT}
    auc = whole_period(report, "auc")
    assert (auc.rows, auc.is_estimate) == (1500, False)
    assert auc.low < auc.reference < auc.high
    assert (report.start, report.end) == (report.volumes[0].start, report.volumes[-1].end)
    assert {check.rows for check in report.checks if check.aspect == "mismatch"} == {1500}


def test_kilometres_block_and_say_so(it: Watched) -> None:
    it.log(changed(LIVE, miles=LIVE["miles"].to_numpy() * 1.609344))
    report = it.look()
    assert report.decision.action is Action.BLOCK
    assert report.decision.headline.startswith("Block: miles: values are 1.609 times")


def test_whatever_is_wrong_is_told_and_ends_nothing(it: Watched) -> None:
    version = it.versions[-1]
    it.log(LIVE.slice(0, 700))
    again = it.log(LIVE.slice(690, 300), "host-2-20140101T000000Z-000001")
    again.write_bytes(again.read_bytes()[:-7])
    it.log(LIVE.slice(990, 510), "host-3-20140101T000000Z-000001", version=1234)
    (it.log_folder / "small-host-4-20140101T000000Z-000001.tfrecord").write_bytes(b"this is no TFRecord at all")
    (it.log_folder / "small-host-5-20140101T000000Z-000001.tfrecord").touch()
    it.change_config(monitor={"labels": {"path": "labels/*.parquet"}})
    labels = LIVE.select([*IDENTIFIER, "late"])
    flipped = changed(labels.slice(0, 5), late=1 - labels["late"].to_numpy()[:5])
    nobody = changed(labels.slice(0, 3), flight=pa.array([None] * 3, pa.int64()))
    never_asked = changed(labels.slice(0, 4), flight=[9001, 9002, 9003, 9004])
    it.write_labels(pa.concat_tables([labels, flipped, nobody, never_asked]))
    it.write_labels(labels.drop(["flight"]), "no-flight.parquet")
    (it.folder / "labels" / "damaged.parquet").write_bytes(b"PAR1, but not really")
    it.write_span(5, LIVE.drop(["carrier", "late"]))
    it.span_path(6).write_bytes(b"not a Parquet file")

    report = it.look()
    found = problems(report)
    assert found["a log file that is cut off"] == 1
    assert found["a file that is no TFRecord"] == 1
    assert found["rows answered by version 1234, which is not in the push path"] == 510
    assert found["rows that the same version had answered before: the first answer counts"] == 10
    assert found["rows whose labels contradict each other"] == 5
    assert found["rows without a whole identifier: they label nothing"] == 3
    assert found["a file of labels lacks columns"] == 1
    assert found["a source file cannot be read as parquet"] == 2
    assert found["a file of a span lacks columns"] == 1
    assert len(found) == 9, found
    where = {problem.what: problem.where for problem in report.problems}
    assert where["a file of labels lacks columns"].endswith("no-flight.parquet: flight")
    assert where["a file of a span lacks columns"].endswith("span-05.parquet: carrier")
    assert {(each.version, each.rows) for each in report.versions} == {(1234, 510), (version, 900)}
    assert whole_period(report, "auc").rows == 885  # 900 answers, 10 of them twice, 5 contradicted
    missing = [check for check in report.alarms if (check.subject, check.source) == ("carrier", "span 5")]
    assert "missing" in {check.aspect for check in missing}


def test_without_a_log_it_says_so(it: Watched) -> None:
    report = it.look()
    assert (report.rows, report.start, report.checks) == (0, None, ())
    assert report.decision.headline.startswith("Keep: nothing was judged: no request was logged")
    assert problems(report) == {"no request was logged yet": 1}
    it.log_folder.mkdir()
    assert it.look().decision == report.decision


def test_without_spans_the_log_is_judged(it: Watched) -> None:
    it.log(LIVE)
    shutil.rmtree(it.folder / "data")
    it.change_config(monitor={"labels": {"path": "labels/*.parquet"}})
    report = it.look()
    assert problems(report) == {"no file matches the source": 2}
    assert {check.state for check in report.checks if check.subject == "miles"} == {State.PASSED}
    assert whole_period(report, "auc").is_estimate


def test_labels_of_other_types_and_as_csv(it: Watched) -> None:
    it.log(LIVE)
    labels = LIVE.select([*IDENTIFIER, "late"])
    texts = {name: [str(each) for each in labels[name].to_pylist()] for name in labels.column_names}
    it.write_labels(pa.table(texts))
    lines = [",".join(texts), *(",".join(row) for row in zip(*texts.values(), strict=True))]
    (it.folder / "labels" / "labels.csv").write_text("\n".join(lines))
    for name in ("labels.parquet", "labels.csv"):
        auc = whole_period(it.look(labels=str(it.folder / "labels" / name)), "auc")
        assert (auc.rows, auc.is_estimate) == (1500, False)


def test_a_regression(tmp_path: Path) -> None:
    it = watch_small(tmp_path, "regression")
    live = flights_of(5, task="regression")
    it.write_span(5, live)
    it.log(live)
    report = it.look()
    assert report.decision.action is Action.KEEP, report.decision
    rmse = whole_period(report, "rmse")
    assert rmse.low < rmse.reference < rmse.high
    assert "predictions" in {check.subject for check in report.checks}
    late = live["late"].to_numpy() + 30
    it.write_span(5, changed(live, late=late))
    report = it.look()
    assert whole_period(report, "rmse").value > 25
    assert report.decision.action is not Action.KEEP


def test_data_without_time_has_no_drift(tmp_path: Path) -> None:
    it = watch_small(tmp_path)
    it.change_config(data={"source": {"path": "data/*.parquet"}, "split": {"train": 8, "eval": 2}})
    it.push(reference_of({0: pa.concat_tables([flights_of(span) for span in (1, 2, 3, 4)])}))
    it.log(pa.concat_tables([LIVE, flights_of(4).slice(0, 400)]))
    report = it.look()
    assert {check.comparison for check in report.checks} == {Comparison.SKEW}
    assert report.alarms == ()
    assert whole_period(report, "auc").rows == 400  # those that are in the data


def test_an_older_version_is_judged_by_what_it_answered(it: Watched) -> None:
    first = it.versions[0]
    second = it.push(reference_of({span: flights_of(span) for span in (2, 3, 4, 5)}))
    it.log(LIVE.slice(0, 600), version=first)
    it.log(LIVE.slice(600), "host-2-20140101T000000Z-000001", version=second)
    report = it.look(version=first)
    assert (report.version, report.rows) == (first, 600)
    assert [(each.version, each.rows) for each in report.versions] == [(first, 600), (second, 900)]
    assert (report.problems, report.alarms) == ((), ())


def test_a_comparator_that_does_not_fit(it: Watched) -> None:
    it.log(LIVE)
    bad = SCHEMA.replace(
        '"miles" type: FLOAT', '"miles" type: FLOAT skew_comparator { infinity_norm { threshold: 0.1 } }'
    )
    (it.provenance / "schema.pbtxt").write_text(bad)
    with pytest.raises(SchemaError, match="miles"):
        it.look()


@pytest.mark.parametrize(
    ("monitor", "where"),
    [
        ({"identifier": ["flihgt"]}, "monitor.identifier"),
        ({"identifier": ["late"]}, "monitor.identifier"),
        ({"slices": ["gate"]}, "monitor.slices"),
        ({"event_time": "arrival"}, "monitor.event_time"),
        ({"event_time": "miles"}, "monitor.event_time"),
        ({"identifier": [], "labels": {"path": "labels/*.parquet"}}, "monitor.identifier"),
    ],
)
def test_a_column_that_does_not_exist(it: Watched, monitor: dict[str, Any], where: str) -> None:
    it.change_config(monitor=monitor)
    with pytest.raises(ConfigError) as raised:
        it.look()
    assert raised.value.where == where
    assert "late" not in str(raised.value.expected)


def test_a_version_without_a_reference(it: Watched) -> None:
    it.push(None)
    with pytest.raises(DataError, match="no reference") as raised:
        it.look()
    assert raised.value.exit_code == ExitCode.DATA
    assert "Run the pipeline again" in str(raised.value)


@pytest.mark.parametrize("name", ["profile.json", "counts.npz", "quality.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"PK\x03\x04 and then nothing", b"[]"])
def test_a_damaged_reference(it: Watched, name: str, content: bytes) -> None:
    (it.provenance / "reference" / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        find_served(it.config, None)


def test_what_is_asked_for_must_be_there(it: Watched) -> None:
    with pytest.raises(UsageError, match="There is no version 7"):
        it.look(version=7)
    with pytest.raises(DataError, match="No file matches"):
        it.look(labels=str(it.folder / "labels" / "*.parquet"))
    it.change_config(push={"path": "nowhere"})
    with pytest.raises(UsageError, match="Nothing is pushed yet"):
        it.look()


def test_versions_and_logs_may_lie_in_an_object_store(it: Watched) -> None:
    it.log(LIVE)
    here, place = it.look(), new_place()
    for name in ("models", "requests"):
        upload(it.folder / name, place / name)
    log = {"request_log": {"path": str(place / "requests")}, "rest_port": 0}
    it.change_config(push={"path": str(place / "models")}, serve=log)
    there = look(it.config, LookOptions(), scratch=str(place / "scratch"))
    assert (there.version, there.rows, there.checks) == (here.version, here.rows, here.checks)
    assert list((place / "scratch").iterdir()) == []
    with pytest.raises(DataError, match="no such folder"):
        it.look(log=str(place / "elsewhere"))


def test_a_manifest_of_nobody_knows_what(it: Watched) -> None:
    (it.provenance / "manifest.json").write_text('{"pushed_at": "yesterday"}')
    assert it.look().window == "unknown"


def test_nothing_is_left_behind(it: Watched) -> None:
    it.log(LIVE.slice(0, 300))
    it.look()
    assert [path.name for path in (it.config.home / "monitor").iterdir()] == []
    assert np.all([not path.name.startswith(".") for path in it.folder.iterdir() if path.name != ".headrace"])
