"""A real browser that looks at a page: Debian's Chromium without a window."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--allow-file-access-from-files",  # the frame around the page reads what is in it
)
_SECONDS = 60

# The page runs no script, so a page around it measures it, in a frame as wide as a phone.
_FRAME = """<!doctype html><meta charset="utf-8"><iframe width="%d" height="844" src="%s"></iframe><pre id="seen"></pre>
<script>
addEventListener("load", () => {
  const inner = document.querySelector("iframe").contentWindow, page = inner.document;
  const box = (each) => each.getBoundingClientRect().toJSON();
  const fill = (each) => inner.getComputedStyle(each).fill;
  document.getElementById("seen").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    height: page.documentElement.scrollHeight,
    headline: { text: page.querySelector("h1").innerText, ...box(page.querySelector("h1")) },
    text: page.body.innerText,
    charts: [...page.querySelectorAll("svg.chart")].filter((each) => each.checkVisibility()).map(box),
    shapes: [...page.querySelectorAll("article rect.now")].map((each) => ({ ...box(each), fill: fill(each) })),
    folded: [...page.querySelectorAll("details:not([open]) table")].map((each) => each.checkVisibility()),
    scripts: page.scripts.length,
    fetched: inner.performance.getEntriesByType("resource").map((each) => each.name),
  });
});
</script>
"""
_SEEN = re.compile(r'<pre id="seen">(.*?)</pre>', re.DOTALL)


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page."""

    facts: dict[str, Any]
    console: list[str]
    """What it complained about."""


class Browser:
    """Each look is a new process with a new profile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = shutil.which("chromium") or ""
        if not self._program:
            pytest.skip("no chromium on this machine: apt-get install chromium")

    def look(self, page: Path, width: int) -> Seen:
        """Lays the page out in a frame of that width."""
        frame = self._folder / "frame.html"
        frame.write_text(_FRAME % (width, page.as_uri()), encoding="utf-8")
        done = self._run("--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri())
        found = _SEEN.search(done.stdout)
        assert found is not None
        assert found.group(1), f"the page did not load:\n{done.stdout[:2000]}\n{done.stderr[-2000:]}"
        return Seen(json.loads(html.unescape(found.group(1))), _console(done.stderr))

    def photograph(self, page: Path, width: int, height: int) -> bytes:
        """A screenshot, as PNG."""
        picture = self._folder / "picture.png"
        self._run(f"--window-size={width},{height}", f"--screenshot={picture}", page.as_uri())
        return picture.read_bytes()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        profile = self._folder / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        command = [self._program, *_FLAGS, f"--user-data-dir={profile}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)


def _console(log: str) -> list[str]:
    return [line for line in log.splitlines() if ":CONSOLE" in line]
