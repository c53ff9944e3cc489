"""The window: which spans train, which one evaluates, and what makes a source unusable."""

import os
import shutil
from pathlib import Path

import pytest

from data.config import DataConfig, SourceConfig
from data.spans import Span, find_spans, find_window, fingerprint
from schema.errors import DataError, ExitCode


@pytest.fixture
def source(tmp_path, write_text):
    """Makes a source of spans; each file's content is its own name unless told."""

    def make(*numbers):
        for number in numbers:
            write_text(f"span-{number}/part.csv", f"x\n{number}\n")
        return str(tmp_path / "span-{SPAN}" / "*.csv")

    return make


def window_of(path, **window):
    return find_window(DataConfig.model_validate({"source": {"format": "csv", "path": path}, "window": window}))


def refused(path, **window):
    with pytest.raises(DataError) as caught:
        window_of(path, **window)
    assert caught.value.exit_code is ExitCode.DATA
    assert "\n" not in str(caught.value)
    return caught.value


def numbers_of(window):
    return [span.number for span in window.train_spans], window.eval_span.number


class TestWindow:
    def test_the_newest_span_evaluates_and_the_ones_just_before_it_train(self, source):
        window = window_of(source("01", "02", "03", "04", "05"), train=2)
        assert numbers_of(window) == ([3, 4], 5)
        assert window.number == 5
        assert [span.number for span in window.spans] == [3, 4, 5]

    def test_spans_are_in_the_order_of_their_numbers_not_of_their_names(self, source):
        assert numbers_of(window_of(source("9", "10", "11"), train=2)) == ([9, 10], 11)

    def test_a_window_wider_than_the_source_takes_what_there_is(self, source):
        assert numbers_of(window_of(source("1", "2", "3"), train=10)) == ([1, 2], 3)

    def test_a_gap_in_the_numbers_does_not_shrink_the_window(self, source):
        assert numbers_of(window_of(source("1", "3", "7", "20"), train=2)) == ([3, 7], 20)

    def test_a_numbered_newest_span_repeats_history(self, source):
        window = window_of(source("1", "2", "3", "4"), train=2, newest=3)
        assert numbers_of(window) == ([1, 2], 3)
        assert window.number == 3

    def test_a_newest_span_that_is_not_there_is_an_error_with_the_choice(self, source):
        error = refused(source("1", "2", "4"), newest=3)
        assert "Span 3" in error.what
        assert error.expected == "one of 1, 2, 4"

    @pytest.mark.parametrize(
        ("numbers", "window"), [(["1"], {}), (["1", "2"], {"newest": 1})], ids=["one span", "newest is the first"]
    )
    def test_too_few_spans_is_an_error(self, source, numbers, window):
        error = refused(source(*numbers), **window)
        assert "no span before span 1" in error.what

    def test_it_is_described_in_words(self, source):
        assert window_of(source("1", "2", "3")).describe() == "spans 1, 2 train, span 3 evaluates"

    def test_a_split_takes_every_span_and_none_evaluates(self, source):
        config = DataConfig.model_validate({"source": {"format": "csv", "path": source("1", "2", "3")}, "split": {}})
        window = find_window(config)
        assert [span.number for span in window.train_spans] == [1, 2, 3]
        assert window.eval_span is None
        assert window.number == 3
        assert window.describe() == "3 file(s), split by hash"


class TestCopies:
    def test_a_copied_span_is_an_error_that_names_both(self, source, tmp_path):
        path = source("1", "2", "3")
        shutil.copytree(tmp_path / "span-2", tmp_path / "span-4")
        error = refused(path, train=3)
        assert error.what == "Span 4 holds the same bytes as span 2"
        assert "span-4" in error.where

    def test_a_copy_outside_the_window_is_not_this_runs_concern(self, source, tmp_path):
        path = source("1", "2", "3")
        shutil.copytree(tmp_path / "span-1", tmp_path / "span-4")
        assert numbers_of(window_of(path, train=2)) == ([2, 3], 4)


class TestFindSpans:
    def test_a_span_has_all_its_files_by_name(self, source, write_text, tmp_path):
        path = source("1")
        for name in ("b", "a", "c"):
            write_text(f"span-1/{name}.csv", name)
        write_text("span-1/_SUCCESS", "")
        (span,) = find_spans(SourceConfig(format="csv", path=path))
        names = ["a.csv", "b.csv", "c.csv", "part.csv"]
        assert span == Span(1, tuple(str(tmp_path / "span-1" / name) for name in names))

    def test_a_path_without_spans_is_one_span(self, write_text, tmp_path):
        files = (write_text("1.csv", "x"), write_text("2.csv", "y"))
        assert find_spans(SourceConfig(path=str(tmp_path / "*.csv"))) == [Span(0, files)]

    def test_span_1_and_span_01_are_not_both_there(self, source):
        with pytest.raises(DataError) as caught:
            find_spans(SourceConfig(path=source("1", "01", "2")))
        assert "Span 1 is there 2 times" in caught.value.what
        assert caught.value.received == "the spellings 01, 1"

    def test_leading_zeros_do_not_change_the_number(self, source):
        spans = find_spans(SourceConfig(path=source("007", "010")))
        assert [span.number for span in spans] == [7, 10]

    def test_only_digits_number_a_span(self, source):
        spans = find_spans(SourceConfig(path=source("1", "latest", "2b", "3")))
        assert [span.number for span in spans] == [1, 3]

    def test_a_wildcard_before_the_span_leaves_it_all_its_digits(self, write_text, tmp_path):
        for name in ("day9", "day12", "day22"):
            write_text(f"{name}.csv", name)
        spans = find_spans(SourceConfig(path=str(tmp_path / "*{SPAN}.csv")))
        assert [span.number for span in spans] == [9, 12, 22]

    def test_the_span_may_be_in_the_file_name(self, write_text, tmp_path):
        for number in (1, 2):
            write_text(f"flights.{number}.csv", str(number))
            write_text(f"flightsX{number}.csv", "a dot in the path is a dot")
        spans = find_spans(SourceConfig(path=str(tmp_path / "flights.{SPAN}.csv")))
        assert spans == [Span(number, (str(tmp_path / f"flights.{number}.csv"),)) for number in (1, 2)]

    @pytest.mark.parametrize("pattern", ["none/*.csv", "none-{SPAN}/*.csv", "span-{SPAN}/*.parquet"])
    def test_no_match_is_an_error_that_names_the_source(self, source, tmp_path, pattern):
        source("1")
        with pytest.raises(DataError) as caught:
            find_spans(SourceConfig(path=str(tmp_path / pattern)))
        assert "No file matches" in caught.value.what
        assert caught.value.where == str(tmp_path / pattern)

    def test_a_file_system_that_is_not_there_is_an_error_in_one_paragraph(self):
        with pytest.raises(DataError) as caught:
            find_spans(SourceConfig(path="nowhere://bucket/{SPAN}.csv"))
        assert "cannot be listed" in caught.value.what
        assert "\n" not in str(caught.value)


class TestFingerprint:
    @pytest.fixture
    def span(self, write_text):
        return Span(1, (write_text("here/a.csv", "x\n1\n"), write_text("here/b.csv", "x\n2\n")))

    def test_it_does_not_depend_on_the_location_or_the_time(self, span, tmp_path):
        before = fingerprint([span])
        shutil.copytree(tmp_path / "here", tmp_path / "there")
        moved = Span(7, tuple(path.replace("here", "there") for path in span.files))
        for path in moved.files:
            os.utime(path, (1, 1))
        assert fingerprint([moved]) == before

    def test_one_changed_byte_changes_it_even_if_size_and_time_stay(self, span, write_text):
        before, changed = fingerprint([span]), Path(span.files[1])
        status = changed.stat()
        write_text("here/b.csv", "x\n3\n")
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert changed.stat().st_size == status.st_size
        assert fingerprint([span]) != before

    def test_a_byte_that_moves_to_the_next_file_changes_it(self, write_text):
        one = [write_text("one/a", "12"), write_text("one/b", "3")]
        other = [write_text("other/a", "1"), write_text("other/b", "23")]
        assert fingerprint([Span(1, tuple(one))]) != fingerprint([Span(1, tuple(other))])

    def test_a_file_that_moves_to_the_next_span_changes_it(self, write_text):
        a, b, c = (write_text(name, name) for name in "abc")
        assert fingerprint([Span(1, (a,)), Span(2, (b, c))]) != fingerprint([Span(1, (a, b)), Span(2, (c,))])

    def test_a_file_larger_than_one_read_counts_whole(self, write_text):
        large = "x" * (3 << 20)
        one, other = write_text("one", large + "1"), write_text("other", large + "2")
        assert fingerprint([Span(1, (one,))]) != fingerprint([Span(1, (other,))])
        assert fingerprint([Span(1, (one,))]) == fingerprint([Span(1, (write_text("same", large + "1"),))])
