"""The `data:` section says one thing, or is refused."""

import pytest
from pydantic import ValidationError

from data.config import DataConfig, SourceConfig

SPANS = {"path": "data/span-{SPAN}/*.parquet"}
NO_SPANS = {"path": "data/*.parquet"}


def refused(raw, kind=DataConfig):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(raw)
    return str(caught.value)


def test_a_window_over_spans_has_good_defaults():
    config = DataConfig.model_validate({"source": SPANS, "window": {}})
    assert config.source.format == "parquet"
    assert (config.window.train, config.window.newest) == (10, "latest")
    assert config.split is None
    assert config.drop == ()


def test_a_split_needs_no_spans():
    config = DataConfig.model_validate({"source": NO_SPANS, "split": {}})
    assert (config.split.train, config.split.eval) == (8, 2)
    assert config.window is None


@pytest.mark.parametrize("division", [{}, {"window": {}, "split": {}}], ids=["neither", "both"])
def test_exactly_one_of_window_and_split_is_expected(division):
    assert "exactly one of `window`" in refused({"source": SPANS, **division})


def test_a_window_without_spans_in_the_path_is_refused():
    assert "put {SPAN} into source.path" in refused({"source": NO_SPANS, "window": {}})


def test_a_split_may_be_over_spans():
    assert DataConfig.model_validate({"source": SPANS, "split": {}}).source.has_spans


def test_the_path_tells_whether_there_are_spans():
    assert SourceConfig.model_validate(SPANS).has_spans
    assert not SourceConfig.model_validate(NO_SPANS).has_spans
    assert not SourceConfig(path="data/span/*").has_spans


def test_a_path_holds_the_span_once():
    assert "once, not 2 times" in refused({"path": "data/{SPAN}/{SPAN}.csv"}, SourceConfig)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"source": {"path": ""}}, "source.path"),
        ({"source": {**SPANS, "format": "avro"}}, "source.format"),
        ({"window": {"train": 0}}, "window.train"),
        ({"window": {"newest": "newest"}}, "window.newest"),
        ({"window": {"last": 3}}, "window.last"),
        ({"window": None, "split": {"train": 8, "eval": 0}}, "split.eval"),
        ({"drop": [{"missing": "late"}]}, "drop.0.reason"),
        ({"drop": [{"missing": "late", "reason": ""}]}, "drop.0.reason"),
        ({"sources": SPANS}, "sources"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(change, where):
    assert f"\n{where}" in refused({"source": SPANS, "window": {}, **change})


def test_a_configuration_survives_json():
    config = DataConfig.model_validate(
        {"source": SPANS, "window": {"train": 2, "newest": 9}, "drop": [{"missing": "late", "reason": "no label"}]}
    )
    assert DataConfig.model_validate_json(config.model_dump_json()) == config
