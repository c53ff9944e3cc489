"""`headrace why`: each gate's verdict and each node's reason, for one run."""

from __future__ import annotations

import shlex

from rich.console import Console

from pipeline.config import PipelineConfig
from pipeline.gates.verdict import GateName
from pipeline.metadata import History, open_store
from pipeline.runners.report import RunReport, load_reports
from pipeline.view import nodes_table, show_verdict
from schema.errors import ExitCode, UsageError


def why(console: Console, config: PipelineConfig, pipeline: str, subject: str | None, run_id: str | None) -> ExitCode:
    """Explains a run, or one gate or node of it.

    Raises:
        UsageError: There is no such run, gate or node.
    """
    report = _find_run(load_reports(config.home), run_id)
    gates = [gate.value for gate in GateName]
    if subject is not None and subject not in (*gates, *report.nodes):
        raise UsageError(
            f"There is no gate or node {subject!r}", expected=f"one of {', '.join((*gates, *report.nodes))}"
        )
    console.print(f"Run {report.run_id} {report.outcome}: headrace {shlex.join(report.command)}")
    if subject in report.nodes:
        node = report.nodes[subject]
        console.print(f"{node.node} {node.state.value}: {node.reason}\nLog: {node.log or 'none'}", soft_wrap=True)
        return ExitCode.OK
    if subject is None:
        console.print(nodes_table(report))
    history = History(open_store(config.home, config.metadata), config.name)
    for verdict in history.verdicts_of_run(report.run_id):
        if subject in (None, verdict.gate.value):
            show_verdict(console, verdict, pipeline, all_findings=True)
    if report.error:
        console.print(f"Error: {report.error}", soft_wrap=True)
    return ExitCode.OK


def _find_run(reports: list[RunReport], run_id: str | None) -> RunReport:
    if not reports:
        raise UsageError("This pipeline has not run yet", mend="Start with `headrace run`.")
    if run_id is None:
        return reports[-1]
    found = next((report for report in reports if report.run_id == run_id), None)
    if found is None:
        raise UsageError(
            f"There is no run {run_id!r}", expected=f"one of {', '.join(report.run_id for report in reports[-10:])}"
        )
    return found
