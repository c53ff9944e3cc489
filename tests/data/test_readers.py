"""Files become record batches, or an error that names the file."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from data.readers import Block, inspect, inspect_all, read, read_rows
from schema.errors import DataError

INT, FLOAT, BYTES = pa.int64(), pa.float32(), pa.binary()


def rows_of(block, columns, types=None):
    batches = list(read(block, columns, types or {}))
    return {name: [value for batch in batches for value in batch.to_pydict()[name]] for name in columns}


def read_all(*arguments):
    return list(read(*arguments))


def refused(function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


class TestParquet:
    @pytest.fixture
    def path(self, write_parquet):
        return write_parquet("part.parquet", {"n": list(range(10)), "s": [f"row {i}" for i in range(10)]})

    def test_it_tells_its_columns_and_one_block_for_each_row_group(self, path):
        info = inspect(path, "parquet")
        assert info.path == path
        assert info.columns == {"n": pa.int64(), "s": pa.string()}
        assert not info.is_empty
        assert info.blocks == tuple(Block(path, "parquet", group) for group in range(3))

    def test_each_block_holds_its_own_rows(self, path):
        read_rows = [rows_of(block, ["n", "s"]) for block in inspect(path, "parquet").blocks]
        assert [rows["n"] for rows in read_rows] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert read_rows[2]["s"] == ["row 8", "row 9"]

    def test_only_the_asked_columns_are_read(self, path):
        (batch,) = read(Block(path, "parquet", 1), ["s"], {})
        assert batch.schema.names == ["s"]

    def test_a_file_without_rows_is_empty(self, write_parquet):
        info = inspect(write_parquet("empty.parquet", {"n": pa.array([], INT)}), "parquet")
        assert info.is_empty
        assert info.columns == {"n": INT}

    def test_batches_are_of_bounded_size(self, write_parquet):
        path = write_parquet("large.parquet", {"n": list(range(100_000))}, row_group_size=100_000)
        sizes = [len(batch) for batch in read(Block(path, "parquet"), ["n"], {})]
        assert sum(sizes) == 100_000
        assert max(sizes) < 50_000

    @pytest.mark.parametrize("kept", [0, 2, 0.5, 0.99])
    def test_a_truncated_file_cannot_be_inspected(self, path, kept):
        whole = Path(path).read_bytes()
        Path(path).write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
        error = refused(inspect, path, "parquet")
        assert error.what == "A source file cannot be read as parquet"
        assert error.where == path

    def test_a_damaged_row_group_cannot_be_read_but_the_others_can(self, write_parquet):
        path = write_parquet("part.parquet", {"s": [f"{i}" * 99 for i in range(8)]}, compression="gzip")
        content = bytearray(Path(path).read_bytes())
        content[10:80] = b"\xff" * 70
        Path(path).write_bytes(content)
        blocks = inspect(path, "parquet").blocks
        error = refused(read_all, blocks[0], ["s"], {})
        assert error.what == "A source file cannot be read as parquet"
        assert error.where == path
        assert rows_of(blocks[1], ["s"])["s"][3] == "7" * 99

    def test_text_is_not_parquet(self, write_text):
        error = refused(inspect, write_text("part.parquet", "n,s\n" + "1,a\n" * 99), "parquet")
        assert "cannot be read as parquet" in error.what


class TestCsv:
    def test_it_is_one_block_with_the_types_that_arrow_infers(self, write_text):
        path = write_text("part.csv", "n,f,s,gap\n1,1.5,a,\n2,2,b,\n")
        info = inspect(path, "csv")
        assert info.columns == {"n": pa.int64(), "f": pa.float64(), "s": pa.string(), "gap": pa.string()}
        assert info.blocks == (Block(path, "csv"),)
        assert not info.is_empty

    def test_it_tells_the_types_that_it_will_be_read_with(self, write_text):
        path = write_text("part.csv", "zip,n,f\n01234,1,2\n")
        info = inspect(path, "csv", {"zip": BYTES, "n": INT, "f": FLOAT, "absent": BYTES})
        assert info.columns == {"zip": pa.string(), "n": INT, "f": pa.float64()}

    def test_a_value_that_does_not_fit_does_not_decide_on_the_type(self, write_text):
        path = write_text("part.csv", "f,n,when\n1.5,1,2013-01-01\nfast,2,then\n2,?,2013-01-02\n,3,2013-01-03\n")
        info = inspect(path, "csv", {"f": FLOAT, "n": INT, "when": INT})
        assert info.columns == {"f": pa.float64(), "n": INT, "when": pa.date32()}

    def test_a_column_of_text_alone_is_text_whatever_is_wanted(self, write_text):
        """So that it is told once, as a column of the wrong type, and not row by row."""
        path = write_text("part.csv", "f,n\nfast,many\nslow,\n")
        assert inspect(path, "csv", {"f": FLOAT, "n": INT}).columns == {"f": pa.string(), "n": pa.string()}

    def test_whole_numbers_among_a_fraction_or_one_too_large_stay_exact(self, write_text):
        path = write_text("part.csv", f"id,n\n{2**53 + 1},1\n2.5,{2**63}\n{2**53 + 3},3\n")
        refused = []
        (rows,) = read_rows(Block(path, "csv"), ["id", "n"], {"id": INT, "n": INT}, refused.append)
        assert rows.batch.to_pydict() == {"id": [2**53 + 1, 2**53 + 3], "n": [1, 3]}
        assert [bad.number for bad in refused] == [3]

    def test_whole_numbers_may_be_written_as_pandas_writes_a_column_with_gaps(self, write_text):
        path = write_text("part.csv", "n,m\n1.0,1\n,2.0\n3.0,3\n")
        assert rows_of(Block(path, "csv"), ["n", "m"], {"n": INT, "m": INT}) == {"n": [1.0, None, 3.0], "m": [1, 2, 3]}

    def test_a_header_alone_is_empty(self, write_text):
        info = inspect(write_text("part.csv", "n,s\n"), "csv")
        assert info.is_empty
        assert list(info.columns) == ["n", "s"]

    def test_text_and_floats_are_parsed_as_the_schema_says(self, write_text):
        path = write_text("part.csv", "zip,f,n\n01234,1,1\n00007,2.5,\n")
        (batch,) = read(Block(path, "csv"), ["zip", "f", "n"], {"zip": BYTES, "f": FLOAT, "n": INT})
        assert batch.schema.types == [pa.string(), pa.float64(), INT]
        assert batch.to_pydict() == {"zip": ["01234", "00007"], "f": [1.0, 2.5], "n": [1, None]}

    def test_times_are_what_arrow_infers(self, write_text):
        path = write_text("part.csv", "when\n2013-01-01 05:00:00\n")
        (batch,) = read(Block(path, "csv"), ["when"], {"when": INT})
        assert pa.types.is_timestamp(batch.schema.types[0])

    def test_only_the_asked_columns_are_read_in_the_asked_order(self, write_text):
        path = write_text("part.csv", "a,b,c\n1,not a number,3\n")
        (batch,) = read(Block(path, "csv"), ["c", "a"], {"b": FLOAT})
        assert batch.to_pydict() == {"c": [3], "a": [1]}

    def test_a_large_file_comes_in_several_batches(self, write_text):
        lines = (f"{number},{'x' * 90}\n" for number in range(30_000))
        path = write_text("part.csv", "n,s\n" + "".join(lines))
        batches = list(read(Block(path, "csv"), ["n", "s"], {"s": BYTES}))
        assert len(batches) > 1
        assert [value for batch in batches for value in batch.column(0).to_pylist()] == list(range(30_000))

    def test_a_whole_number_that_is_missing_for_long_is_still_read(self, write_text):
        # Arrow infers types from the first megabyte; a column without a value there is not a column of nulls.
        lines = (f"{'x' * 99},\n" for _ in range(20_000))
        path = write_text("part.csv", "s,n\n" + "".join(lines) + "last,7\n")
        assert rows_of(Block(path, "csv"), ["n"], {"s": BYTES, "n": INT})["n"][-1] == 7

    def test_a_value_of_the_wrong_type_is_an_error_that_shows_it(self, write_text):
        path = write_text("part.csv", "n,f\n1,1.5\n2,fast\n")
        error = refused(read_all, Block(path, "csv"), ["n", "f"], {"f": FLOAT})
        assert error.what == "A source file cannot be read as csv"
        assert error.where == path
        assert error.received == "line 3, column 'f': not a number: 'fast'"

    @pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,b\n1,2,3\n"], ids=["no header", "a short line", "a long line"])
    def test_what_is_not_csv_cannot_be_inspected(self, write_text, text):
        path = write_text("part.csv", text)
        assert refused(inspect, path, "csv").where == path


class TestRowsThatDoNotFit:
    """Each is refused with its line and its reason; those around it are read."""

    TYPES = {"n": INT, "f": FLOAT, "s": BYTES}

    def read(self, path, columns=("n", "f", "s")):
        refused, rows = [], []
        for each in read_rows(Block(path, "csv"), list(columns), self.TYPES, refused.append):
            rows += zip(each.numbers, each.batch.to_pylist(), strict=True)
        return rows, [(bad.number, bad.column, bad.reason, bad.value) for bad in refused], refused

    @pytest.fixture
    def among_good_ones(self, tmp_path):
        """A file with one line that is given among others: what is refused of it."""

        def among(line, eol=b"\n"):
            path = tmp_path / "part.csv"
            path.write_bytes(eol.join([b"n,f,s", b"1,1.5,a", line, b"3,3.5,c", b"4,,", b""]))
            rows, told, refused = self.read(str(path))
            assert [number for number, _ in rows] == [2, 4, 5]
            assert [row["n"] for _, row in rows] == [1, 3, 4]
            assert [bad.received for bad in refused] == [line.decode("utf-8", "backslashreplace")]
            return told[0]

        return among

    @pytest.mark.parametrize("eol", [b"\n", b"\r\n"], ids=["unix", "windows"])
    @pytest.mark.parametrize(
        ("line", "column", "reason", "value"),
        [
            (b"2,fast,b", "f", "not a number", "fast"),
            (b"two,2.5,b", "n", "not a whole number", "two"),
            (b"2.25,2.5,b", "n", "not a whole number", "2.25"),
            (b"9223372036854775808,2.5,b", "n", "not a whole number", "9223372036854775808"),
            (b'"2,5",2.5,b', "n", "not a whole number", "2,5"),
            (b"2,2.5", None, "2 fields, not 3 as in the header", None),
            (b"2,2.5,b,", None, "4 fields, not 3 as in the header", None),
            (b"2,2.5,\xff", "s", "not text in UTF-8", None),
            (b'2,2.5,"b', None, "a quote that is opened in this line is not closed", None),
            (b'2,"2.5,b', None, "a quote that is opened in this line is not closed", None),
        ],
    )
    def test_a_line(self, among_good_ones, line, column, reason, value, eol):
        assert among_good_ones(line, eol) == (3, column, reason, value)

    def test_a_fraction_comes_after_the_first_megabyte(self, write_text):
        lines = [f"{number},1,{'x' * 90}\n" for number in range(20_000)]
        lines[15_000] = "2.5,1,x\n"
        rows, told, _ = self.read(write_text("part.csv", "n,f,s\n" + "".join(lines)))
        assert told == [(15_002, "n", "not a whole number", "2.5")]
        assert [number for number, _ in rows] == [*range(2, 15_002), *range(15_003, 20_002)]
        assert [row["n"] for _, row in rows] == [*range(15_000), *range(15_001, 20_000)]

    def test_each_of_many_is_told_once_and_no_other_row_is_lost(self, write_text):
        lines = [f"{number},0.5,{'x' * 90}" for number in range(30_000)]
        bad = {0, 1, 2, 777, 11_000, 11_001, 29_999, *range(20_000, 20_050)}
        for number in bad:
            lines[number] = f"{number},fast,x" if number % 2 else f"{number}"
        rows, told, _ = self.read(write_text("part.csv", "n,f,s\n" + "\n".join(lines)))
        assert sorted(number - 2 for number, *_ in told) == sorted(bad)
        assert [row["n"] for _, row in rows] == [number for number in range(30_000) if number not in bad]
        assert all(number == row["n"] + 2 for number, row in rows)

    def test_lines_are_counted_as_an_editor_does(self, write_text):
        path = write_text("part.csv", '\n"n",f,s\n\n1,1,"two\nlines"\n\n2,fast,b\n3,3,c\n')
        rows, told, _ = self.read(path)
        assert [(number, row["s"]) for number, row in rows] == [(4, "two\nlines"), (8, "c")]
        assert told == [(7, "f", "not a number", "fast")]

    def test_values_with_line_breaks_are_whole_across_the_blocks_of_a_file(self, write_text):
        text = "".join(f'{number},0.5,"{"x" * 50}\n{"y" * 50}, ""{number}"""\n' for number in range(20_000))
        rows, told, _ = self.read(write_text("part.csv", "n,f,s\n" + text))
        assert told == []
        assert [number for number, _ in rows] == list(range(2, 40_002, 2))
        assert rows[-1][1]["s"] == f'{"x" * 50}\n{"y" * 50}, "19999"'

    def test_a_quote_within_a_value_is_an_inch(self, write_text):
        rows, told, _ = self.read(write_text("part.csv", 'n,f,s\n1,1,5" pipe\n2,2,b\n'))
        assert told == []
        assert [row["s"] for _, row in rows] == ['5" pipe', "b"]

    def test_an_open_quote_takes_no_other_line_with_it(self, write_text):
        lines = [f"{number},1,{'x' * 90}" for number in range(30_000)]
        lines[5] = '5,1,"x'
        lines[25_000] = '25000,"1,x'
        rows, told, _ = self.read(write_text("part.csv", "n,f,s\n" + "\n".join(lines)))
        assert [number for number, *_ in told] == [7, 25_002]
        assert len(rows) == 29_998

    def test_a_column_that_is_not_read_refuses_nothing(self, write_text):
        rows, told, _ = self.read(write_text("part.csv", "n,f,s\n1,1,a\n2,fast,b\n"), ["n", "s"])
        assert told == []
        assert len(rows) == 2

    def test_a_file_of_another_delimiter_is_no_file_of_bad_rows(self, write_text):
        path = write_text("part.csv", "n,f,s\n" + "1;1;a\n" * 9)
        for error in (refused(inspect, path, "csv"), refused(read_all, Block(path, "csv"), ["n"], {})):
            assert "9 of the first 9 rows" in error.received

    def test_a_header_that_is_not_utf_8_is_told(self, tmp_path):
        path = tmp_path / "part.csv"
        path.write_text("n,café\n1,2\n", encoding="latin-1")
        assert refused(inspect, str(path), "csv").what == "A source file cannot be read as csv"

    def test_a_byte_order_mark_is_no_part_of_the_first_name(self, tmp_path):
        path = tmp_path / "part.csv"
        path.write_text("n,f,s\n1,1,a\n", encoding="utf-8-sig")
        assert self.read(str(path))[0] == [(2, {"n": 1, "f": 1.0, "s": "a"})]


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_a_file_that_vanished_is_told_so(tmp_path, format_):
    path = str(tmp_path / "gone")
    for error in (refused(inspect, path, format_), refused(read_all, Block(path, format_), ["a"], {})):
        assert error.what == "A source file has vanished"
        assert error.where == path


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_a_folder_is_not_a_file(tmp_path, format_):
    assert refused(inspect, str(tmp_path), format_).where == str(tmp_path)


def test_a_large_csv_file_is_inspected_and_may_be_left_half_read(tmp_path):
    """Arrow's threads read ahead in a Python file: whoever drops such a reader may wait for them for ever."""
    path = tmp_path / "large.csv"
    line = ",".join(str(number / 7) for number in range(12)) + "\n"
    path.write_text(",".join(f"c{number}" for number in range(12)) + "\n" + line * 120_000)
    assert path.stat().st_size > 20_000_000
    info = inspect(str(path), "csv")
    assert not info.is_empty
    batches = read(info.blocks[0], ["c0"], {"c0": pa.float32()})
    assert len(next(batches)) > 0
    batches.close()
    assert sum(len(batch) for batch in read(info.blocks[0], ["c0"], {"c0": pa.float32()})) == 120_000


class TestManyFiles:
    @pytest.fixture
    def paths(self, write_parquet):
        return [write_parquet(f"{number}.parquet", {f"column {number}": [number]}) for number in range(40)]

    def test_they_tell_what_each_tells_and_in_their_order(self, paths):
        assert inspect_all(paths[::-1], "parquet") == [inspect(path, "parquet") for path in paths[::-1]]

    def test_the_types_are_those_of_read(self, write_text):
        path = write_text("part.csv", "n,s\n1,2\n")
        assert inspect_all([path], "csv", {"s": BYTES}) == [inspect(path, "csv", {"s": BYTES})]

    def test_the_first_that_is_damaged_is_told(self, paths):
        for number in (38, 7, 21):
            Path(paths[number]).write_bytes(b"no parquet")
        assert refused(inspect_all, paths, "parquet").where == paths[7]

    def test_none_is_none(self):
        assert inspect_all([], "parquet") == []

    def test_several_are_opened_at_once(self, paths, monkeypatch):
        both = threading.Barrier(2)

        def wait_for_another(path, format, types):
            both.wait(60)
            return path

        monkeypatch.setattr("data.readers.inspect", wait_for_another)
        assert inspect_all(paths[:2], "parquet") == paths[:2]
