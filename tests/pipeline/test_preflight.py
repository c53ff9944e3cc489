"""What can be found before the first node is found there: bad input ends in one paragraph and its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import Project

from pipeline import preflight
from pipeline.cli import run_command
from pipeline.config import load_config
from schema.errors import ExitCode, HeadraceError


def drop_column(project: Project, name: str) -> None:
    table = pq.read_table(project.span_path(2))
    project.write_span(2, table.drop_columns([name]) if hasattr(table, "drop_columns") else table.drop([name]))


def rename_span(project: Project, name: str) -> None:
    project.span_path(3).parent.rename(project.folder / "data" / name)


def copy_span(project: Project, number: int, to: str) -> None:
    target = project.folder / "data" / to / "flights.parquet"
    target.parent.mkdir()
    target.write_bytes(project.span_path(number).read_bytes())


def change_schema(project: Project, old: str, new: str) -> None:
    path = project.folder / "flights.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


Break = Callable[[Project], object]

CASES: list[tuple[str, Break, ExitCode, str]] = [
    (
        "artifacts where TensorFlow cannot write",
        lambda p: p.change_config(lambda raw: raw.update(root="s3://plant/headrace")),
        ExitCode.CONFIG,
        "Artifacts cannot lie there",
    ),
    (
        "label absent",
        lambda p: drop_column(p, "late"),
        ExitCode.DATA,
        "The label 'late' is absent",
    ),
    (
        "column absent",
        lambda p: drop_column(p, "humid"),
        ExitCode.DATA,
        "The column(s) humid are absent",
    ),
    (
        "wrong column type",
        lambda p: p.change_span(2, "distance", lambda t: pa.array(["far"] * len(t))),
        ExitCode.DATA,
        "The column 'distance' has the wrong type",
    ),
    (
        "empty span",
        lambda p: p.write_span(3, pq.read_table(p.span_path(3)).slice(0, 0)),
        ExitCode.DATA,
        "Span 3 is empty",
    ),
    (
        "corrupt file",
        lambda p: p.span_path(2).write_bytes(b"PAR1 this is no parquet"),
        ExitCode.DATA,
        "A source file cannot be read as parquet",
    ),
    (
        "truncated file",
        lambda p: p.span_path(2).write_bytes(p.span_path(2).read_bytes()[:-100]),
        ExitCode.DATA,
        "A source file cannot be read as parquet",
    ),
    (
        "missing files",
        lambda p: p.change_config(lambda raw: raw["data"]["source"].update(path="nowhere/{SPAN}/*")),
        ExitCode.DATA,
        "No file matches the source",
    ),
    (
        "a span number twice",
        lambda p: copy_span(p, 3, "span-3"),
        ExitCode.DATA,
        "Span 3 is there 2 times",
    ),
    (
        "a span's bytes twice",
        lambda p: copy_span(p, 3, "span-04"),
        ExitCode.DATA,
        "Span 4 holds the same bytes as span 3",
    ),
    (
        "schema missing",
        lambda p: (p.folder / "flights.pbtxt").unlink(),
        ExitCode.SCHEMA,
        "The schema file does not exist",
    ),
    (
        "schema broken",
        lambda p: change_schema(p, "type: BYTES", "typ: BYTES"),
        ExitCode.SCHEMA,
        "is not a Schema proto in text format",
    ),
    (
        "label in requests",
        lambda p: change_schema(p, '  not_in_environment: "SERVING"\n', ""),
        ExitCode.SCHEMA,
        "is expected in requests",
    ),
    (
        "label not in schema",
        lambda p: p.change_config(lambda raw: raw["label"].update(name="later")),
        ExitCode.SCHEMA,
        "The label 'later' is not in the schema",
    ),
    (
        "excluded feature in schema",
        lambda p: p.change_config(lambda raw: raw["features"]["exclude"].update(humid="no reason")),
        ExitCode.SCHEMA,
        "lists features that the configuration excludes: humid",
    ),
    (
        "hashed feature unknown",
        lambda p: p.change_config(lambda raw: raw["features"].update(hashed={"flights": 10})),
        ExitCode.SCHEMA,
        "features.hashed names 'flights'",
    ),
    (
        "slice unknown",
        lambda p: p.change_config(lambda raw: raw["gates"]["quality"][0].update(slice="airport")),
        ExitCode.CONFIG,
        "The slice 'airport' is not a feature",
    ),
    (
        "metric of another task",
        lambda p: p.change_config(lambda raw: raw["gates"]["quality"][0].update(metric="mse")),
        ExitCode.CONFIG,
        "The metric 'mse' is not for the task 'binary'",
    ),
    (
        "identifier unknown",
        lambda p: p.change_config(lambda raw: raw["monitor"].update(identifier=["flight", "number"])),
        ExitCode.CONFIG,
        "The model has no feature 'number'. Where: monitor.identifier",
    ),
    (
        "time of an event is no time",
        lambda p: p.change_config(lambda raw: raw["monitor"].update(event_time="distance")),
        ExitCode.CONFIG,
        "The feature 'distance' is no time",
    ),
    (
        "a number compared by L-infinity",
        lambda p: change_schema(
            p,
            'feature {\n  name: "humid"\n',
            'feature {\n  name: "humid"\n  drift_comparator { infinity_norm { threshold: 0.1 } }\n',
        ),
        ExitCode.SCHEMA,
        "The drift_comparator of 'humid' is infinity_norm, which says nothing of a number",
    ),
    (
        "push path is a file",
        lambda p: p.push_path.write_text("in the way"),
        ExitCode.CONFIG,
        "push.path cannot be written to",
    ),
    (
        "root is a file",
        lambda p: (p.change_config(lambda raw: raw.update(root="taken")), (p.folder / "taken").write_text("a file")),
        ExitCode.CONFIG,
        "root cannot be written to",
    ),
    (
        "unknown key",
        lambda p: p.change_config(lambda raw: raw.update(modle={})),
        ExitCode.CONFIG,
        "Unknown key",
    ),
]


@pytest.mark.parametrize(("break_it", "code", "told"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input_is_told_in_one_paragraph(
    project: Project, capfd: pytest.CaptureFixture[str], break_it: Break, code: ExitCode, told: str
) -> None:
    break_it(project)
    assert run_command(["run", str(project.config_path)]) == code
    printed = capfd.readouterr()
    assert told in printed.out
    assert len(printed.out.strip().splitlines()) == 1
    assert "Traceback" not in printed.out + printed.err
    assert not (project.home / "artifacts").exists()
    assert not project.push_path.is_dir()


def test_good_input_passes_and_names_the_window(project: Project) -> None:
    assert preflight.check(load_config(project.config_path)).describe() == "spans 1, 2 train, span 3 evaluates"


def test_full_disk_is_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 10, 1 << 20))
    with pytest.raises(HeadraceError, match="1 MiB free") as error:
        preflight.check(load_config(project.config_path))
    assert error.value.exit_code == ExitCode.DISK


def test_gap_between_spans_is_no_error(project: Project) -> None:
    Path(project.folder / "data" / "span-03").rename(project.folder / "data" / "span-07")
    assert preflight.check(load_config(project.config_path)).describe() == "spans 1, 2 train, span 7 evaluates"
