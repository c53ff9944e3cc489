"""Two distributions in one chart: the reference is an outline, what is now is filled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from monitoring.charts.svg import WIDTH, short, svg
from monitoring.formats import percent
from monitoring.report import Distribution

_MOST_ROWS = 16
"""More bins than these are columns without a label each."""
_LONGEST_TITLE = 120


def bars(distribution: Distribution, title: str) -> Markup:
    """Both distributions side by side: a row for each bin, or columns if there are many."""
    rows = _bins(distribution)
    if not rows:
        return Markup("")
    content, height = _rows(rows) if len(rows) <= _MOST_ROWS else _columns(rows)
    return svg(height, title, f"Reference and now. Largest changes: {_changes(rows)}.", content)


def miniature(distribution: Distribution) -> Markup:
    """Both distributions without any text, for a cell of a table; the numbers are in the description."""
    rows = _bins(distribution)
    if not rows:
        return Markup("")
    width, height = 72, 18
    most = max(max(row[1:]) for row in rows) or 1.0
    return Markup('<svg class="miniature" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        width, height, f"Largest changes: {_changes(rows)}", _steps(rows, (0, width, 1, height - 1), most)
    )


def _bins(distribution: Distribution) -> list[tuple[str, float, float]]:
    shares = zip(distribution.bins, distribution.reference, distribution.current, strict=False)
    return [(label, _share(reference), _share(current)) for label, reference, current in shares]


def _rows(rows: Sequence[tuple[str, float, float]]) -> tuple[Markup, float]:
    pitch = 32
    most = max(max(row[1:]) for row in rows) or 1.0
    parts = []
    for index, (label, reference, current) in enumerate(rows):
        top = index * pitch + 3
        whole = Markup("<title>{}</title>").format(short(label, _LONGEST_TITLE)) if short(label) != label else ""
        parts.append(Markup('<text class="end" x="118" y="{}">{}{}</text>').format(top + 16, short(label), whole))
        parts += [_bar("before", reference, most, top), _bar("now", current, most, top + 13)]
    return Markup("").join(parts), len(rows) * pitch + 2


def _bar(kind: str, share: float, most: float, top: float) -> Markup:
    left, right = 124, 350
    length = _length(share, most, right - left)
    return Markup(
        '<rect class="{}" x="{}" y="{}" width="{:.1f}" height="11"/><text class="small" x="{:.0f}" y="{}">{}</text>'
    ).format(kind, left, top, length, left + length + 5, top + 9.5, percent(share))


def _columns(rows: Sequence[tuple[str, float, float]]) -> tuple[Markup, float]:
    most = max(max(row[1:]) for row in rows) or 1.0
    left, right, top, bottom = 44, WIDTH - 4, 12, 160
    texts = [
        Markup('<text class="end" x="{}" y="{}">{}</text>').format(left - 6, top + 6, percent(most)),
        Markup('<text class="end" x="{}" y="{}">0%</text>').format(left - 6, bottom),
        Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(left, right, y=bottom),
    ]
    ends = ((0, left, "start"), (len(rows) // 2, (left + right) / 2, "middle"), (len(rows) - 1, right, "end"))
    texts += [
        Markup('<text class="{}" x="{}" y="{}">{}</text>').format(anchor, x, bottom + 17, short(rows[index][0]))
        for index, x, anchor in ends
    ]
    return _steps(rows, (left, right, top, bottom), most) + Markup("").join(texts), bottom + 24


def _steps(rows: Sequence[tuple[str, float, float]], box: tuple[float, float, float, float], most: float) -> Markup:
    """Now as filled columns, the reference as the outline of its own."""
    left, right, top, bottom = box
    pitch = (right - left) / len(rows)

    def path(shares: Iterable[float]) -> str:
        levels = (f"V{bottom - _length(share, most, bottom - top):.1f}h{pitch:.2f}" for share in shares)
        return f"M{left} {bottom}{''.join(levels)}V{bottom}"

    now, before = path(row[2] for row in rows), path(row[1] for row in rows)
    return Markup('<path class="now" d="{}Z"/><path class="outline" d="{}"/>').format(now, before)


def _length(share: float, most: float, longest: float) -> float:
    """What is there is seen, however little it is."""
    return max(share / most * longest, 1.0) if share > 0 else 0.0


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0


def _changes(rows: Sequence[tuple[str, float, float]]) -> str:
    largest = sorted(rows, key=lambda row: -abs(row[2] - row[1]))[:3]
    return "; ".join(f"{short(label, 40)} from {percent(old)} to {percent(new)}" for label, old, new in largest)
