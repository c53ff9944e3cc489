from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from watched import FLIGHTS, flights, profile_of, watched_rows
from watched_examples import write_examples

from monitoring.neighbours import ExamplesFile
from monitoring.profile import Profile
from monitoring.profiling import ProfileExamples

SPANS = {2: 700, 3: 257, 5: 512}


@pytest.fixture(scope="module")
def spans() -> dict[int, pa.RecordBatch]:
    """Each span has a carrier of its own, and values that are no UTF-8 or no number at all."""
    random = np.random.default_rng(0)
    found = {}
    for span, rows in SPANS.items():
        carriers = random.choice(np.array([b"AA", b"UA", b"\xff", b"only " + str(span).encode(), None], object), rows)
        temps = random.choice(np.array([None, np.inf, 1.25, 60.5, *range(40)], object), rows)
        found[span] = flights(random, rows, carrier=carriers, temp=[None if t is None else float(t) for t in temps])
    return found


def profiled(files: Sequence[ExamplesFile], folder: Path, rows: int = sum(SPANS.values())) -> Profile:
    folder.mkdir(exist_ok=True)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | ProfileExamples(files, FLIGHTS, rows) | beam.Map(lambda profile: profile.save(folder))
    return Profile.load(folder)


def in_files(folder: Path, spans: dict[int, pa.RecordBatch], cuts: Sequence[float] = (0, 1)) -> list[ExamplesFile]:
    """Each span's rows in files of stretches of it."""
    files = []
    for span, rows in spans.items():
        places = [int(cut * len(rows)) for cut in cuts]
        for start, end in itertools.pairwise(places):
            path = write_examples(folder / f"{span}-{start}-{len(files)}.gz", rows.slice(start, end - start), FLIGHTS)
            files.append(ExamplesFile(str(path), len(files), span))
    return files


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, spans: dict[int, pa.RecordBatch]) -> Profile:
    folder = tmp_path_factory.mktemp("whole")
    return profiled(in_files(folder, spans), folder / "profile")


def assert_same_in_all(one: Profile, other: Profile) -> None:
    """But for how the rows lie in blocks."""
    assert one.bins == other.bins
    assert one.features == other.features
    for span in SPANS:
        for mine, others in ((one.counts, other.counts), (one.new_rows, other.new_rows)):
            assert list(mine) == list(others)
            for key, counts in mine.items():
                expected = counts[one.spans == span].sum(axis=0)
                np.testing.assert_array_equal(others[key][other.spans == span].sum(axis=0), expected)
    for mine, others in ((one.earlier, other.earlier), (one.newest, other.newest)):
        for name, summary in mine.items():
            for key, value in vars(summary).items():
                np.testing.assert_equal(vars(others[name])[key], value)


def test_as_counted_without_beam(whole: Profile, spans: dict[int, pa.RecordBatch]) -> None:
    expected = profile_of(FLIGHTS, spans)
    assert_same_in_all(whole, expected)
    assert whole.spans.tolist() == expected.spans.tolist() == [2, 2, 2, 3, 3, 5, 5]
    for key, counts in expected.counts.items():
        np.testing.assert_array_equal(whole.counts[key], counts)
    for name, rows in expected.new_rows.items():
        np.testing.assert_array_equal(whole.new_rows[name], rows)


def test_every_row_is_counted_once(whole: Profile) -> None:
    assert whole.rows == sum(SPANS.values())
    for counts in whole.counts.values():
        assert counts.sum(axis=1).tolist() == [256, 256, 188, 256, 1, 256, 256]


def test_batches_make_no_difference(
    whole: Profile, spans: dict[int, pa.RecordBatch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.records.BATCH_ROWS", 100)
    in_batches = profiled(in_files(tmp_path, spans), tmp_path / "profile")
    assert_same_in_all(whole, in_batches)
    for key, counts in whole.counts.items():
        np.testing.assert_array_equal(in_batches.counts[key], counts)


def test_files_make_no_difference_but_to_where_blocks_end(
    whole: Profile, spans: dict[int, pa.RecordBatch], tmp_path: Path
) -> None:
    files = in_files(tmp_path, spans, cuts=(0, 0.3, 0.3, 1))  # one of each three is empty
    other = profiled(files[::-1], tmp_path / "profile")
    assert_same_in_all(whole, other)
    assert other.spans.tolist() == sorted(other.spans.tolist())


def test_blocks_of_neighbouring_files_are_added_up(
    whole: Profile, spans: dict[int, pa.RecordBatch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have fewer blocks than its neighbours, and a span fewer files."""
    monkeypatch.setattr("monitoring.neighbours.MOST_BLOCKS", 3)
    other = profiled(in_files(tmp_path, spans, cuts=(0, 0.05, 0.1, 0.9, 1))[::-1], tmp_path / "profile")
    assert_same_in_all(whole, other)
    assert other.spans.tolist() == [2, 2, 2, 3, 5, 5]  # each span in one part, with the blocks of its largest file
    assert other.rows == sum(SPANS.values())


def test_a_window_of_one_span(spans: dict[int, pa.RecordBatch], tmp_path: Path) -> None:
    """A hash chose the evaluation rows: training and evaluation are of the same span."""
    files = in_files(tmp_path, {2: spans[2]}, cuts=(0, 0.8, 1))
    profile = profiled(files, tmp_path / "profile", SPANS[2])
    assert profile.spans.tolist() == [2] * 4
    assert profile.rows == SPANS[2]
    carrier = profile.earlier["carrier"]
    assert carrier == profile.newest["carrier"]
    assert carrier.rows == SPANS[2]
    missing = profile.counts[next(key for key in profile.bins if key[0] == "carrier")][:, -1]
    assert (profile.new_rows["carrier"] == [256, 256, 48, 140] - missing).all()


def test_of_a_large_window_the_numbers_are_sampled_and_all_rows_counted(
    spans: dict[int, pa.RecordBatch], tmp_path: Path
) -> None:
    profile = profiled(in_files(tmp_path, spans), tmp_path / "profile", rows=500_000)
    assert profile.rows == sum(SPANS.values())
    assert len(profile.spans) == 2 + 1 + 2  # blocks of 489 rows
    assert 20 < profile.earlier["departure"].rows < 200
    assert profile.earlier["carrier"].rows == SPANS[2] + SPANS[3]


def test_a_number_without_a_value_is_not_counted(tmp_path: Path) -> None:
    rows = watched_rows({"stops": [1] * 300, "carrier": [None] * 300}, FLIGHTS)
    profile = profiled(in_files(tmp_path, {1: rows}), tmp_path / "profile", 300)
    assert "temp" not in {name for name, _ in profile.bins}
    assert profile.new_rows["carrier"].sum() == 0
