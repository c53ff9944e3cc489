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
from pipeline.components.seen_spans import SeenSpan, SpanShards


@dataclass(frozen=True)
class FileShards:
    """The shards of a file: elements that are files, since there are fewer of them than of blocks."""

    first: Shard
    count: int


@dataclass(frozen=True)
class ShardsPlan:
    """All shards of a window, in the order of time."""

    spans: dict[int, SpanShards]
    read: list[FileShards]
    taken: list[tuple[str, str]]
    """Files of examples that are there already, and their paths in this artifact."""


def plan_shards(
    data: DataConfig, window: Window, types: dict[str, pa.DataType], seen: Mapping[int, SeenSpan], uri: str
) -> ShardsPlan:
    """One shard for each block of the spans that are read; the others have theirs.

    Args:
        data: Where the data is.
        window: What is wanted of it.
        types: Of the columns.
        seen: The spans that are not read again.
        uri: The folder of the artifact.

    Raises:
        DataError: A file cannot be read.
    """
    found = [(span.number, path) for span in window.spans if span.number not in seen for path in span.files]
    infos = inspect_all([path for _, path in found], data.source.format, types)
    of = sum(len(info.blocks) for info in infos) + sum(each.record.shards for each in seen.values())
    of_spans: dict[int, list[FileInfo]] = defaultdict(list)
    for (number, _), info in zip(found, infos, strict=True):
        of_spans[number].append(info)
    plan, first = ShardsPlan({}, [], []), 0
    for span in window.spans:
        split = None if window.eval_span is None else EVAL if span == window.eval_span else TRAIN
        index = first
        if span.number in seen:
            plan.taken.extend(seen[span.number].pairs(uri, split, index, of))
            index += seen[span.number].record.shards
        for info in of_spans[span.number]:
            if info.blocks:
                shard = Shard(index, of, info.blocks[0], tuple(info.columns), split, span.number)
                plan.read.append(FileShards(shard, len(info.blocks)))
                index += len(info.blocks)
        plan.spans[span.number] = SpanShards(split, first, index - first)
        first = index
    return plan


def shards_of(file: FileShards, share: int, shares: int) -> Iterator[Shard]:
    """One for each block of a file that is in a share, if blocks are dealt out in turn."""
    for group in range(file.count):
        index = file.first.index + group
        if index % shares == share:
            yield replace(file.first, index=index, block=replace(file.first.block, row_group=group))
