"""The tables beside a request log: the spans that arrived, and the labels. What cannot be used of them is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from data.config import SourceConfig
from data.readers import FileInfo, inspect
from data.spans import Span, find_spans
from monitoring.collect import TableBlock
from monitoring.problems import Problems
from monitoring.reference import Reference
from pipeline.config import PipelineConfig
from schema.errors import ConfigError, DataError, HeadraceError


def span_tables(
    config: PipelineConfig, reference: Reference, types: dict[str, Any], problems: Problems, *, has_labels: bool = False
) -> Iterator[TableBlock]:
    """The spans that arrived since, and, to join, those that the version was trained and evaluated on.

    Args:
        config: The pipeline.
        reference: Of the version.
        types: The type of each column, for CSV.
        problems: Is told of what is passed over: spans that cannot be listed, a damaged file, columns that lack.
        has_labels: Whether labels arrive by themselves: then a request is not joined with those of the spans.
    """
    own = set(reference.profile.spans.tolist())
    identifier = config.monitor.identifier
    watched = [each.name for each in reference.profile.features]
    expected = {*watched} - ({reference.label} if has_labels else set())
    required = tuple(drop.missing for drop in config.data.drop)
    for span in _listed(config.data.source, problems):
        is_new = config.data.window is not None and span.number > reference.profile.newest_span
        is_joined = bool(identifier) and (is_new or span.number in own)
        for path in span.files if is_new or is_joined else ():
            info = _inspected(path, config.data.source, types, problems)
            if info is None:
                continue
            if lacking := sorted(expected - set(info.columns)):
                problems.add("a file of a span lacks columns", f"{path}: {', '.join(lacking)}")
            columns, number = _present((*watched, *required), info), span.number if is_new else None
            can_join = is_joined and all(name in info.columns for name in identifier)
            for block in info.blocks if columns and (is_new or can_join) else ():
                yield TableBlock(block, columns, types, number, can_join, _present(required, info), not has_labels)


def label_tables(
    config: PipelineConfig, given: str | None, label: str, types: dict[str, Any], problems: Problems
) -> Iterator[TableBlock]:
    """The labels that arrive by themselves.

    Args:
        config: The pipeline.
        given: A glob of files, instead of those of `monitor.labels`.
        label: The label's column.
        types: The type of each column, for CSV.
        problems: Is told of what is passed over.

    Raises:
        ConfigError: There is no identifier to join them by.
        DataError: No file is there that was asked for with `given`.
    """
    source = config.monitor.labels
    if given is not None:
        found = SourceConfig(format="csv" if given.endswith(".csv") else "parquet", path=given)
    elif source is not None:
        found = SourceConfig(format=source.format, path=source.path)
    else:
        return
    identifier = config.monitor.identifier
    if not identifier:
        raise ConfigError(
            "Labels cannot be joined with requests",
            where="monitor.identifier",
            expected="the columns that together identify a row",
            received="none",
        )
    columns = (*identifier, label)
    spans = find_spans(found) if given is not None else _listed(found, problems)
    for path in (path for span in spans for path in span.files):
        info = _inspected(path, found, types, problems)
        if info is None:
            continue
        if lacking := [name for name in columns if name not in info.columns]:
            problems.add("a file of labels lacks columns", f"{path}: {', '.join(lacking)}")
            continue
        yield from (TableBlock(block, _present(columns, info), types, is_joined=True) for block in info.blocks)


def _listed(source: SourceConfig, problems: Problems) -> Sequence[Span]:
    try:
        return find_spans(source)
    except DataError as error:
        problems.add(_first_letter_small(error.what), error.where or source.path)
        return ()


def _inspected(path: str, source: SourceConfig, types: dict[str, Any], problems: Problems) -> FileInfo | None:
    try:
        return inspect(path, source.format, types)
    except HeadraceError as error:
        problems.add(_first_letter_small(error.what), f"{path}: {error.received}" if error.received else path)
        return None


def _present(names: Sequence[str], info: FileInfo) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name in info.columns))


def _first_letter_small(text: str) -> str:
    return text[:1].lower() + text[1:]
