"""Tables that lie in an object store, through Beam's file systems, before any job has been made."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from object_stores import amazon

from data.config import DataConfig
from data.readers import inspect_all, read
from data.spans import find_window, fingerprint


def test_spans_on_s3_are_found_told_apart_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    with amazon("flights-of-2013") as place:
        folder = place.parent
        for number in (1, 2):
            with (folder / f"span-{number}.parquet").open("wb") as file:
                pq.write_table(pa.table({"carrier": ["AA"] * number}), file)
        source = {"format": "parquet", "path": f"{str(folder).rstrip('/')}/span-{{SPAN}}.parquet"}
        window = find_window(DataConfig.model_validate({"source": source, "window": {"train": 1}}))
        assert window.describe() == "spans 1 train, span 2 evaluates"
        assert len({fingerprint([span]) for span in window.spans}) == 2
        infos = inspect_all([path for span in window.spans for path in span.files], "parquet", None)
        rows = [len(batch) for info in infos for block in info.blocks for batch in read(block, ["carrier"], {})]
        assert rows == [1, 2]
