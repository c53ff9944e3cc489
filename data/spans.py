"""Finds the spans of a source and chooses the window that trains and evaluates.

A span is one delivery of data, numbered in the order of time (a day, a month). Files are listed through Beam's
FileSystems, so a local folder, gs:// and s3:// are the same here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from data.config import SPAN, DataConfig, SourceConfig
from schema.errors import DataError

TRAIN = "train"
EVAL = "eval"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Span:
    """One delivery of data: its number and its files, sorted by name."""

    number: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """What one run reads. Without time, `eval_span` is None and a hash splits the train spans."""

    train_spans: tuple[Span, ...]
    eval_span: Span | None

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans, oldest first."""
        return self.train_spans + ((self.eval_span,) if self.eval_span else ())

    @property
    def number(self) -> int:
        """The newest span's number."""
        return self.spans[-1].number

    def describe(self) -> str:
        """In words, for a person."""
        if self.eval_span is None:
            return f"{sum(len(span.files) for span in self.train_spans)} file(s), split by hash"
        train = ", ".join(str(span.number) for span in self.train_spans)
        return f"spans {train} train, span {self.eval_span.number} evaluates"


def find_window(config: DataConfig) -> Window:
    """Lists the source and chooses the spans of one run.

    Raises:
        DataError: No file matches, one span number comes from two folders, a span's files are copies of
            another's, the named newest span is absent, or no span is left to train on.
    """
    spans = find_spans(config.source)
    if config.window is None:
        return Window(tuple(spans), None)
    newest = spans[-1].number if config.window.newest == "latest" else config.window.newest
    numbers = [span.number for span in spans]
    if newest not in numbers:
        raise DataError(
            f"Span {newest}, named as the newest, does not exist",
            where=config.source.path,
            expected=f"one of {', '.join(map(str, numbers))}",
            mend="Set data.window.newest to one of these, or to `latest`.",
        )
    position = numbers.index(newest)
    train = spans[max(0, position - config.window.train) : position]
    if not train:
        raise DataError(
            f"There is no span before span {newest} to train on",
            where=config.source.path,
            expected="at least two spans: the newest evaluates, those before it train",
            received=f"spans {', '.join(map(str, numbers))}",
            mend="Add an earlier span, or use data.split for data without time.",
        )
    window = Window(tuple(train), spans[position])
    _refuse_copies(window.spans)
    return window


def find_spans(source: SourceConfig) -> list[Span]:
    """All spans of a source, by number. A path without `{SPAN}` is one span, numbered 0."""
    pattern = _pattern(source.path)
    found: dict[int, dict[str, list[str]]] = {}
    for path in _list(source.path.replace(SPAN, "*")):
        match = pattern.match(path)
        if match:
            written = match.group("span") if source.has_spans else "0"
            found.setdefault(int(written), {}).setdefault(written, []).append(path)
    for number, spellings in found.items():
        if len(spellings) > 1:
            raise DataError(
                f"Span {number} is there {len(spellings)} times",
                where=source.path,
                expected="one folder or file name for each span number",
                received=f"the spellings {', '.join(sorted(spellings))}",
                mend="Remove or renumber all but one of them.",
            )
    if not found:
        raise DataError(
            "No file matches the source",
            where=source.path,
            expected="a glob that matches at least one file"
            + (f", with digits for {SPAN}" if source.has_spans else ""),
            mend="Check data.source.path; a relative path starts at the project's root.",
        )
    return [
        Span(number, tuple(sorted(file for files in spellings.values() for file in files)))
        for number, spellings in sorted(found.items())
    ]


def _pattern(path: str) -> re.Pattern[str]:
    """Matches the files of a source; the group `span` holds the digits of the span, all of them after a wildcard."""
    parts = [fnmatch.translate(part).removesuffix(r"\Z").removesuffix(r"\z") for part in path.split(SPAN)]
    after_wildcard = path.split(SPAN)[0][-1:] in ("*", "?", "]")
    digits = ("(?<![0-9])" if after_wildcard else "") + "(?P<span>[0-9]+)"
    return re.compile(digits.join(parts) + r"\Z")


def _list(glob: str) -> list[str]:
    try:
        if FileSystems.get_scheme(glob) == "s3":  # which asks for options, even for none, before any job is made
            FileSystems.set_options(PipelineOptions([]))
        matches = FileSystems.match([glob])[0].metadata_list
    except (BeamIOError, ValueError) as error:
        raise DataError("The source cannot be listed", where=glob, received=str(error)) from None
    return [metadata.path for metadata in matches]


def _refuse_copies(spans: Iterable[Span]) -> None:
    first_by_content: dict[str, int] = {}
    for span in spans:
        content = fingerprint([span])
        if content in first_by_content:
            raise DataError(
                f"Span {span.number} holds the same bytes as span {first_by_content[content]}",
                where=", ".join(span.files),
                expected="each span to be a new delivery of data",
                mend="Remove the copy: training on a span twice, or evaluating on a span that trains, flatters.",
            )
        first_by_content[content] = span.number


def fingerprint(spans: Iterable[Span]) -> str:
    """SHA-256 of the spans' contents: the same bytes are the same data, wherever and whenever they were copied.

    For a file that is not on this machine, the checksum that its store keeps stands for the content.
    """
    digest = hashlib.sha256()
    for span in spans:
        for path in span.files:
            digest.update(_content(path))
        digest.update(b"end of span")
    return digest.hexdigest()


def _content(path: str) -> bytes:
    digest = hashlib.sha256()
    try:
        if FileSystems.get_scheme(path) is not None:
            return str(FileSystems.checksum(path)).encode()
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except (OSError, BeamIOError) as error:
        raise DataError("A source file cannot be read", where=path, received=str(error)) from None
    return digest.digest()
