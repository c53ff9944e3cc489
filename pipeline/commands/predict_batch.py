"""`headrace predict --input … --output …`: the input's files as blocks, scored by `serving.batch`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from rich.console import Console

from data.config import SourceConfig
from data.encoding import fits
from data.readers import inspect, read
from data.spans import find_spans
from pipeline.beam import IN_MEMORY_RUNNER
from pipeline.commands.predict import PredictOptions
from pipeline.config import PipelineConfig
from schema.errors import DataError, ExitCode, UsageError
from serving.batch import QUARANTINE, Block, score
from serving.batch_model import EXAMPLES, VERSION_COLUMN, Plan, read_signature
from serving.client import Signature
from serving.versions import versions
from storage.places import at

_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".tfrecord": "tfrecord", ".gz": "tfrecord"}
_SERVE_EXAMPLES = "serve_examples"
_TFRECORD_ROWS = 1024


def score_files(console: Console, config: PipelineConfig, options: PredictOptions) -> ExitCode:
    """Scores, and tells where the predictions are.

    Raises:
        HeadraceError: The input cannot be read, or the output exists.
    """
    started = time.monotonic()
    output = _free_output(options)
    version = _version(config, options)
    paths, kind = _inputs(str(options.input))

    model_path = str(at(config.push.path) / str(version))
    name = _SERVE_EXAMPLES if kind == "tfrecord" else "serving_default"
    signature = read_signature(model_path, name)
    for column in options.keep:
        if kind == "tfrecord" or column in signature.outputs or column == VERSION_COLUMN:
            raise UsageError(
                f"The column {column!r} cannot be kept", expected="a column of a table, and no output's name"
            )
    blocks = list(_blocks(paths, kind, signature, options.keep))
    counts = score(Plan(model_path, version, name, options.keep), blocks, output, (IN_MEMORY_RUNNER,))
    seconds = time.monotonic() - started
    console.print(
        f"{config.name} version {version}: {counts.scored:,} rows scored in {seconds:.1f} s, {counts.shards} "
        f"file(s) in {output}"
    )
    if counts.quarantined:
        console.print(f"{counts.quarantined:,} rows could not be scored; why: {output / QUARANTINE}")
    return ExitCode.OK


def _free_output(options: PredictOptions) -> Path:
    if "://" in str(options.output):
        raise UsageError("The output is not on this machine", expected="a local folder", received=options.output)
    output = Path(str(options.output)).resolve()
    if output.exists() and not options.force:
        raise UsageError("The output exists", where=str(output), mend="Choose another, or replace it with --force.")
    if output.exists() and not output.is_dir():
        raise UsageError("The output is a file", where=str(output), expected="a folder")
    if output.is_dir() and any(not each.name.startswith(("part-", "_")) for each in output.iterdir()):
        raise UsageError("The output holds what is no prediction, so it is not replaced", where=str(output))
    return output


def _version(config: PipelineConfig, options: PredictOptions) -> int:
    pushed = versions(at(config.push.path))
    if not pushed:
        mend = f"Run it first: headrace run {shlex.quote(options.pipeline)}"
        raise UsageError("Nothing is pushed yet", where=config.push.path, mend=mend)
    if options.version is not None and options.version not in pushed:
        known = ", ".join(map(str, pushed))
        raise UsageError(f"There is no version {options.version}", where=config.push.path, expected=f"one of {known}")
    return options.version or pushed[-1]


def _inputs(glob: str) -> tuple[list[str], str]:
    """The files, and what they are by their names."""
    try:
        paths = [path for span in find_spans(SourceConfig(path=glob)) for path in span.files]
    except DataError as error:
        raise DataError(error.what.replace("source", "input"), where=glob, received=error.received) from None
    kinds = {_SUFFIXES.get(Path(path).suffix) for path in paths}
    if len(kinds) != 1 or None in kinds:
        expected = f"files of one kind, by their names: {', '.join(_SUFFIXES)}"
        raise UsageError("What the input holds is not clear", where=glob, expected=expected)
    return paths, str(kinds.pop())


def _blocks(paths: list[str], kind: str, signature: Signature, keep: tuple[str, ...]) -> Iterator[Block]:
    """The input's blocks, each file's header checked."""
    if kind == "tfrecord":
        for index, path in enumerate(paths):
            yield Block(index, path, 0, partial(_read_examples, path))
        return
    columns = list(dict.fromkeys((*signature.inputs, *keep)))
    texts = dict.fromkeys(columns, pa.string()) if kind == "csv" else {}
    index = 0
    for path in paths:
        info = inspect(path, "csv" if kind == "csv" else "parquet", texts)
        absent = [name for name in columns if name not in info.columns]
        if absent:
            raise DataError("A file lacks columns", where=path, expected=", ".join(absent))
        for name, spec in signature.inputs.items():
            wanted = pa.binary() if spec.dtype == "DT_STRING" else pa.float64()
            if kind == "parquet" and not fits(info.columns[name], wanted):
                expected, received = spec.dtype, str(info.columns[name])
                raise DataError(
                    f"The column {name!r} has the wrong type", where=path, expected=expected, received=received
                )
        row = 0
        for block, rows in zip(info.blocks, _group_rows(path, len(info.blocks), kind), strict=True):
            yield Block(index, path, row, partial(read, block, columns, texts), is_text=kind == "csv")
            index, row = index + 1, row + rows


def _group_rows(path: str, count: int, kind: str) -> list[int]:
    """The rows of each of a file's blocks, to number them."""
    if kind == "csv":
        return [0] * count
    with FileSystems.open(path, mime_type="application/octet-stream", compression_type="uncompressed") as file:
        metadata = pq.ParquetFile(file).metadata
        return [metadata.row_group(index).num_rows for index in range(count)]


def _read_examples(path: str) -> Iterator[pa.RecordBatch]:
    """The records of a TFRecord file, in a column of their own.

    Raises:
        DataError: The file is damaged.
    """
    data = tf.data.TFRecordDataset(path, compression_type="GZIP" if path.endswith(".gz") else "")
    try:
        for batch in data.batch(_TFRECORD_ROWS).as_numpy_iterator():
            yield pa.RecordBatch.from_arrays([pa.array(batch.tolist(), pa.binary())], [EXAMPLES])
    except tf.errors.OpError as error:
        received = str(error.message)[:300]
        raise DataError(
            "A TFRecord file cannot be read", where=path, expected="a whole file", received=received
        ) from None
