"""Values over windows of time. Measured is a line with dots; an estimate is dashed, with rings, and says so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from monitoring.charts.svg import WIDTH, svg
from monitoring.formats import moment, number, period, tick


@dataclass(frozen=True)
class Point:
    """A value over a window of time, in seconds since 1970."""

    start: float
    end: float
    value: float
    low: float | None = None
    high: float | None = None
    is_estimate: bool = False

    @property
    def middle(self) -> float:
        """Of the window."""
        return (self.start + self.end) / 2


def lines(points: Sequence[Point], title: str, reference: float | None = None) -> Markup:
    """Values over time with their bands; a gap in time, or where estimates begin, is a gap in the line."""
    shown = sorted((point for point in points if math.isfinite(point.value)), key=lambda point: point.start)
    if not shown:
        return Markup("")
    heights = [height for point in shown for height in (point.value, point.low, point.high)] + [reference]
    scale = _Scale.over(shown, [height for height in heights if height is not None and math.isfinite(height)])
    measured = [point for point in shown if not point.is_estimate]
    estimated = list(_runs([point for point in shown if point.is_estimate]))
    runs = Markup("").join(_run(run, scale) for run in [*_runs(measured), *estimated])
    runs += _word(estimated[-1], scale) if estimated else ""
    line, label = _aim(reference, scale)
    newest = shown[-1]
    kind = "estimated at" if newest.is_estimate else "measured as"
    band = _band(newest)
    description = (
        f"{len(shown)} windows, {period(shown[0].start, newest.end)}. The newest is {kind} {number(newest.value)}"
        + (f", from {number(band[0])} to {number(band[1])}" if band else "")
        + (f"; the reference is {number(reference)}" if reference is not None else "")
    )
    return svg(_Scale.height, title, description, scale.axes() + line + runs + label)


def counts(points: Sequence[Point], title: str) -> Markup:
    """A column for each window of time; one without any is marked."""
    if not points:
        return Markup("")
    scale = _Scale.over(points, [0.0, *(point.value for point in points)])
    base = scale.y(0)
    parts = [scale.axes()]
    for point in points:
        x, width = scale.x(point.start), max(scale.x(point.end) - scale.x(point.start) - 1, 1)
        label = f"{period(point.start, point.end)}: {number(point.value)}"
        if point.value > 0:
            shape = Markup(
                '<rect class="now" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
            )
            parts.append(shape.format(x, scale.y(point.value), width, base - scale.y(point.value), label))
        else:
            none = Markup('<text class="none" x="{:.1f}" y="{:.1f}">none<title>{}</title></text>')
            parts.append(none.format(x + width / 2, base - 4, label))
    empty = sum(point.value <= 0 for point in points)
    most = max(points, key=lambda point: point.value)
    description = f"{len(points)} windows, {empty} without any; at most {number(most.value)} at {moment(most.start)}"
    return svg(_Scale.height, title, description, Markup("").join(parts))


def _aim(reference: float | None, scale: _Scale) -> tuple[Markup, Markup]:
    """The line of the reference, and its label, which stands above what else is drawn."""
    if reference is None or not math.isfinite(reference):
        return Markup(""), Markup("")
    y = scale.y(reference)
    line = Markup('<line class="aim" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(scale.left, scale.right, y=y)
    label = Markup('<text class="aim-label end halo" x="{}" y="{}">reference {}</text>')
    return line, label.format(scale.right, y - 5, number(reference))


def _runs(points: Sequence[Point]) -> Iterable[list[Point]]:
    """Points without a gap in time between them."""
    run: list[Point] = []
    for point in points:
        if run and point.start - run[-1].end > point.end - point.start:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _run(run: Sequence[Point], scale: _Scale) -> Markup:
    kind = "estimate" if run[0].is_estimate else "measured"
    banded = [(point, *band) for point in run if (band := _band(point)) is not None]
    parts = []
    if len(banded) > 1:
        upper = [f"{scale.x(point.middle):.1f},{scale.y(high):.1f}" for point, _, high in banded]
        lower = [f"{scale.x(point.middle):.1f},{scale.y(low):.1f}" for point, low, _ in reversed(banded)]
        parts.append(Markup('<polygon class="band {}" points="{}"/>').format(kind, " ".join(upper + lower)))
    whiskers = [f"M{scale.x(point.middle):.1f} {scale.y(low):.1f}V{scale.y(high):.1f}" for point, low, high in banded]
    parts.append(Markup('<path class="whisker {}" d="{}"/>').format(kind, "".join(whiskers)))
    path = " ".join(f"{scale.x(point.middle):.1f},{scale.y(point.value):.1f}" for point in run)
    parts.append(Markup('<polyline class="line {}" points="{}"/>').format(kind, path))
    for point in run:
        dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
        label = f"{period(point.start, point.end)}: {number(point.value)}{' (estimate)' if point.is_estimate else ''}"
        parts.append(dot.format(kind, scale.x(point.middle), scale.y(point.value), 3.5, label))
    return Markup("").join(parts)


def _word(run: Sequence[Point], scale: _Scale) -> Markup:
    """Says above a run of estimates that they are."""
    x = scale.x(run[-1].middle)
    heights = [height for point in run for height in (point.value, *(_band(point) or ()))]
    word = Markup('<text class="{} halo" x="{:.1f}" y="{:.1f}">estimate</text>')
    return word.format("end" if x > WIDTH / 2 else "start", x, scale.y(max(heights)) - 6)


def _band(point: Point) -> tuple[float, float] | None:
    if point.low is None or point.high is None or not (math.isfinite(point.low) and math.isfinite(point.high)):
        return None
    return point.low, point.high


@dataclass(frozen=True)
class _Scale:
    """From time and value to the view box."""

    start: float
    end: float
    steps: tuple[float, ...]
    left, right, top, bottom, height = 48, WIDTH - 6, 14, 150, 176

    @classmethod
    def over(cls, points: Sequence[Point], values: Sequence[float]) -> _Scale:
        start, end = min(point.start for point in points), max(point.end for point in points)
        return cls(start, end if end > start else start + 1, _nice_steps(min(values), max(values)))

    def x(self, seconds: float) -> float:
        return self.left + (seconds - self.start) / (self.end - self.start) * (self.right - self.left)

    def y(self, value: float) -> float:
        share = (value - self.steps[0]) / (self.steps[-1] - self.steps[0])
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def axes(self) -> Markup:
        parts = []
        decimals = max(0, -math.floor(math.log10(self.steps[1] - self.steps[0]) + 1e-9))
        for step in self.steps:
            grid = Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="end" x="{}" y="{}">{}</text>'
            )
            y = self.y(step)
            text = f"{step:,.{decimals}f}"
            parts.append(grid.format(self.left, self.right, self.left - 6, y + 4, text, y=y))
        span = self.end - self.start
        for seconds, x, anchor in ((self.start, self.left, "start"), (self.end, self.right, "end")):
            label = Markup('<text class="{}" x="{}" y="{}">{}</text>')
            parts.append(label.format(anchor, x, self.bottom + 18, tick(seconds, span)))
        zone = Markup('<text class="middle" x="{}" y="{}">UTC</text>')
        parts.append(zone.format((self.left + self.right) / 2, self.bottom + 18))
        return Markup("").join(parts)


def _nice_steps(low: float, high: float) -> tuple[float, ...]:
    """Three to six round numbers that enclose both."""
    if high <= low:
        low, high = low - (abs(low) / 10 or 1.0), high + (abs(high) / 10 or 1.0)
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(index * step for index in range(first, max(last, first + 1) + 1))
