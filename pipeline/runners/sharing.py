"""The reports of runs, for all machines whose artifacts are in one object store.

A machine keeps its reports in its own folder and puts a copy of each finished run into the store; so what one machine's
gate has refused, another can accept, and a watch knows which spans are done.
"""

from __future__ import annotations

from pipeline.config import PipelineConfig
from pipeline.runners.report import LOGS, REPORT_FILE, RunReport, run_folder
from storage.places import at, is_remote, upload


def share(config: PipelineConfig, report: RunReport) -> None:
    """Copies a finished run's report and logs to where the artifacts are, if that is an object store."""
    if is_remote(config.root):
        upload(run_folder(config.home, report.run_id), at(config.shared) / LOGS / report.run_id, last=REPORT_FILE)


def receive(config: PipelineConfig) -> None:
    """Copies the reports (not the logs) of other machines' finished runs to this one."""
    if not is_remote(config.root):
        return
    logs = at(config.shared) / LOGS
    for folder in logs.iterdir() if logs.is_dir() else ():
        path = run_folder(config.home, folder.name) / REPORT_FILE
        if not path.exists() and (folder / REPORT_FILE).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes((folder / REPORT_FILE).read_bytes())
            unfinished.replace(path)
