"""Spans whose examples an earlier execution has left: they are taken over, so that a new span costs what it costs.

Each execution of ExampleGen tells in its artifact's folder what it has made of each span, under a fingerprint of the
span's content and of all that says how examples are made of it. A later one looks into the folders beside its own.
"""

from __future__ import annotations

import itertools
import shutil
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from pydantic import TypeAdapter

from data.columns import columns_path
from data.examples import QUARANTINED
from data.shards import index_of, renamed
from schema.strict import Strict
from storage.files import write_whole
from storage.places import Place, at, is_remote, sizes_below

FILE = "spans.json"
"""In the folder of an Examples artifact, beside its splits."""

_LOOKED_INTO = 8
"""Of the newest folders with that file. A window that goes on has its spans in the last one."""


class TakeOverOptions(PipelineOptions):
    """Of ExampleGen's job: whether spans are taken over. They are, wherever it runs, unless the node is forced."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--take_over", action="store_true")


def takes_over(beam_args: Sequence[str] | None) -> bool:
    """Whether a component's Beam arguments ask for it."""
    return bool(PipelineOptions(list(beam_args or ())).view_as(TakeOverOptions).take_over)


class SpanShards(Strict):
    """The place of a span among the shards."""

    split: str | None
    """The split that all of it is in; None if a hash splits its rows."""
    first: int
    """The index of its first shard."""
    count: int


class SpanRecord(Strict):
    """What an execution has made of a span."""

    fingerprint: str
    shards: SpanShards
    files: dict[str, int]
    """The bytes of each file of examples or columns, by its path in the artifact's folder."""
    counts: dict[str, int]
    """Of rows, see the names of counters in `data.examples`."""


_RECORDS = TypeAdapter(dict[int, SpanRecord])


@dataclass(frozen=True)
class SeenSpan:
    """A span that has been made, and the folder of the artifact that it is in."""

    folder: str
    record: SpanRecord


@dataclass(frozen=True)
class TakenSpan:
    """An element of ExampleGen's job: a span of another artifact, and its place in this one."""

    folder: str
    """Of the other artifact."""
    span: int
    shards: SpanShards
    """Here, where the span may be in another split."""
    of: int
    """All shards here."""


def find_seen(uri: str, fingerprints: Mapping[int, str]) -> dict[int, SeenSpan]:
    """The spans that earlier executions have made, and of which all is there.

    Args:
        uri: The folder of this execution's artifact; those beside it, named by their executions, are looked into.
        fingerprints: Of each span that is wanted.
    """
    place = at(uri)
    if not place.name.isdecimal() or not place.parent.exists():
        return {}
    beside = [each for each in place.parent.iterdir() if each.name.isdecimal() and int(each.name) < int(place.name)]
    newest_first = sorted(beside, key=lambda each: int(each.name), reverse=True)
    with_records = ((folder, records) for folder in newest_first if (records := _read(folder)))
    found: dict[int, SeenSpan] = {}
    for folder, records in itertools.islice(with_records, _LOOKED_INTO):
        wanted = {
            span: record
            for span, record in records.items()
            if span not in found and record.fingerprint == fingerprints.get(span)
        }
        there = sizes_below(folder) if wanted else {}
        for span, record in wanted.items():
            if record.files.items() <= there.items():
                found[span] = SeenSpan(str(folder), record)
        if len(found) == len(fingerprints):
            break
    return found


def leave_records(
    uri: str, spans: Mapping[int, SpanShards], fingerprints: Mapping[int, str], counts: Mapping[int, Mapping[str, int]]
) -> None:
    """Tells later executions what this one has made; the last file that is written of an artifact.

    Of a span with rows that were put aside nothing is told: it is read again, so that they are told with the place
    where they are then.

    Args:
        uri: The artifact's folder.
        spans: Where their shards are.
        fingerprints: Of the spans.
        counts: Of their rows.
    """
    span_of = {index: span for span, each in spans.items() for index in range(each.first, each.first + each.count)}
    files: dict[int, dict[str, int]] = {span: {} for span in spans}
    for name, size in sizes_below(at(uri)).items():
        if name.endswith(_ENDINGS):
            files[span_of[index_of(name)]][name] = size
    records = {
        span: SpanRecord(
            fingerprint=fingerprints[span], shards=each, files=files[span], counts=dict(counts.get(span, {}))
        )
        for span, each in spans.items()
        if not any(name.startswith(QUARANTINED) for name in counts.get(span, {}))
    }
    write_whole(at(uri) / FILE, _RECORDS.dump_json(records))


_ENDINGS = (".gz", ".arrow")
"""Of the names of files of examples, and of columns."""


def pairs_of(taken: TakenSpan, uri: str, share: int, shares: int) -> Iterator[tuple[str, str]]:
    """Each file of a span's examples, and its path in the artifact that takes it over.

    Args:
        taken: The span.
        uri: The folder of that artifact.
        share: Of the shards there, if they are dealt out in turn.
        shares: How many there are.
    """
    record = _read(at(taken.folder))[taken.span]
    for name in record.files:
        folder, _, file = name.rpartition("/")
        index = index_of(file) - record.shards.first + taken.shards.first
        if file.endswith(".gz") and index % shares == share:
            split = f"Split-{taken.shards.split}" if taken.shards.split else folder
            yield f"{taken.folder}/{name}", f"{uri}/{split}/{renamed(file, index, taken.of)}"


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
            OSError: It cannot be written, or is gone.
        """
        source, target = paths
        self._take(columns_path(source), columns_path(target))
        self._take(source, target)  # the last: it tells that all is there
        yield target

    def _take(self, source: str, target: str) -> None:
        if is_remote(target):
            at(target).fs.cp_file(at(source).path, at(target).path)
            return
        final, unfinished = Path(target), Path(self._temporary, uuid.uuid4().hex)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.hardlink_to(source)
        except FileNotFoundError:
            raise
        except OSError:  # not every file system has a second name for a file
            shutil.copyfile(source, unfinished)
        unfinished.replace(final)  # whatever an attempt before this one has left there
        unfinished.unlink(missing_ok=True)  # if that was the same file, both names are there still


def _read(folder: Place) -> dict[int, SpanRecord]:
    """Nothing, if the execution did not end well, or if this program cannot read what it left."""
    try:
        return _RECORDS.validate_json((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
