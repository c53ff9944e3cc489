"""Examples as record batches: those of tfx_bsl's decoder."""

from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from data.records import BATCH_ROWS, ExamplesParser, ReadRecordBatches, read_records, types_of

SCHEMA = schema_pb2.Schema(
    feature=[
        schema_pb2.Feature(name="word", type=schema_pb2.BYTES),
        schema_pb2.Feature(name="count", type=schema_pb2.INT),
        schema_pb2.Feature(name="share", type=schema_pb2.FLOAT),
    ]
)
ROWS = BATCH_ROWS + 10


def example(number):
    """Some features are absent, some have several values; `unknown` is not in the schema."""
    found = tf.train.Example()
    feature = found.features.feature
    if number % 3:
        feature["word"].bytes_list.value.extend([f"é{number}".encode(), b"\xff"][: number % 3])
    if number % 4:
        feature["count"].int64_list.value.extend(range(number, number + number % 4))
    if number % 5:
        feature["share"].float_list.value.append(number / 7)
    feature["unknown"].int64_list.value.append(number)
    return found.SerializeToString()


@pytest.fixture(scope="module")
def examples():
    return [example(number) for number in range(ROWS)]


@pytest.fixture(scope="module")
def file(tmp_path_factory, examples):
    path = str(tmp_path_factory.mktemp("records") / "data.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for each in examples:
            writer.write(each)
    return path


def oracle(examples):
    return ExamplesToRecordBatchDecoder(SCHEMA.SerializeToString()).DecodeBatch(examples)


def test_a_file_is_read_in_batches_as_tfx_bsl_decodes_them(file, examples):
    batches = list(ExamplesParser(types_of(SCHEMA)).read(file))
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, 10]
    assert batches[0].equals(oracle(examples[:BATCH_ROWS]))
    assert batches[1].equals(oracle(examples[BATCH_ROWS:]))


def test_examples_in_memory_are_decoded_alike(examples):
    assert ExamplesParser(types_of(SCHEMA)).parse(examples[:100]).equals(oracle(examples[:100]))


def test_a_feature_that_no_example_has_is_null(examples):
    batch = ExamplesParser({"nowhere": schema_pb2.FLOAT}).parse(examples[:2])
    assert batch.column(0).to_pylist() == [None, None]


def test_records_are_what_was_written(file, examples):
    assert [record for batch in read_records(file) for record in batch] == examples


def test_a_damaged_file_is_an_error(tmp_path, file):
    path = tmp_path / "damaged.gz"
    raw = Path(file).read_bytes()
    path.write_bytes(raw[: len(raw) // 2] + bytes(100) + raw[len(raw) // 2 + 100 :])
    with pytest.raises(tf.errors.DataLossError):
        list(ExamplesParser(types_of(SCHEMA)).read(str(path)))


def test_a_feature_of_another_type_is_an_error(examples):
    with pytest.raises(tf.errors.InvalidArgumentError, match="word"):
        ExamplesParser({"word": schema_pb2.INT}).parse(examples[:3])


def test_a_pipeline_reads_every_batch_of_every_file(file, examples):
    def same(batches):
        assert sorted(len(batch) for batch in batches) == [10, 10, BATCH_ROWS, BATCH_ROWS]
        words = pa.chunked_array([batch.column(0) for batch in batches])
        assert len(words) - words.null_count == 2 * sum(bool(number % 3) for number in range(ROWS))

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | ReadRecordBatches([file, file], types_of(SCHEMA)), same)
