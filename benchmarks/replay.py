"""Replays 2013: a model server answers each day's flights, the monitor looks at each month's end, and decides.

    python -m benchmarks.replay FOLDER [--first 3] [--last 12]

Everything is the real thing, in a project of its own in FOLDER: `headrace run`, a `headrace serve` process that polls
the pushed versions, requests over gRPC, `headrace monitor` on the server's log; a span is delivered when its month is
over, with its labels. The first model, trained up to the month `--first`, also scores every later month, as if nobody
had ever trained again. Prints a table in Markdown. Takes about two minutes for each training.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from sklearn.metrics import roc_auc_score

from monitoring.report import Report
from pipeline.config import load_config
from schema.errors import ExitCode
from serving.client import Client
from serving.versions import versions

REPOSITORY = Path(__file__).parents[1]
_MODEL = "flights"


def main() -> None:
    """Replays the months and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=3, help="the month that the first model is evaluated on")
    parser.add_argument("--last", type=int, default=12)
    options = parser.parse_args()
    project = _make_project(options.folder.resolve(), options.first)
    _headrace("run", project)
    print("| month | flights | decision | reason | version serving | its live AUC | AUC without retraining |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    trained_up_to = first = options.first
    base_path = project.parent / "models"
    first_version = versions(base_path)[-1]
    for month in range(first + 1, options.last + 1):
        table = pq.read_table(REPOSITORY / "data" / "flights" / f"span-{month:02d}" / "flights.parquet")
        live = _serve_month(project, table)
        _deliver(project.parent, month)
        code = _headrace("monitor", project, allowed=(ExitCode.RETRAIN, ExitCode.ROLL_BACK, ExitCode.BLOCK))
        decision = Report.load(project.parent / ".headrace" / _MODEL / "monitor").decision
        without = _score(project, first_version, month)
        label = np.asarray(table["late"].fill_null(-1))
        known = label >= 0
        scores = [f"{roc_auc_score(label[known], each[known]):.3f}" for each in (live, without)]
        told = f"trained up to month {trained_up_to}"
        cells = [month, f"{len(table):,}", decision.action.value, decision.headline, told, *scores]
        print(f"| {' | '.join(map(str, cells))} |")
        sys.stdout.flush()
        if code == ExitCode.RETRAIN and _headrace("run", project, allowed=tuple(ExitCode)) == ExitCode.OK:
            trained_up_to = month


def _make_project(folder: Path, first: int) -> Path:
    """The shipped pipeline with data, models and logs of its own."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    shutil.copy(REPOSITORY / "schema" / "flights.pbtxt", folder)
    raw = yaml.safe_load((REPOSITORY / "pipeline" / "configs" / "flights.yaml").read_text(encoding="utf-8"))
    raw["schema"] = "flights.pbtxt"
    raw["push"] = {"path": "models"}
    raw["serve"] = {"grpc_port": _free_port(), "rest_port": _free_port(), "request_log": {"path": "requests"}}
    # models of a few winter months cannot hold the bounds of a year's model: here they show what follows from drift
    raw["gates"]["quality"] = [{"metric": "auc", "at_least": 0.6}]
    project = folder / "flights.yaml"
    project.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    for month in range(1, first + 1):
        _deliver(folder, month)
    return project


def _deliver(folder: Path, month: int) -> None:
    span = f"data/flights/span-{month:02d}"
    shutil.copytree(REPOSITORY / span, folder / span)


def _serve_month(project: Path, table: pa.Table) -> np.ndarray:
    """Asks a server about each day's flights, a request a day; returns the answers, float64 [rows]."""
    config = load_config(project)
    days = pc.day(table["scheduled_departure"]).to_numpy()
    scores = np.full(len(table), np.nan)
    with _server(project), Client(f"grpc://127.0.0.1:{config.serve.grpc_port}", _MODEL) as client:
        asked = table.select(list(client.wait_until_available(120).signatures["serving_default"].inputs))
        for day in np.unique(days):
            rows = np.flatnonzero(days == day)
            scores[rows] = np.asarray(client.predict(asked.take(rows))["probability"], np.float64)
    return scores


@contextmanager
def _server(project: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "pipeline", "serve", str(project)]
    with (project.parent / "server.log").open("a") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def _score(project: Path, version: int, month: int) -> np.ndarray:
    """The answers of a version to a month, float64 [rows]."""
    output = project.parent / "without" / f"{month:02d}"
    output.parent.mkdir(exist_ok=True)
    files = f"data/flights/span-{month:02d}/*.parquet"
    _headrace(
        "predict", project, "--version", str(version), "--input", str(project.parent / files), "--output", str(output)
    )
    parts = [pq.read_table(path) for path in sorted(output.glob("part-*.parquet"))]
    return np.asarray(pa.concat_tables(parts)["probability"], np.float64)


def _headrace(command: str, project: Path, *arguments: str, allowed: tuple[ExitCode, ...] = ()) -> int:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    full = [sys.executable, "-m", "pipeline", command, str(project), *arguments]
    ended = subprocess.run(full, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != ExitCode.OK and ended.returncode not in allowed:
        raise SystemExit(f"{' '.join(full)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.returncode


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


if __name__ == "__main__":
    main()
