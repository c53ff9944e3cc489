"""What lies in a source now, and whether it is still being written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from apache_beam.io.filesystems import FileSystems

from data.config import SPAN, SourceConfig
from data.spans import Span, find_spans, fingerprint

_MARKER = "_SUCCESS"
"""Hadoop and Spark write this file into a folder when everything else in it is written."""

Signature = tuple[tuple[str, int, float], ...]
"""Path, size in bytes and time of the last change of each file: what is another while a span is written."""


@dataclass(frozen=True)
class Arrival:
    """A span that lies in the source."""

    span: Span
    signature: Signature
    is_settled: bool
    """Whether it was the same at two looks that are far enough apart, or is marked as complete."""

    @property
    def number(self) -> int:
        """The span's number."""
        return self.span.number


@dataclass
class Source:
    """Looks at a source again and again.

    Args:
        config: Where the spans are.
        settle_seconds: A span that stayed the same for so long is complete.
        clock: Seconds, never going back.
    """

    config: SourceConfig
    settle_seconds: float
    clock: Callable[[], float]
    _since: dict[int, tuple[Signature, float]] = field(default_factory=dict)
    _contents: dict[int, tuple[Signature, str]] = field(default_factory=dict)

    def look(self) -> list[Arrival]:
        """All spans, by number.

        Raises:
            DataError: The source cannot be listed, holds nothing, or holds a span's number twice.
        """
        arrivals = [self._arrival(span) for span in find_spans(self.config)]
        self._since = {each.number: self._since[each.number] for each in arrivals}
        return arrivals

    def files(self, newest: int) -> Signature:
        """The files of all spans up to one, as they were at the last look."""
        return tuple(file for number, (files, _) in sorted(self._since.items()) if number <= newest for file in files)

    def content(self, arrival: Arrival) -> str:
        """The fingerprint of a span; its bytes are read again only when a file's size or time has changed.

        Raises:
            DataError: A file cannot be read.
        """
        known = self._contents.get(arrival.number)
        if known is None or known[0] != arrival.signature:
            known = self._contents[arrival.number] = arrival.signature, fingerprint([arrival.span])
        return known[1]

    def forget_contents(self) -> None:
        """Reads every span's bytes again when it is asked for its fingerprint next."""
        self._contents.clear()

    def _arrival(self, span: Span) -> Arrival:
        signature = _signature(span)
        before = self._since.get(span.number)
        if before is None or before[0] != signature:
            before = self._since[span.number] = signature, self.clock()
        is_settled = self.clock() - before[1] >= self.settle_seconds or self._is_marked(signature)
        return Arrival(span, signature, is_settled)

    def _is_marked(self, signature: Signature) -> bool:
        """Whether a marker, written after the files, lies beside each. A folder that spans share marks none of them."""
        if SPAN not in str(PurePath(self.config.path).parent):
            return False
        for path, _, written in signature:
            marker = Path(path).parent / _MARKER
            if FileSystems.get_scheme(path) is not None or not marker.is_file() or marker.stat().st_ctime < written:
                return False
        return True


def _signature(span: Span) -> Signature:
    return tuple((path, *_size_and_time(path)) for path in span.files)


def _size_and_time(path: str) -> tuple[int, float]:
    """Of a file that is gone again: -1 and 0."""
    if FileSystems.get_scheme(path) is None:
        try:
            facts = Path(path).stat()
        except FileNotFoundError:
            return -1, 0.0
        return facts.st_size, facts.st_ctime  # unlike the time of modification, a copying program cannot set it
    matched = FileSystems.match([path])[0].metadata_list
    return (matched[0].size_in_bytes, matched[0].last_updated_in_seconds) if matched else (-1, 0.0)
