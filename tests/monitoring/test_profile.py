from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from watched import FLIGHTS, category, counts_of, flights, number, profile_of, time, watched_rows

from monitoring.bins import Kind
from monitoring.diagnosis import CategoricalSummary, NumericSummary
from monitoring.profile import Profile, Survey, block_rows, choose_bins, count

steady = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def profile() -> Profile:
    random = np.random.default_rng(0)
    return profile_of(FLIGHTS, {span: flights(random, 700) for span in (3, 4, 6)})


def assert_same(one: Profile, other: Profile) -> None:
    assert one.features == other.features
    assert one.bins == other.bins
    assert one.spans.tolist() == other.spans.tolist()
    for mine, others in ((one.counts, other.counts), (one.new_rows, other.new_rows)):
        assert list(mine) == list(others)
        for key, counts in mine.items():
            assert counts.dtype == others[key].dtype == np.int64
            np.testing.assert_array_equal(counts, others[key])
    for mine, others in ((one.earlier, other.earlier), (one.newest, other.newest)):
        assert list(mine) == list(others)
        for name, summary in mine.items():
            assert vars(summary).keys() == vars(others[name]).keys()
            for key, value in vars(summary).items():
                np.testing.assert_equal(vars(others[name])[key], value)


def test_counts_always_sum_to_the_rows(profile: Profile) -> None:
    assert profile.rows == 2100
    assert profile.newest_span == 6
    assert profile.spans.tolist() == [3, 3, 3, 4, 4, 4, 6, 6, 6]
    for key, counts in profile.counts.items():
        assert counts.shape == (9, len(profile.bins[key].labels))
        assert counts.sum(axis=1).tolist() == [256, 256, 188] * 3


def test_it_travels_as_files(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "new" / "folder")
    assert_same(Profile.load(tmp_path / "new" / "folder"), profile)


def test_blocks_of_more_rows_than_32_bits_count_travel_too(profile: Profile, tmp_path: Path) -> None:
    large = replace(profile, counts={key: counts * 2**30 for key, counts in profile.counts.items()})
    large.save(tmp_path)
    assert Profile.load(tmp_path).rows == profile.rows * 2**30


def test_odd_values_travel_too(tmp_path: Path) -> None:
    features = (number("n"), number("hollow"), category("c"), category("none"), time("t"))
    rows = watched_rows(
        {
            "n": [np.inf, -np.inf, 1e300, -0.0, None] * 10,
            "c": [b"\xff\xfe", b"\x00", "ü".encode(), b"(missing)", None] * 10,
            "t": [-1.0, 0.0, 1e12, np.inf, None] * 10,
        },
        features,
    )
    profile = profile_of(features, {0: rows}, block_rows=7)
    assert ("hollow", Kind.NUMBERS) not in profile.bins
    profile.save(tmp_path)
    copy = Profile.load(tmp_path)
    assert_same(copy, profile)
    for key, counts in counts_of(copy, rows).items():
        np.testing.assert_array_equal(counts, profile.counts[key].sum(axis=0))


@steady
@given(
    st.lists(st.none() | st.floats(), min_size=1, max_size=60),
    st.lists(st.none() | st.binary(max_size=2), min_size=1, max_size=60),
)
def test_whatever_the_values_counts_sum_to_the_rows(numbers: list[float | None], texts: list[bytes | None]) -> None:
    features = (number("n", is_whole=True), category("c"), time("t"))
    size = min(len(numbers), len(texts))
    rows = watched_rows({"n": numbers[:size], "c": texts[:size], "t": numbers[:size]}, features)
    profile = profile_of(features, {1: rows}, block_rows=5)
    for key, counts in profile.counts.items():
        assert counts.sum() == size
        assert counts[:, -1].sum() == rows.column(key[0]).null_count
        if key[1] not in (Kind.HOURS, Kind.WEEKDAYS):
            assert counts[:, -2].sum() == 0  # of its own rows, all are known


@pytest.mark.parametrize("name", ["profile.json", "counts.npz"])
def test_one_that_is_not_there(profile: Profile, tmp_path: Path, name: str) -> None:
    profile.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=name):
        Profile.load(tmp_path)


@pytest.mark.parametrize("name", ["profile.json", "counts.npz"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_one_is_told(profile: Profile, tmp_path: Path, name: str, kept: float) -> None:
    profile.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ValueError, match=r"."):
        Profile.load(tmp_path)


@pytest.mark.parametrize("described", ["{}", "[]", '{"bins": 3}', "null"])
def test_one_that_describes_something_else_is_told(profile: Profile, tmp_path: Path, described: str) -> None:
    profile.save(tmp_path)
    (tmp_path / "profile.json").write_text(described)
    with pytest.raises(ValueError, match="no whole profile"):
        Profile.load(tmp_path)


def test_a_flipped_byte_in_the_counts_is_told(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path)
    damaged = bytearray((tmp_path / "counts.npz").read_bytes())
    middle = len(damaged) // 3
    damaged[middle : middle + 40] = bytes(40)
    (tmp_path / "counts.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match="no whole profile"):
        Profile.load(tmp_path)


def test_only_some_blocks(profile: Profile) -> None:
    part = profile.only(profile.spans < 6)
    assert part.rows == 1400
    assert part.newest_span == 4
    assert part.newest is profile.newest
    rest = profile.only(profile.spans == 6)
    for key, counts in profile.counts.items():
        np.testing.assert_array_equal(part.counts[key].sum(axis=0) + rest.counts[key].sum(axis=0), counts.sum(axis=0))


@pytest.mark.parametrize("rows", [0, 1, 10_000, 262_144, 262_145, 10**6, 10**9])
def test_the_number_of_blocks_is_bounded(rows: int) -> None:
    size = block_rows(rows)
    assert size >= 256
    assert -(-rows // size) <= 1024


def test_rows_with_a_value_that_no_earlier_span_has() -> None:
    carrier = category("carrier")
    spans = {
        1: watched_rows({"carrier": ["AA", "AA", "UA", None]}, [carrier]),
        2: watched_rows({"carrier": ["AA", "B6", "B6", ""]}, [carrier]),
        3: watched_rows({"carrier": ["B6", "UA", "DL", "DL"]}, [carrier]),
    }
    profile = profile_of([carrier], spans, block_rows=2)
    assert profile.new_rows["carrier"].tolist() == [2, 1, 1, 1, 0, 2]


def test_rows_that_lack_a_feature_are_not_counted_for_it(profile: Profile) -> None:
    rows = pa.RecordBatch.from_arrays([pa.array([b"AA"] * 10)], ["carrier"])
    assert list(count(rows, profile.bins)) == [("carrier", Kind.CATEGORIES)]


def survey_of(rows: pa.RecordBatch, span: int, share: float = 1.0) -> Survey:
    return Survey.of(rows, FLIGHTS, span, share, np.random.default_rng(span))


def test_surveys_of_parts_add_up() -> None:
    random = np.random.default_rng(2)
    parts = [flights(random, 50 * (span + 1)) for span in range(4)]
    surveys = [survey_of(part, span) for span, part in enumerate(parts)]
    left = ((surveys[0] + surveys[1]) + surveys[2]) + surveys[3]
    right = (surveys[0] + Survey.empty(FLIGHTS)) + (surveys[1] + (surveys[2] + surveys[3]))
    assert choose_bins(FLIGHTS, left) == choose_bins(FLIGHTS, right)
    assert left.categories == right.categories
    assert left.rows == right.rows == 500
    table = pa.Table.from_batches(parts)
    summaries = left.summaries()
    carrier = CategoricalSummary.of(table.column("carrier").to_pylist())
    assert summaries["carrier"] == carrier
    assert list(summaries["carrier"].shares) == list(carrier.shares)
    temp = NumericSummary.of(np.array([np.nan if v is None else v for v in table.column("temp").to_pylist()]))
    for key, value in vars(temp).items():
        np.testing.assert_equal(vars(summaries["temp"])[key], value)


def test_the_first_span_of_a_value_is_known_whatever_the_order() -> None:
    carrier = category("carrier")
    surveys = [
        Survey.of(watched_rows({"carrier": ["AA"]}, [carrier]), [carrier], span, 1.0, np.random.default_rng(0))
        for span in (7, 4, 5)
    ]
    assert sum(surveys, Survey.empty([carrier])).categories["carrier"] == {b"AA": (3, 4)}


def test_a_survey_keeps_a_part_of_the_numbers_and_all_categories() -> None:
    rows = flights(np.random.default_rng(3), 4000)
    survey = survey_of(rows, 1, share=0.25)
    assert 850 < len(survey.numbers["temp"]) < 1150
    assert len(survey.numbers["temp"]) == len(survey.numbers["departure"])
    assert sum(count for count, _ in survey.categories["carrier"].values()) == 4000


def test_of_a_category_that_never_repeats_only_the_most_frequent_values_are_known() -> None:
    tail = category("tail")
    survey = Survey.empty([tail])
    for span in range(4):
        values = [f"{span}-{place}" for place in range(20_000)] + ["often"] * 50 + ["twice"] * (span < 2)
        survey += Survey.of(watched_rows({"tail": values}, [tail]), [tail], span, 0.0, np.random.default_rng(0))
    assert len(survey.categories["tail"]) == 50_000
    assert survey.categories["tail"][b"often"] == (200, 0)
    assert survey.categories["tail"][b"twice"] == (2, 0)
    shares = survey.summaries()["tail"].shares
    assert next(iter(shares)) == b"often"
    bins = choose_bins([tail], survey)[("tail", Kind.CATEGORIES)]
    assert bins.values[:2] == ("often", "twice")
    assert len(bins.values) + len(bins.others) == 50_000


def test_a_feature_without_a_value_has_no_bins_unless_it_is_a_category() -> None:
    features = (number("n"), category("c"), time("t"))
    rows = watched_rows({"n": [None, np.nan], "c": [None, ""], "t": [None, None]}, features)
    profile = profile_of(features, {1: rows})
    assert {key[1] for key in profile.bins} == {Kind.CATEGORIES, Kind.HOURS, Kind.WEEKDAYS}
    assert profile.earlier["c"] == CategoricalSummary(2, 1.0, {})
