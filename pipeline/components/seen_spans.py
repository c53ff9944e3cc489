"""Spans whose examples an earlier execution has left: they are taken over, so that a new span costs what it costs.

Each execution of ExampleGen tells in its artifact's folder what it has made of each span, under a fingerprint of the
span's content and of all that says how examples are made of it. A later one looks into the folders beside its own.
"""

from __future__ import annotations

import os
import re
import uuid
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from pydantic import TypeAdapter

from data.columns import columns_path
from data.examples import QUARANTINED
from schema.strict import Strict
from storage.files import write_whole
from storage.places import Place, at, is_remote

FILE = "spans.json"
"""In the folder of an Examples artifact, beside its splits."""

_LOOKED_INTO = 8
"""Of the newest folders. A window that goes on has its spans in the last one."""

_SHARD = re.compile(r"data_tfrecord-(\d+)-of-\d+(.*\.gz)")


class TakeOverOptions(PipelineOptions):
    """Of ExampleGen's job: whether spans are taken over. They are in local runs, unless the node is forced."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--take_over", action="store_true")


def takes_over(beam_args: Sequence[str] | None) -> bool:
    """Whether a component's Beam arguments ask for it."""
    return bool(PipelineOptions(list(beam_args or ())).view_as(TakeOverOptions).take_over)


@dataclass(frozen=True)
class SpanShards:
    """The place of a span among the shards."""

    split: str | None
    """None: a hash splits its rows."""
    first: int
    count: int


class SpanRecord(Strict):
    """What an execution has made of a span."""

    made: str
    """The fingerprint."""
    split: str | None
    """The split that all of it is in; None if a hash has split its rows."""
    first: int
    """The index of its first shard."""
    shards: int
    files: int
    """Of examples: of a large shard, or one that a hash has split, there are several."""
    counts: dict[str, int]
    """Of rows, see the names of counters in `data.examples`."""


_RECORDS = TypeAdapter(dict[int, SpanRecord])


@dataclass(frozen=True)
class SeenSpan:
    """A span that has been made, and where its examples are."""

    record: SpanRecord
    files: tuple[str, ...]

    def pairs(self, uri: str, split: str | None, first: int, of: int) -> Iterator[tuple[str, str]]:
        """Each file, and its path in another artifact, where the span may be in another split.

        Args:
            uri: Of that artifact.
            split: There; None: as it is.
            first: The index of the span's first shard there.
            of: The number of all shards there.
        """
        for path in self.files:
            _, folder, name = path.rsplit("/", 2)
            shard, rest = _parsed(name)
            folder = f"Split-{split}" if split else folder
            yield path, f"{uri}/{folder}/data_tfrecord-{shard - self.record.first + first:05d}-of-{of:05d}{rest}"


def find_seen(uri: str, made: Mapping[int, str]) -> dict[int, SeenSpan]:
    """The spans that earlier executions have made, and of which all is there.

    Args:
        uri: The folder of this execution's artifact; those beside it, named by their executions, are looked into.
        made: The fingerprint of each span that is wanted.
    """
    place = at(uri)
    if not place.name.isdecimal() or not place.parent.exists():
        return {}
    beside = [each for each in place.parent.iterdir() if each.name.isdecimal() and int(each.name) < int(place.name)]
    found: dict[int, SeenSpan] = {}
    for folder in sorted(beside, key=lambda each: int(each.name), reverse=True)[:_LOOKED_INTO]:
        records = _read(folder)
        wanted = {
            span: record for span, record in records.items() if span not in found and record.made == made.get(span)
        }
        if wanted:
            found |= _whole(folder, wanted)
        if len(found) == len(made):
            break
    return found


def records_of(
    uri: str, spans: Mapping[int, SpanShards], made: Mapping[int, str], counts: Mapping[int, Mapping[str, int]]
) -> dict[int, SpanRecord]:
    """What an execution has made of its spans.

    Of a span with rows that were put aside nothing is told: it is read again, so that they are told with the place
    where they are now.

    Args:
        uri: Of its artifact.
        spans: Where their shards are.
        made: Their fingerprints.
        counts: Of their rows.
    """
    files = _files_of(uri, {span: range(each.first, each.first + each.count) for span, each in spans.items()})
    return {
        span: SpanRecord(
            made=made[span],
            split=each.split,
            first=each.first,
            shards=each.count,
            files=len(files[span]),
            counts=dict(counts.get(span, {})),
        )
        for span, each in spans.items()
        if not any(name.startswith(QUARANTINED) for name in counts.get(span, {}))
    }


def leave_records(uri: str, records: Mapping[int, SpanRecord]) -> None:
    """Tells later executions; the last that is written of an artifact."""
    write_whole(at(uri) / FILE, _RECORDS.dump_json(dict(records)))


class TakeOver(beam.DoFn):
    """A file of examples of another artifact, and its path in this one → the path, once it and its columns are there.

    On one machine they are one file with two names (neither is ever changed), in an object store a copy that the store
    makes.

    Args:
        temporary: A folder of unfinished files, in the file system of the artifact.
    """

    def __init__(self, temporary: str) -> None:
        self._temporary = temporary

    def process(self, paths: tuple[str, str]) -> Iterator[str]:
        """Takes one file.

        Raises:
            OSError, tf.errors.OpError: It cannot be written, or is gone.
        """
        source, target = paths
        self._take(columns_path(source), columns_path(target))
        self._take(source, target)  # the last: it tells that all is there
        yield target

    def _take(self, source: str, target: str) -> None:
        if not is_remote(target) and _linked(source, target):
            return
        unfinished = f"{self._temporary}/{uuid.uuid4().hex}"
        tf.io.gfile.copy(source, unfinished)
        tf.io.gfile.rename(unfinished, target, overwrite=True)


def _linked(source: str, target: str) -> bool:
    """Whether a file has a second name now; not all file systems can give it one."""
    try:
        os.link(source, target)
    except FileExistsError:  # from an attempt before this one
        return True
    except OSError:
        return False
    return True


def _read(folder: Place) -> dict[int, SpanRecord]:
    """Nothing, if the execution did not end well, or if this program cannot read what it left."""
    try:
        return _RECORDS.validate_json((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}


def _whole(folder: Place, wanted: Mapping[int, SpanRecord]) -> dict[int, SeenSpan]:
    """Those of which no file has been removed since."""
    files = _files_of(str(folder), {span: range(each.first, each.first + each.shards) for span, each in wanted.items()})
    return {
        span: SeenSpan(record, tuple(sorted(files[span])))
        for span, record in wanted.items()
        if len(files[span]) == record.files and all(at(columns_path(path)).exists() for path in files[span])
    }


def _files_of(uri: str, shards: Mapping[int, range]) -> dict[int, list[str]]:
    """The files of examples of each span, in whatever split, given the indices of its shards."""
    spans = {index: span for span, indices in shards.items() for index in indices}
    files: dict[int, list[str]] = defaultdict(list)
    for folder in (each for each in at(uri).iterdir() if each.name.startswith("Split-")):
        for path in folder.iterdir():
            if (span := spans.get(_parsed(path.name)[0])) is not None:
                files[span].append(f"{uri}/{folder.name}/{path.name}")
    return files


def _parsed(name: str) -> tuple[int, str]:
    """The index of a file's shard, and what follows the number of shards in its name."""
    match = _SHARD.fullmatch(name)
    return (int(match.group(1)), match.group(2)) if match else (-1, "")
