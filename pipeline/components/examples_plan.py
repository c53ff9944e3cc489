"""What becomes which shard: the files of a window that are read, and those of spans that are taken over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from data.config import DataConfig
from data.examples import Shard
from data.readers import FileInfo, inspect_all
from data.spans import EVAL, TRAIN, Window
from pipeline.components.seen_spans import SeenSpan, SpanShards, TakenSpan


@dataclass(frozen=True)
class FileShards:
    """The shards of a file: elements that are files, since there are fewer of them than of blocks."""

    first: Shard
    count: int


@dataclass(frozen=True)
class ShardsPlan:
    """All shards of a window, in the order of time."""

    spans: dict[int, SpanShards]
    read: tuple[FileShards, ...]
    taken: tuple[TakenSpan, ...]

    @property
    def most_shares(self) -> int:
        """The shards that are read: more processes would have nothing to do."""
        return max(1, sum(file.count for file in self.read))


def plan_shards(
    data: DataConfig, window: Window, types: dict[str, pa.DataType], seen: Mapping[int, SeenSpan]
) -> ShardsPlan:
    """One shard for each block of the spans that are read; the others have theirs.

    Args:
        data: Where the data is.
        window: What is wanted of it.
        types: Of the columns.
        seen: The spans that are not read again.

    Raises:
        DataError: A file cannot be read.
    """
    found = [(span.number, path) for span in window.spans if span.number not in seen for path in span.files]
    infos = inspect_all([path for _, path in found], data.source.format, types)
    of_spans: dict[int, list[FileInfo]] = defaultdict(list)
    for (number, _), info in zip(found, infos, strict=True):
        if info.blocks:
            of_spans[number].append(info)
    of = sum(len(info.blocks) for info in infos) + sum(each.record.shards.count for each in seen.values())
    spans: dict[int, SpanShards] = {}
    read, taken, first = [], [], 0
    for span in window.spans:
        split = None if window.eval_span is None else EVAL if span == window.eval_span else TRAIN
        known, index = seen.get(span.number), first
        if known:
            index += known.record.shards.count
        for info in of_spans[span.number]:
            shard = Shard(index, of, info.blocks[0], tuple(info.columns), split, span.number)
            read.append(FileShards(shard, len(info.blocks)))
            index += len(info.blocks)
        spans[span.number] = SpanShards(split=split, first=first, count=index - first)
        if known:
            taken.append(TakenSpan(known.folder, span.number, spans[span.number], of))
        first = index
    return ShardsPlan(spans, tuple(read), tuple(taken))


def shards_of(file: FileShards, share: int, shares: int) -> Iterator[Shard]:
    """One for each block of a file that is in a share, if blocks are dealt out in turn."""
    for group in range(file.count):
        index = file.first.index + group
        if index % shares == share:
            yield replace(file.first, index=index, block=replace(file.first.block, row_group=group))
