"""What one machine's gate refused, another machine sees."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import PipelineConfig, find_config, load_config
from pipeline.runners.report import NodeReport, RunReport, load_reports, run_folder
from pipeline.runners.sharing import receive, share
from storage.places import at


def on_machine(folder: Path, root: str) -> PipelineConfig:
    config = load_config(find_config("flights")).model_copy(update={"root": root})
    config._project = folder
    config.home.mkdir(parents=True)
    return config


def finished(config: PipelineConfig, run_id: str, outcome: str = "stopped") -> RunReport:
    report = RunReport(run_id, "flights", {"Trainer": NodeReport("Trainer")}, started=float(run_id), outcome=outcome)
    run_folder(config.home, run_id).mkdir(parents=True)
    (run_folder(config.home, run_id) / "Trainer.log").write_text("epoch 1")
    report.save(config.home)
    return report


def test_reports_are_everyones_and_logs_stay_in_the_store(tmp_path: Path) -> None:
    root = f"memory://{tmp_path.name}/headrace"
    first, second = on_machine(tmp_path / "first", root), on_machine(tmp_path / "second", root)
    receive(second)
    assert load_reports(second.home) == []
    share(first, finished(first, "1"))
    finished(second, "2", "succeeded")
    for _ in range(2):
        receive(second)
        assert [(each.run_id, each.outcome) for each in load_reports(second.home)] == [
            ("1", "stopped"),
            ("2", "succeeded"),
        ]
    assert not (run_folder(second.home, "1") / "Trainer.log").exists()
    assert (at(first.shared) / "logs" / "1" / "Trainer.log").read_text() == "epoch 1"


def test_on_one_machine_nothing_is_copied(tmp_path: Path) -> None:
    config = on_machine(tmp_path, str(tmp_path / "root"))
    share(config, finished(config, "1"))
    receive(config)
    assert [path.name for path in (config.home / "logs").iterdir()] == ["1"]
    assert not (Path(config.root) / "flights" / "logs" / "1" / "logs").exists()
