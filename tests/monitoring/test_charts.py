from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from monitor_reports import DAY, HOSTILE, MONDAY

from monitoring.charts import distributions, timelines
from monitoring.charts.timelines import Point
from monitoring.report import Distribution


def parsed(markup: str) -> ElementTree.Element:
    """As XML: what is cut off or not escaped does not parse."""
    return ElementTree.fromstring(re.sub(r"[\x80-\x9f]", "", markup))


def numbers(root: ElementTree.Element, tag: str, kind: str, attribute: str) -> list[float]:
    return [float(each.attrib[attribute]) for each in root.iter(tag) if each.attrib.get("class", "").startswith(kind)]


def words(root: ElementTree.Element) -> str:
    return " ".join(text for each in root.iter("text") for text in each.itertext())


def days(*values: float, estimated_from: int = 99) -> list[Point]:
    return [
        Point(MONDAY + day * DAY, MONDAY + (day + 1) * DAY, value, value - 0.01, value + 0.02, day >= estimated_from)
        for day, value in enumerate(values)
    ]


def test_bars_are_as_long_as_the_shares() -> None:
    root = parsed(distributions.bars(Distribution(bins=("a", "b"), reference=(0.4, 0.1), current=(0.2, 0.0)), "t"))
    before, now = numbers(root, "rect", "before", "width"), numbers(root, "rect", "now", "width")
    assert before[0] == pytest.approx(2 * now[0], rel=0.01) == pytest.approx(4 * before[1], rel=0.01)
    assert now[1] == 0
    assert [each.text for each in root.iter("text")] == ["a", "40%", "20%", "b", "10%", "0%"]


def test_what_is_there_is_seen_however_little() -> None:
    root = parsed(distributions.bars(Distribution(bins=("a", "b"), reference=(1, 1e-9), current=(1, 0)), "t"))
    assert numbers(root, "rect", "before", "width")[1] >= 1


def test_many_bins_are_columns_and_stay_small() -> None:
    shares = tuple(index / 4950 for index in range(100))
    many = Distribution(bins=tuple(f"{i} to {i + 1}" for i in range(100)), reference=shares, current=shares[::-1])
    markup = distributions.bars(many, "t")
    now, outline = (
        next(each.attrib["d"] for each in parsed(markup).iter("path") if each.attrib["class"] == kind)
        for kind in ("now", "outline")
    )
    assert now.count("h") == outline.count("h") == 100
    heights = [160 - float(y) for y in re.findall(r"V([\d.]+)h", outline)]
    assert heights == sorted(heights)
    assert heights[-1] == pytest.approx(148)
    assert len(markup) < 4000
    assert "0 to 1" in words(parsed(markup))


def test_a_chart_says_its_name_and_what_changed_most() -> None:
    root = parsed(
        distributions.bars(Distribution(bins=("a", "b"), reference=(0.4, 0.6), current=(0.9, 0.6)), "carrier")
    )
    assert root.attrib["role"] == "img"
    assert root[0].text == "carrier"
    assert "a from 40% to 90%" in (root[1].text or "")


@pytest.mark.parametrize("draw", [lambda each: distributions.bars(each, HOSTILE), distributions.miniature])
def test_names_from_requests_are_escaped(draw) -> None:
    markup = draw(Distribution(bins=(HOSTILE, "x" * 5000), reference=(0.4, 0.6), current=(0.9, 0.6)))
    assert "<script" not in markup
    assert "<script>" in "".join(parsed(markup).itertext())
    assert len(markup) < 2500


@pytest.mark.parametrize("share", [math.nan, math.inf, -1.0, 7.0])
def test_shares_that_are_none_break_nothing(share: float) -> None:
    parsed(distributions.bars(Distribution(bins=("a", "b"), reference=(share, share), current=(0, share)), "t"))
    assert distributions.bars(Distribution(bins=(), reference=(), current=()), "t") == ""
    assert distributions.miniature(Distribution(bins=(), reference=(), current=())) == ""


def test_a_line_rises_with_its_values_over_equal_steps_of_time() -> None:
    root = parsed(timelines.lines(days(0.70, 0.72, 0.71), "auc", 0.74))
    x, y = numbers(root, "circle", "dot", "cx"), numbers(root, "circle", "dot", "cy")
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert y[0] > y[2] > y[1] > numbers(root, "line", "aim", "y1")[0]
    assert "reference 0.74" in words(root)
    assert "measured as 0.71, from 0.7 to 0.73; the reference is 0.74" in (root[1].text or "")


def test_the_band_is_drawn_from_low_to_high() -> None:
    root = parsed(timelines.lines(days(0.70, 0.72), "auc"))
    dots = numbers(root, "circle", "dot", "cy")
    whiskers = next(each.attrib["d"] for each in root.iter("path"))
    low, high = ([float(y) for y in re.findall(pattern, whiskers)] for pattern in (r" ([\d.]+)V", r"V([\d.]+)"))
    assert all(top < dot < bottom for top, dot, bottom in zip(high, dots, low, strict=True))
    assert len(list(root.iter("polygon"))) == 1


def test_estimates_are_marked_in_shape_and_words() -> None:
    root = parsed(timelines.lines(days(0.7, 0.7, 0.6, 0.6, estimated_from=2), "auc"))
    kinds = [each.attrib["class"] for each in root.iter("polyline")]
    assert kinds == ["line measured", "line estimate"]
    assert "estimate" in words(root)
    assert "estimated at 0.6" in (root[1].text or "")
    assert "estimate" not in timelines.lines(days(0.7, 0.7), "auc")


def test_a_gap_in_time_is_a_gap_in_the_line() -> None:
    points = days(0.7, 0.7, 0.7, 0.7, 0.7)
    assert len(list(parsed(timelines.lines(points, "auc")).iter("polyline"))) == 1
    assert len(list(parsed(timelines.lines(points[:1] + points[3:], "auc")).iter("polyline"))) == 2


@pytest.mark.parametrize("values", [(0.7,), (0.7, 0.7), (0.0, 0.0), (1e-9, 2e-9), (-5.0, 1e12), (0.7, math.nan)])
def test_any_values_have_a_scale(values: tuple[float, ...]) -> None:
    root = parsed(timelines.lines([Point(0, 60, value) for value in values], "t", math.nan))
    places = numbers(root, "circle", "dot", "cy")
    assert len(places) == sum(map(math.isfinite, values))
    assert all(0 <= y <= 176 for y in places)


def test_nothing_to_draw_is_no_chart() -> None:
    assert timelines.lines([], "t") == timelines.counts([], "t") == timelines.lines(days(math.nan), "t") == ""


def test_a_window_without_requests_is_told() -> None:
    root = parsed(timelines.counts([Point(0, 60, 10), Point(60, 120, 0), Point(120, 180, 5)], "Rows"))
    high, low = numbers(root, "rect", "now", "height")
    assert high == pytest.approx(2 * low, rel=0.01)
    assert "none" in words(root)
    assert "3 windows, 1 without any" in (root[1].text or "")
