"""Rows as TFDV reads them: of the schema's types, whatever a request held."""

from __future__ import annotations

import pyarrow as pa
from small_reference import FEATURES
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature, Role
from monitoring.tfdv_rows import as_lists


def test_rows_as_tfdv_reads_them() -> None:
    rows = pa.RecordBatch.from_arrays(
        [pa.array([1.5, None]), pa.array([b"AA", None]), pa.array([b"7", b"8"]), pa.array([None, 60.0])],
        [each.name for each in FEATURES],
    )
    lists = as_lists(rows, FEATURES)
    assert lists.to_pydict() == {
        "miles": [[1.5], None],
        "carrier": [[b"AA"], None],
        "flight": [[7], [8]],
        "departure": [None, [60]],
    }
    assert [field.type.value_type for field in lists.schema] == [pa.float32(), pa.binary(), pa.int64(), pa.int64()]


def test_a_type_that_changes_from_batch_to_batch_does_not_reach_tfdv() -> None:
    stops = Feature("stops", Role.NUMERIC, schema_pb2.INT, False)
    names = ["flight", "stops"]
    good = pa.RecordBatch.from_arrays([pa.array([b"7", b"8"]), pa.array([1.0, 2.0])], names)
    bad = pa.RecordBatch.from_arrays([pa.array([b"7", b"x8"]), pa.array([1.7, 1e300])], names)
    lists = [as_lists(each, [FEATURES[2], stops]) for each in (good, bad)]
    assert lists[0].schema == lists[1].schema
    assert lists[1].to_pydict() == {"flight": [[7], None], "stops": [[1], [2**62]]}
