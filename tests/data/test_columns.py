"""The columns of a shard tell what its examples tell."""

from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from data import columns
from data.columns import as_lists, columns_path, read_columns
from data.decoding import ExamplesDecoder
from data.encoding import encode
from data.records import ExamplesParser
from data.shards import ShardWriter

ROWS = pa.RecordBatch.from_arrays(
    [
        pa.array([1, None, 3, 4]),
        pa.array([None, 0.5, None, 2.5], pa.float32()),
        pa.array([b"a", None, b"\xff", b"ccc"]),
        pa.array([None] * 4, pa.int64()),
    ],
    ["count", "share", "word", "never"],
)
TYPES = {"word": schema_pb2.BYTES, "count": schema_pb2.INT, "never": schema_pb2.INT, "nowhere": schema_pb2.FLOAT}


def write(folder: Path, *batches: pa.RecordBatch) -> str:
    with ShardWriter(str(folder), str(folder / "Split-train" / "data")) as writer:
        for rows in batches:
            writer.write(encode(rows), rows)
    [shard] = writer.publish()
    return shard


def spoil(shard: str) -> None:
    Path(shard).write_bytes(b"nobody reads this")


def rows_of(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def test_they_lie_outside_the_folders_of_the_splits(tmp_path):
    shard = write(tmp_path, ROWS)
    assert columns_path(shard) == str(tmp_path / "columns" / "Split-train" / "data.arrow")
    assert [path.name for path in (tmp_path / "Split-train").iterdir()] == ["data.gz"]


def test_rows_are_what_was_written(tmp_path):
    shard = write(tmp_path, ROWS, ROWS.slice(2))
    assert rows_of(read_columns(shard)) == [*ROWS.to_pylist(), *ROWS.slice(2).to_pylist()]
    assert rows_of(read_columns(shard, ["word", "no such"])) == [
        {"word": word} for word in (b"a", None, b"\xff", b"ccc", b"\xff", b"ccc")
    ]


def test_batches_are_bounded_by_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_BATCH_BYTES", ROWS.nbytes // 2 + 1)
    shard = write(tmp_path, ROWS)
    batches = list(read_columns(shard))
    assert [len(batch) for batch in batches] == [2, 2]
    assert rows_of(batches) == ROWS.to_pylist()


def test_no_row_is_no_batch(tmp_path):
    shard = write(tmp_path)
    assert list(read_columns(shard)) == []
    assert list(ExamplesDecoder().read(shard)) == []


def test_a_shard_may_have_none(tmp_path):
    assert read_columns(str(tmp_path / "Split-train" / "data.gz")) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_wherever_a_file_is_cut_off_it_is_an_error(tmp_path, share):
    shard = write(tmp_path, *[ROWS] * 5)
    whole = Path(columns_path(shard)).read_bytes()
    Path(columns_path(shard)).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises((pa.ArrowInvalid, OSError)):
        list(read_columns(shard))


def test_other_columns_than_those_of_the_first_rows_are_an_error(tmp_path):
    with pytest.raises(pa.ArrowInvalid):
        write(tmp_path, ROWS, ROWS.from_arrays(ROWS.columns[::-1], ROWS.schema.names[::-1]))


@pytest.mark.parametrize("rows", [ROWS, ROWS.slice(1, 2), ROWS.slice(2)])
def test_a_column_as_lists_is_what_the_decoder_gives(rows):
    decoded = ExamplesToRecordBatchDecoder().DecodeBatch(encode(rows))
    for name in ("count", "share", "word"):
        ours = as_lists(rows.column(rows.schema.get_field_index(name)))
        assert ours.equals(decoded.column(decoded.schema.get_field_index(name)))


def test_parsed_and_read_from_columns_examples_are_the_same(tmp_path):
    shard = write(tmp_path, ROWS)
    examples = list(tf.data.TFRecordDataset(shard, "GZIP").as_numpy_iterator())
    spoil(shard)
    [read] = ExamplesParser(TYPES).read(shard)
    parsed = ExamplesParser(TYPES).parse(examples)
    assert read.schema.equals(parsed.schema)
    assert read.to_pylist() == parsed.to_pylist()


def test_decoded_and_read_from_columns_examples_are_the_same(tmp_path):
    shard = write(tmp_path, ROWS, ROWS.slice(0, 1))
    examples = list(tf.data.TFRecordDataset(shard, "GZIP").as_numpy_iterator())
    spoil(shard)
    first, second = ExamplesDecoder().read(shard)
    assert first.equals(ExamplesToRecordBatchDecoder().DecodeBatch(examples[:4]))
    assert second.equals(ExamplesToRecordBatchDecoder().DecodeBatch(examples[4:]))
