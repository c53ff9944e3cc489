from __future__ import annotations

import struct
from pathlib import Path

import pytest
from headless_browser import Browser
from monitor_reports import HOSTILE, check, passed, report
from scripted_http import ScriptedServer, response, serving

from monitoring import page
from monitoring.report import Action, Decision, Distribution

PHONE = 390


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def written(folder: Path, html: str) -> Path:
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def attacks(server: ScriptedServer) -> str:
    """Markup that would ask the server for something, if any of it came to life."""
    return f'<img src="{server.url}"><script src="{server.url}"></script><style>@import "{server.url}"</style>'


def test_the_report_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, page.render(report(), [report(created=0.0)]))
    seen = browser.look(path, PHONE)
    facts = seen.facts
    assert seen.console == []
    assert facts["fetched"] == []
    assert facts["width"] <= PHONE
    assert facts["headline"]["text"].lower().startswith("block block: distance looks like kilometres")
    assert facts["headline"]["y"] < 50
    assert facts["headline"]["height"] > 20
    assert len(facts["charts"]) == 7
    assert all(chart["width"] > 250 and chart["height"] > 80 for chart in facts["charts"])
    assert all(chart["x"] >= 0 and chart["x"] + chart["width"] <= PHONE for chart in facts["charts"])
    assert {shape["fill"] for shape in facts["shapes"]} == {"rgb(31, 102, 193)"}  # the style sheet's hash is right
    assert sum(shape["width"] > 5 for shape in facts["shapes"]) >= 10
    assert facts["folded"] == [False]
    assert "estimate" in facts["text"]


def test_whatever_requests_hold_stays_text(browser: Browser, tmp_path: Path) -> None:
    with serving(response(200)) as server:
        evil = attacks(server)
        bins = Distribution(bins=(evil, HOSTILE, "W" * 3000), reference=(0.2, 0.3, 0.5), current=(0.5, 0.3, 0.2))
        hostile = report(
            pipeline=evil,
            decision=Decision(action=Action.RETRAIN, headline=evil, reasons=("W" * 3000, HOSTILE)),
            checks=(check(evil, diagnosis=evil, distribution=bins), check("W" * 3000), passed("W" * 3000)),
        )
        seen = browser.look(written(tmp_path, page.render(hostile)), PHONE)
        assert server.received == []
    assert seen.console == []
    assert seen.facts["scripts"] == 0
    assert seen.facts["fetched"] == []
    assert seen.facts["width"] <= PHONE
    assert seen.facts["headline"]["text"].endswith(evil)


def test_an_empty_report(browser: Browser, tmp_path: Path) -> None:
    empty = report(checks=(), quality=(), volumes=(), server=None, problems=(), rows=0, start=None, end=None)
    seen = browser.look(written(tmp_path, page.render(empty)), PHONE)
    assert (seen.console, seen.facts["charts"]) == ([], [])
    assert "No labels arrived yet" in seen.facts["text"]


def test_the_browser_would_have_seen_it(browser: Browser, tmp_path: Path) -> None:
    """The proof of the other tests: a page without escapes and policy is caught."""
    with serving(response(200)) as server:
        wide = f'<h1>x</h1><div style="width: 900px">{attacks(server)}</div><script>undefined_function()</script>'
        seen = browser.look(written(tmp_path, f"<!doctype html><body>{wide}"), PHONE)
        assert len(server.received) >= 2
    assert seen.facts["width"] >= 900
    assert seen.facts["scripts"] == 2
    assert seen.facts["fetched"]
    assert any("undefined_function" in line for line in seen.console)


def test_a_picture_of_it(browser: Browser, tmp_path: Path) -> None:
    picture = browser.photograph(written(tmp_path, page.render(report())), 1280, 900)
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">II", picture[16:24]) == (1280, 900)
    assert len(picture) > 30_000  # an empty page has about 5,000 bytes
