"""`headrace run --span`: refusals that need no run."""

from __future__ import annotations

import pytest
from projects import Project
from rich.console import Console

from pipeline.commands.run import RunOptions, run, with_newest
from pipeline.config import load_config
from pipeline.runners.report import RunReport, load_reports, run_folder
from schema.errors import DataError, UsageError


def test_the_span_overrides_the_configured_one(project: Project) -> None:
    config = with_newest(load_config(project.config_path), 2)
    assert config.data.window is not None
    assert (config.data.window.newest, config.data.window.train) == (2, 2)


@pytest.mark.parametrize(("span", "told"), [(9, "one of 1, 2, 3"), (1, "no span before span 1")])
def test_a_span_that_cannot_be_the_newest_is_refused(project: Project, span: int, told: str) -> None:
    with pytest.raises(DataError, match=told):
        run(Console(), load_config(project.config_path), RunOptions(str(project.config_path), span=span))
    assert load_reports(project.home) == []


def test_a_span_without_a_window_is_refused(project: Project) -> None:
    project.change_config(lambda raw: raw["data"].pop("window") and raw["data"].update(split={"train": 8, "eval": 2}))
    with pytest.raises(UsageError, match="There is no span 2"):
        run(Console(), load_config(project.config_path), RunOptions(str(project.config_path), span=2))


def test_a_report_of_an_earlier_release_is_read(project: Project) -> None:
    report = RunReport("1", "flights", {}, started=1.0, spans={3: "c", 2: "b"}, headline="Pushed.")
    run_folder(project.home, "1").mkdir(parents=True)
    report.save(project.home)
    assert load_reports(project.home) == [report]
    path = run_folder(project.home, "1") / "run.json"
    path.write_text('{"run_id": "1", "pipeline": "flights", "nodes": {}, "started": 1.0, "outcome": "succeeded"}')
    [old] = load_reports(project.home)
    assert (old.newest, old.has_decided) == (None, True)
