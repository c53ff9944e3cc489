"""Files become record batches, or an error that names the file."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from data.readers import Block, inspect, inspect_all, read
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
        assert info.columns == {"n": pa.int64(), "f": pa.float64(), "s": pa.string(), "gap": pa.null()}
        assert info.blocks == (Block(path, "csv"),)
        assert not info.is_empty

    def test_it_tells_the_types_that_it_will_be_read_with(self, write_text):
        path = write_text("part.csv", "zip,n,f\n01234,1,2\n")
        info = inspect(path, "csv", {"zip": BYTES, "n": INT, "f": FLOAT, "absent": BYTES})
        assert info.columns == {"zip": BYTES, "n": INT, "f": FLOAT}

    def test_a_value_of_the_wrong_type_is_already_seen_when_it_is_inspected(self, write_text):
        path = write_text("part.csv", "f\n1.5\nfast\n")
        assert "'fast'" in refused(inspect, path, "csv", {"f": FLOAT}).received

    def test_a_header_alone_is_empty(self, write_text):
        info = inspect(write_text("part.csv", "n,s\n"), "csv")
        assert info.is_empty
        assert list(info.columns) == ["n", "s"]

    def test_text_and_floats_are_parsed_as_the_schema_says(self, write_text):
        path = write_text("part.csv", "zip,f,n\n01234,1,1\n00007,2.5,\n")
        (batch,) = read(Block(path, "csv"), ["zip", "f", "n"], {"zip": BYTES, "f": FLOAT, "n": INT})
        assert batch.schema.types == [BYTES, FLOAT, INT]
        assert batch.to_pydict() == {"zip": [b"01234", b"00007"], "f": [1.0, 2.5], "n": [1, None]}

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
        assert "'fast'" in error.received

    @pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,b\n1,2,3\n"], ids=["no header", "a short line", "a long line"])
    def test_what_is_not_csv_cannot_be_inspected(self, write_text, text):
        path = write_text("part.csv", text)
        assert refused(inspect, path, "csv").where == path


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
