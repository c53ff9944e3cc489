"""What all charts have in common."""

from __future__ import annotations

from markupsafe import Markup

WIDTH = 400
"""In the units of the view box; about as many pixels as a phone's screen is wide, so that text keeps its size."""


def svg(height: float, title: str, description: str, content: Markup) -> Markup:
    """A chart with its name and a description for whoever does not see it."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title><desc>{}</desc>{}</svg>').format(
        WIDTH, height, title, description, content
    )


def short(text: str, most: int = 18) -> str:
    """The text, cut off where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"
