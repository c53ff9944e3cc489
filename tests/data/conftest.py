"""What the tests of the readers share."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf


def parse_example(serialized):
    """The values of a tf.Example by name; an absent feature, or one without a value, is left out."""
    values = {}
    for name, feature in tf.train.Example.FromString(serialized).features.feature.items():
        kind = feature.WhichOneof("kind")
        if kind is not None:
            (values[name],) = getattr(feature, kind).value
    return values


@pytest.fixture(scope="session")
def parse():
    return parse_example


@pytest.fixture
def write_parquet(tmp_path):
    """Writes named columns to a file below tmp_path, in small row groups."""

    def write(name, columns, row_group_size=4, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, row_group_size=row_group_size, **options)
        return str(path)

    return write


@pytest.fixture
def write_text(tmp_path):
    def write(name, text) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(text) if isinstance(text, Iterator) else text, encoding="utf-8")
        return str(path)

    return write
