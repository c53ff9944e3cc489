from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

import pytest
from monitor_reports import DAY, HOSTILE, MONDAY, check, passed, quality, report

from monitoring import page
from monitoring.report import Action, Decision, Distribution, Problem, State, Volume

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """What the page consists of; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    @property
    def text(self) -> str:
        hidden = ("style", "title", "desc")
        return " ".join(text for tag, text in self.texts if tag not in hidden)

    def section(self, name: str) -> str:
        """The words of one section."""
        words = self.text
        return words[words.index(name) :]


def read(*args, **changes) -> Reader:
    return Reader(page.render(report(**changes), *args))


def test_the_first_line_is_the_decision() -> None:
    assert read().text.startswith(
        "block Block: distance looks like kilometres where training had miles distance: values"
    )


def test_tells_what_a_tired_reader_needs_in_this_order() -> None:
    text = read().text
    decision = ("Training on this would only", "Requests of")
    evidence = ("2 alarms", "Live quality", "Requests Rows in each", "Server Over", "Bad input")
    parts = (*decision, *evidence, "All other checks", "Earlier decisions")
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert "2013-06-03 00:00 to 2013-06-09 00:00 UTC" in text
    assert "12,345" in text


def test_an_alarm_tells_all_of_it() -> None:
    text = read().section("2 alarms")
    for part in (
        "distance: values fault in the data",
        "miles became kilometres?",
        "Jensen-Shannon divergence 0.412, threshold 0.021 (19.6 times)",
        "Since 2013-06-04 00:00 UTC",
        "Importance to the model 31%",
        "Skew of requests, 12,345 rows",
        "Against training window",
        "share of rows 18%, threshold 1.0% (18 times)",
        "Drift of span 14",
    ):
        assert part in text


def test_every_alarm_has_both_distributions() -> None:
    html = page.render(report())
    card = html[html.index("<article>") : html.index("</article>")]
    assert card.count('class="before"') == card.count('class="now"') == 6


def test_an_alarm_at_a_threshold_of_nothing() -> None:
    text = read(checks=(check(value=0.2, threshold=0.0, since=None, distribution=None, diagnosis=""),)).text
    assert "0.2, threshold 0 Since not told apart by time" in text
    assert "No distribution belongs to this check." in text
    assert "what it looks like is not known" in text


def test_the_other_checks_are_folded_into_a_table() -> None:
    html = page.render(report())
    folded = html[html.rindex("<details>") : html.rindex("</details>")]
    assert "8 checks without an alarm, 1 of them undecided" in folded
    assert folded.count('<th scope="row">') == folded.count('class="miniature"') == 8
    assert "sched_dep_time" in folded
    assert "distance" not in folded


def test_estimates_are_told_from_measurements() -> None:
    assert "Where labels are missing yet, the value is an estimate" in read().text
    only = read(quality=(quality(0, 0.7, is_estimate=True),))
    assert "No labels arrived yet: every value here is an estimate" in only.text
    assert ("span", "estimate") in only.texts
    measured = read(quality=(quality(0, 0.7),))
    assert ("span", "estimate") not in measured.texts
    assert "calibrated scores" not in measured.text


def test_quality_is_shown_by_metric_and_slice() -> None:
    text = read().text
    newest = "900 rows, 2013-06-06 00:00 to 2013-06-07 00:00 UTC."
    assert f"auc, all examples : 0.71 (0.69 to 0.73), reference 0.74, {newest}" in text  # measured, not estimated
    assert "log_loss, all examples : 0.61" in text
    assert "auc of 1 slice" in text
    assert "auc, origin=JFK : 0.65" in text


def test_the_whole_period_is_told_and_not_drawn() -> None:
    days = [quality(day, 0.7) for day in range(3)]
    whole = days[0].model_copy(update={"end": days[-1].end, "value": 0.71, "rows": 2700})
    text = read(quality=(*days, whole)).text
    assert "auc, all examples : 0.71 (" in text
    assert "2,700 rows" in text
    assert "3 windows" in page.render(report(quality=(*days, whole), volumes=()))


def test_empty_states_are_told_in_words() -> None:
    html = page.render(
        report(checks=(), quality=(), volumes=(), server=None, problems=(), rows=0, start=None, end=None)
    )
    text = Reader(html).text
    for words in (
        "no period: there were no requests",
        "No alarms Nothing was compared: there were no requests.",
        "No labels arrived yet, and nothing was estimated.",
        "No requests were logged.",
        "The server's metrics were not read.",
        "None: all that was logged and all that arrived could be read.",
        "This is the first look",
    ):
        assert words in text
    assert "<svg" not in html
    assert "<table" not in html


def test_silence_is_told_with_what_was_checked() -> None:
    quiet = (passed("a"), passed("b"), passed("c", state=State.UNDECIDED))
    assert "No alarms 2 checks passed, 1 had too few rows to be judged." in read(checks=quiet).text


def test_a_quality_without_a_number_is_told() -> None:
    nan = float("nan")
    assert "No window has a value that is a number." in read(quality=(quality(0, nan, low=nan, high=nan),)).text


def test_earlier_decisions_newest_first() -> None:
    older = [
        report(created=MONDAY + day * DAY, decision=Decision(action=Action.KEEP, headline=f"Keep: day {day}"))
        for day in (1, 3, 2)
    ]
    text = read([*older, report()]).section("Earlier decisions")
    assert [int(day) for day in re.findall(r"Keep: day (\d)", text)] == [3, 2, 1]
    assert text.count("2013-06") == 3  # the report itself is not among them


def test_a_rollback_names_its_version() -> None:
    text = read(decision=Decision(action=Action.ROLL_BACK, headline="Roll back to 7", to_version=7)).text
    assert text.startswith("roll back Roll back to 7")
    assert "Go back to version 7" in text


def hostile_page() -> str:
    bins = Distribution(bins=(HOSTILE, "</style>", "<img src=x>"), reference=(0.2, 0.3, 0.5), current=(0.5, 0.3, 0.2))
    names = {"against": HOSTILE, "source": HOSTILE, "measure": HOSTILE, "aspect": HOSTILE, "distribution": bins}
    hostile = report(
        pipeline=HOSTILE,
        window=HOSTILE,
        decision=Decision(action=Action.RETRAIN, headline=HOSTILE, reasons=(HOSTILE,)),
        checks=(check(HOSTILE, diagnosis=HOSTILE, **names), passed(HOSTILE, **names)),
        quality=(quality(0, 0.7, metric=HOSTILE), quality(0, 0.7, slice=f"carrier={HOSTILE}")),
        problems=(Problem(what=HOSTILE, count=1, where=HOSTILE),),
    )
    return page.render(hostile, [hostile.model_copy(update={"created": 0.0})])


def test_nothing_from_a_request_becomes_markup() -> None:
    found = Reader(hostile_page())
    assert not {tag for tag, _ in found.tags} & {"script", "img", "a", "iframe", "link", "object"}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert found.text.count('<script>alert("x")</script>') > 10


def test_the_page_asks_nobody_for_anything() -> None:
    found = Reader(page.render(report()))
    fetching = {"src", "href", "srcset", "data", "action", "poster", "style"}
    assert not [(tag, attributes) for tag, attributes in found.tags if fetching & attributes.keys()]
    style = next(text for tag, text in found.texts if tag == "style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_admits_the_style_sheet_alone() -> None:
    html = page.render(report())
    policy = next(a["content"] for _, a in Reader(html).tags if a.get("http-equiv") == "Content-Security-Policy")
    style = html[html.index("<style>") + 7 : html.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_charts_and_tables_have_names() -> None:
    html = page.render(report(), [report(created=0.0)])
    found = Reader(html)
    assert html.count("<table") == html.count("<caption>") >= 3
    assert html.count("<svg") == len(re.findall(r"<svg [^>]*role=\"img\"[^>]*><title>[^<]", html)) > 5
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert levels.count(1) == 1


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_contrast(scheme: int) -> None:
    """WCAG 2.2, 1.4.3 (text: 4.5) and 1.4.11 (graphics: 3)."""
    html = page.render(report())
    rules = [rule for rule in re.findall(r":root\s*{([^}]*)}", html) if "--paper" in rule]
    assert len(rules) == 3
    short = dict(re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", rules[scheme]))
    colors = {name: _luminance(c if len(c) == 6 else "".join(x * 2 for x in c)) for name, c in short.items()}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((colors[one], colors[other]))
        return (high + 0.05) / (low + 0.05)

    for paper in ("paper", "card"):
        assert min(contrast(ink, paper) for ink in ("ink", "quiet", "aim", "block")) >= 4.5
        assert min(contrast(ink, paper) for ink in ("now", "before")) >= 3
    assert min(contrast(action.value, "on-badge") for action in Action) >= 4.5


def test_a_hundred_features_stay_under_a_megabyte() -> None:
    bins = tuple(f"{i * 1000:,} to {i * 1000 + 1000:,}" for i in range(16))
    wide = Distribution(bins=bins, reference=(1 / 16,) * 16, current=tuple(i / 120 for i in range(16)))
    aspects = ("values", "missing", "unseen values", "hour of day", "day of week", "schema")
    alarms = tuple(check(f"feature_with_a_long_name_{i}", distribution=wide) for i in range(100))
    others = tuple(
        passed(f"feature_{i}", aspect=aspect, distribution=wide if aspect == "values" else None)
        for i in range(100)
        for aspect in aspects
    )
    points = tuple(
        quality(day, 0.7, slice=f"carrier={i}", metric=metric, rows=1000 + i)
        for metric in ("auc", "log_loss", "calibration")
        for i in range(40)
        for day in range(30)
    )
    volumes = tuple(Volume(start=MONDAY + i * 3600, end=MONDAY + i * 3600 + 3600, rows=i) for i in range(1000))
    html = page.render(report(checks=alarms + others, quality=points, volumes=volumes))
    assert len(html.encode()) < 1_000_000
    text = Reader(html).text
    assert "feature_with_a_long_name_99" in text
    assert "carrier=39" in text
    assert "carrier=0" not in text
    assert "(28 smaller ones are left out; they are in the JSON report)" in text
    assert "(the newest 120; 880 older ones are left out)" in text
