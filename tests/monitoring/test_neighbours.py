"""What is made of files is added up over neighbours, so that of any number of files one worker gets a bounded list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from monitoring.neighbours import AddNeighbours, ExamplesFile, stretch_of


@dataclass(frozen=True)
class Rows:
    """The simplest part: which files it is of."""

    file: ExamplesFile
    indices: frozenset[int]
    spans: frozenset[int]

    def __add__(self, other: Rows) -> Rows:
        first = min(self.file, other.file, key=lambda file: file.index)
        return Rows(first, self.indices | other.indices, self.spans | other.spans)


def files_of(sizes: Sequence[int], step: int = 1) -> list[ExamplesFile]:
    """So many files of each span, in an order that is not theirs."""
    spans = [span for span, size in enumerate(sizes) for _ in range(size)]
    return [ExamplesFile("", step * index, span) for index, span in enumerate(spans)][::-1]


def gather(files: Sequence[ExamplesFile], folder: Path) -> list[list[list[int]]]:
    """The spans and the indices of the files of each part, in the order of the parts."""
    path = folder / "parts.json"
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        parts = pipeline | beam.Create([Rows(file, frozenset({file.index}), frozenset({file.span})) for file in files])
        _ = parts | AddNeighbours(files) | beam.Map(_save, path)
    return list(json.loads(path.read_text()))


def _save(parts: list[Rows], path: Path) -> None:
    ordered = sorted(parts, key=lambda part: part.file.index)
    path.write_text(json.dumps([[sorted(part.spans), sorted(part.indices)] for part in ordered]))


def test_up_to_a_thousand_files_each_has_a_part_of_its_own(tmp_path: Path) -> None:
    assert stretch_of(files_of([1000, 24])) == 1
    parts = gather(files_of([5, 3]), tmp_path)
    assert [indices for _, indices in parts] == [[index] for index in range(8)]


@pytest.mark.parametrize("step", [1, 2])
def test_of_thousands_of_files_one_worker_gets_a_bounded_list(step: int, tmp_path: Path) -> None:
    files = files_of([1, 1200, 7, 292], step)
    parts = gather(files, tmp_path)
    assert 512 <= len(parts) <= 1024
    assert [index for _, indices in parts for index in indices] == [file.index for file in files[::-1]]
    spans = {file.index: file.span for file in files}
    assert all({spans[index] for index in indices} == {span} for (span,), indices in parts)


def test_the_bound_does_not_depend_on_the_number_of_files() -> None:
    for size in (1025, 4000, 100_000):
        files = files_of([size // 3, size - size // 3])
        stretch = stretch_of(files)
        assert 512 <= len({(file.span, file.index // stretch) for file in files}) <= 1024


def test_of_more_spans_than_that_each_has_one_part() -> None:
    files = files_of([3] * 1500)
    stretch = stretch_of(files)
    assert len({(file.span, file.index // stretch) for file in files}) == 1500


def test_of_no_file_there_is_no_part(tmp_path: Path) -> None:
    assert gather([], tmp_path) == []
