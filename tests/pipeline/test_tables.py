"""Which tables are read beside a log, and what is told of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_reference import FEATURES, IDENTIFIER, LABEL, Watched, flights_of, watch_small

from data.columns import ARROW_TYPES
from monitoring.collect import TableBlock
from monitoring.problems import Problems
from pipeline.looking import find_served
from pipeline.tables import label_tables, span_tables
from schema.errors import ConfigError, DataError

LIVE = flights_of(5, 300)
TYPES = {each.name: ARROW_TYPES[each.type] for each in (*FEATURES, LABEL)}


@pytest.fixture
def it(tmp_path: Path) -> Watched:
    return watch_small(tmp_path)


def spans(it: Watched, **monitor: Any) -> tuple[list[TableBlock], dict[str, str]]:
    it.change_config(monitor=monitor)
    problems = Problems()
    reference, has_labels = find_served(it.config, None).reference, it.config.monitor.labels is not None
    found = list(span_tables(it.config, reference, TYPES, problems, has_labels=has_labels))
    return found, {each.what: each.where for each in problems.found()}


def labels(it: Watched, given: str | None = None, **monitor: Any) -> tuple[list[TableBlock], dict[str, str]]:
    it.change_config(monitor=monitor)
    problems = Problems()
    found = list(label_tables(it.config, given, "late", TYPES, problems))
    return found, {each.what: each.where for each in problems.found()}


def test_own_spans_are_joined_and_new_ones_compared_as_well(it: Watched) -> None:
    it.write_span(5, LIVE)
    it.write_span(0, LIVE)  # before the window: neither
    found, problems = spans(it)
    assert [(each.span, each.is_joined, Path(each.block.path).stem) for each in found] == [
        (None, True, "span-01"),
        (None, True, "span-02"),
        (None, True, "span-03"),
        (None, True, "span-04"),
        (5, True, "span-05"),
    ]
    assert problems == {}
    assert found[0].columns == ("miles", "carrier", "flight", "departure", "late")


def test_without_an_identifier_only_new_spans_are_read(it: Watched) -> None:
    it.write_span(5, LIVE)
    found, _ = spans(it, identifier=[])
    assert [(each.span, each.is_joined) for each in found] == [(5, False)]


def test_a_span_without_the_identifier_is_compared_and_not_joined(it: Watched) -> None:
    it.write_span(4, LIVE.drop(["flight"]))
    it.write_span(5, LIVE.drop(["flight"]))
    found, problems = spans(it)
    assert [(each.span, each.is_joined) for each in found] == [(None, True)] * 3 + [(5, False)]
    assert problems["a file of a span lacks columns"].endswith("span-04.parquet: flight")


def test_a_span_of_something_else(it: Watched) -> None:
    it.write_span(5, pa.table({"x": [1]}))
    found, problems = spans(it)
    assert len(found) == 4
    assert problems["a file of a span lacks columns"].endswith("carrier, departure, flight, late, miles")


def test_a_label_may_come_by_itself(it: Watched) -> None:
    it.write_span(5, LIVE.drop(["late"]))
    found, problems = spans(it, labels={"path": "labels/*.parquet"})
    assert (found[-1].span, problems) == (5, {})


def test_labels_of_their_own_stand_for_those_of_the_spans(it: Watched) -> None:
    assert all(each.labels_requests for each in spans(it)[0])
    assert not any(each.labels_requests for each in spans(it, labels={"path": "labels/*.parquet"})[0])


def test_a_block_for_each_row_group(it: Watched) -> None:
    it.write_span(5, LIVE)
    pq.write_table(LIVE, it.span_path(5), row_group_size=100)
    assert [each.block.row_group for each in spans(it)[0] if each.span == 5] == [0, 1, 2]


def test_spans_that_cannot_be_listed(it: Watched) -> None:
    it.write_span(5, LIVE)
    it.span_path(5).rename(it.folder / "data" / "span-3.parquet")  # a second span 3
    found, problems = spans(it)
    assert found == []
    assert list(problems) == ["span 3 is there 2 times"]


def test_rows_are_left_out_as_in_training_if_their_column_is_there(it: Watched) -> None:
    it.write_span(4, LIVE.drop(["late"]))
    it.change_config(
        data={
            "source": {"path": "data/span-{SPAN}.parquet"},
            "window": {"train": 3},
            "drop": [{"missing": "late", "reason": "none"}],
        }
    )
    found, _ = spans(it)
    assert [each.required for each in found] == [("late",)] * 3 + [()]


def test_labels_need_all_their_columns(it: Watched) -> None:
    it.write_labels(LIVE.select([*IDENTIFIER, "late", "miles"]), "a.parquet")
    it.write_labels(LIVE.select([*IDENTIFIER]), "b.parquet")
    it.write_labels(LIVE.select(["late"]), "c.parquet")
    (it.folder / "labels" / "d.parquet").write_text("")
    found, problems = labels(it, labels={"path": "labels/*.parquet"})
    assert [(each.span, each.is_joined, each.columns) for each in found] == [(None, True, (*IDENTIFIER, "late"))]
    assert problems["a file of labels lacks columns"].endswith("b.parquet: late")
    assert "d.parquet" in problems["a source file cannot be read as parquet"]


def test_labels_that_are_still_to_come(it: Watched) -> None:
    assert labels(it) == ([], {})
    found, problems = labels(it, labels={"path": "labels/*.parquet"})
    assert found == []
    assert list(problems) == ["no file matches the source"]
    with pytest.raises(DataError, match="No file matches"):
        labels(it, str(it.folder / "labels" / "*.csv"))


def test_labels_without_an_identifier(it: Watched) -> None:
    with pytest.raises(ConfigError, match="cannot be joined"):
        labels(it, "labels/*.csv", identifier=[])
