"""`headrace predict`: asks the running server about some rows, or scores files in batch."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pipeline.config import PipelineConfig
from schema.errors import DataError, ExitCode, ServerError, UsageError
from serving.client import Client, ClientError
from storage.places import at

if TYPE_CHECKING:
    import numpy as np

_STDIN = "-"


@dataclass(frozen=True)
class PredictOptions:
    """What `headrace predict` was asked for."""

    pipeline: str
    rows: str | None = None
    server: str | None = None
    version: int | None = None
    label: str | None = None
    as_json: bool = False
    input: str | None = None
    output: str | None = None
    keep: tuple[str, ...] = ()
    force: bool = False


def add_predict_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options to the command's parser."""
    parser.add_argument("--version", metavar="N", type=int, help="a version of the model (default: the newest)")
    online = parser.add_argument_group("of the running server")
    online.add_argument("--rows", metavar="FILE", help="a JSON list of objects, or one object a line; - for stdin")
    online.add_argument("--server", metavar="URL", help="grpc://HOST:PORT or http://HOST:PORT (default: see `serve:`)")
    online.add_argument("--label", metavar="LABEL", help="a version's label on the server, such as stable")
    online.add_argument("--json", dest="as_json", action="store_true", help="print JSON, for machines")
    batch = parser.add_argument_group("in batch")
    batch.add_argument(
        "--input", metavar="GLOB", help="files to score: .parquet, .csv, .tfrecord or .gz of tf.Examples"
    )
    batch.add_argument("--output", metavar="FOLDER", help="becomes a folder of Parquet files")
    batch.add_argument("--keep", metavar="COLUMN", nargs="+", default=(), help="columns of the input to write as well")
    batch.add_argument("--force", action="store_true", help="replace the output if it exists")


def predict(console: Console, config: PipelineConfig, options: PredictOptions) -> ExitCode:
    """Predicts, and shows the predictions or where they are.

    Raises:
        HeadraceError: The options contradict one another, the rows do not fit, or the server does not answer.
    """
    _check(options)
    if options.rows is not None:
        return _ask(console, config, options)
    from pipeline.commands.predict_batch import score_files

    return score_files(console, config, options)


def _check(options: PredictOptions) -> None:
    is_batch = options.input is not None or options.output is not None
    if (options.rows is not None) == is_batch:
        raise UsageError(
            "It is not clear what to predict", expected="either --rows FILE, or --input GLOB with --output FOLDER"
        )
    if is_batch and (options.input is None or options.output is None):
        raise UsageError("Scoring in batch needs both --input GLOB and --output FOLDER")
    if options.version is not None and options.label is not None:
        raise UsageError("Both --version and --label are given", expected="one of them")
    foreign = {
        "--server": is_batch and options.server,
        "--label": is_batch and options.label,
        "--json": is_batch and options.as_json,
        "--keep": not is_batch and options.keep,
        "--force": not is_batch and options.force,
    }
    for name, is_given in foreign.items():
        if is_given:
            other = "--rows" if is_batch else "--input and --output"
            raise UsageError(f"{name} has no meaning here", expected=f"it together with {other}")


def _ask(console: Console, config: PipelineConfig, options: PredictOptions) -> ExitCode:
    rows = _with_times(_read_rows(options.rows or _STDIN), config)
    address = options.server or _address(config)
    known = {*config.features.exclude, config.label.name}
    try:
        client = Client(address, config.name, version=options.version, label=options.label, retries=1, ignore=known)
    except ValueError as error:
        raise UsageError("The server's address is none", received=str(error)) from None
    with client:
        try:
            version = client.metadata().version
            outputs = client.predict(rows)
        except ClientError as error:
            raise _explain(error, address, options) from None
    if options.as_json:
        console.out(_as_json(config.name, version, outputs, len(rows)), highlight=False)
    else:
        _show(console, f"{config.name} version {version} at {address}", outputs, len(rows))
    return ExitCode.OK


def _address(config: PipelineConfig) -> str:
    """REST if it is served: it needs no TensorFlow here, which takes seconds to import."""
    host = "127.0.0.1" if config.serve.host in ("0.0.0.0", "::") else config.serve.host  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    if config.serve.rest_port:
        return f"http://{host}:{config.serve.rest_port}"
    return f"grpc://{host}:{config.serve.grpc_port}"


def _explain(error: ClientError, address: str, options: PredictOptions) -> ServerError | DataError:
    if not error.attempts and (error.row is not None or error.feature is not None):
        return DataError(
            "The rows do not fit the model", where=options.rows, received=error.message.split(" (Columns")[0]
        )
    name = shlex.quote(options.pipeline)
    if error.code == "UNAVAILABLE":
        mended = f"{'Check the address, or start it' if options.server else 'Start it'}: headrace serve {name}"
        return ServerError("The model server cannot be reached", where=address, received=error.message, mend=mended)
    mend = f"What is pushed: headrace status {name}" if error.code == "NOT_FOUND" else None
    received = f"{error.code}: {error.message}"
    return ServerError("The model server did not answer with predictions", where=address, received=received, mend=mend)


def _read_rows(path: str) -> list[dict[str, Any]]:
    where = "standard input" if path == _STDIN else path
    try:
        text = sys.stdin.read() if path == _STDIN else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("The rows cannot be read", where=where, received=str(error)) from None
    try:
        rows = json.loads(text)
    except ValueError as whole:
        try:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise _no_rows(where, str(whole)) from None
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise _no_rows(where, text.strip()[:80] or "nothing")
    return rows


def _no_rows(where: str, received: str) -> DataError:
    return DataError(
        "The rows are not rows", where=where, expected="a JSON list of objects, or one object a line", received=received
    )


def _with_times(rows: list[dict[str, Any]], config: PipelineConfig) -> list[dict[str, Any]]:
    """JSON has no times: texts of features with a time_domain are read as ISO 8601."""
    from schema.contract import load_schema

    times = {each.name for each in load_schema(at(config.schema_path)).feature if each.HasField("time_domain")}
    for number, row in enumerate(rows):
        for name in times & row.keys():
            if isinstance(row[name], str) and row[name]:
                try:
                    row[name] = datetime.datetime.fromisoformat(row[name].replace("Z", "+00:00"))
                except ValueError:
                    raise DataError(
                        "The rows do not fit the model",
                        where=f"row {number}, feature {name!r}",
                        expected="a time such as 2013-01-31T06:15:00, or seconds since 1970-01-01",
                        received=repr(row[name]),
                    ) from None
    return rows


def _as_json(model: str, version: int, outputs: dict[str, np.ndarray], count: int) -> str:
    import orjson

    predictions = [{name: array[index] for name, array in outputs.items()} for index in range(count)]
    document = {"model": model, "version": version, "predictions": predictions}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2).decode()


def _show(console: Console, title: str, outputs: dict[str, np.ndarray], count: int) -> None:
    console.print(title, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("row", justify="right")
    for name in outputs:
        table.add_column(name, justify="right")
    for index in range(count):
        table.add_row(str(index), *(str(array[index]) for array in outputs.values()))
    console.print(table)
