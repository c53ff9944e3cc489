# No `from __future__ import annotations` here: TFX reads the annotations of component functions as objects.
"""The exit step: whatever happened in a run on a platform of containers, it tells what the gates decided.

A gate that stops a run stops it by a condition, which a platform shows as a run that succeeded with some tasks
skipped. So this step fails then, with the gate's exit code.
"""

import io
import json
import shlex
from collections.abc import Sequence

from rich.console import Console
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.experimental.simple_artifacts import File
from upath import UPath

from pipeline.gates.table import findings_table
from pipeline.gates.verdict import VERDICT_FILE, GateName, Outcome, Verdict
from schema.errors import ExitCode
from storage.places import at, files_below

REPORT_FILE = "report.txt"
_WIDTH = 160
_LEVELS_OF_A_RUN = 2


@component
def GateReport(
    report: OutputArtifact[File],
    root: Parameter[str],
    pipeline: Parameter[str],
    platform: Parameter[str],
    final_status: Parameter[str],
) -> None:
    """Prints the verdicts of this run, keeps them as `report.txt`, and ends with the exit code of what stopped it."""
    run = run_folder(root, report.uri)
    verdicts = find_verdicts(at(run))
    text = report_text(run, verdicts, final_status, shlex.join(["headrace", "compile", pipeline, "--for", platform]))
    print(text, flush=True)
    at(report.uri).mkdir(parents=True, exist_ok=True)
    (at(report.uri) / REPORT_FILE).write_text(text, encoding="utf-8")
    code = exit_code(verdicts)
    if code is not ExitCode.OK:
        raise SystemExit(int(code))


def run_folder(root: str, uri: str) -> str:
    """The folder of the run that an artifact was written in.

    Vertex AI writes to `ROOT/PROJECT/JOB/TASK_ID/KEY`, Kubeflow Pipelines to `ROOT/PIPELINE/RUN/TASK/ID/KEY`
    (backend/src/v2/driver/driver.go, provisionOutputs): two levels below the root, either way.
    """
    parts = uri.removeprefix(root).strip("/").split("/")
    return "/".join([root.rstrip("/"), *parts[:_LEVELS_OF_A_RUN]])


def find_verdicts(run: UPath) -> list[Verdict]:
    """The verdicts of a run, in the order of the gates; none if there is no such run."""
    files = [file for file in files_below(run).values() if file.name == VERDICT_FILE]
    found = {verdict.gate: verdict for verdict in (Verdict.load(file.parent) for file in files)}
    return [found[gate] for gate in GateName if gate in found]


def exit_code(verdicts: Sequence[Verdict]) -> ExitCode:
    """Of the first gate that stopped the run."""
    return next((verdict.gate.exit_code for verdict in verdicts if not verdict.passed), ExitCode.OK)


def report_text(run: str, verdicts: Sequence[Verdict], final_status: str, command: str) -> str:
    """What `headrace why` shows, as plain text.

    Args:
        run: The run's folder.
        verdicts: Of its gates.
        final_status: The platform's, JSON of a `PipelineTaskFinalStatus`.
        command: The command line that compiled the pipeline.
    """
    text = io.StringIO()
    console = Console(file=text, width=_WIDTH, highlight=False, markup=False, no_color=True)
    console.print(f"Run {run}: {_told(final_status)}", soft_wrap=True)
    if not verdicts:
        console.print("No gate was reached.")
    for verdict in verdicts:
        console.print(f"\n{verdict.gate.value} gate: {verdict.outcome.value} ({verdict.summary.rstrip('.')})")
        console.print(findings_table(verdict.findings))
        if not verdict.passed:
            failed = [finding for finding in verdict.findings if finding.outcome is Outcome.FAILED]
            mends = dict.fromkeys(finding.mend for finding in failed if finding.mend)
            console.print(f"  To mend:   {' '.join(mends)}", soft_wrap=True)
            console.print(f"  To accept: {command} --accept 'REASON' --run {shlex.quote(run)}", soft_wrap=True)
            console.print("             and run what it writes.")
    return text.getvalue()


def _told(final_status: str) -> str:
    """The platform's word on the run, such as `SUCCEEDED`, and its error message."""
    try:
        status = json.loads(final_status)
    except ValueError:
        return final_status
    error = (status.get("error") or {}).get("message", "")
    return " ".join(filter(None, (status.get("state", "ended"), error)))
