"""Pictures as inline SVG: pure functions of numbers. Colours are classes of style.css.

Strips (`stack`, `strip`, `twins`, `area`) have no words in them and stretch to the width that they
are given; charts (`line`, `calibration`) have, and keep their shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ncs4cvr.pipeline.report.html import Child, Html, tag

WIDE, HIGH = 320, 210  # of a chart, in its own units; a phone shows one unit as about one pixel
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 34
TICKS = 4  # of an axis, about


def stack(parts: Sequence[tuple[str, float]], title: str) -> Html:
    """Shares of one bar side by side, as (class of colour, share); what lacks to 1 stays empty."""
    shapes, left = [], 0.0
    for colour, share in parts:
        # Less than half a permille would not be seen: it is drawn as that.
        width = 1000 * max(share, 0.0005) if share > 0 else 0.0
        if width:
            shapes.append(tag("rect", x=_n(left), y=0, width=_n(width), height=10, class_=colour))
        left += 1000 * share
    track = tag("rect", x=0, y=0, width=1000, height=10, class_="track")
    return _strip("0 0 1000 10", title, track, shapes, class_="stack")


def span(first: float, last: float, colour: str, title: str) -> Html:
    """The part of a bar between two shares of its length, at least visible."""
    width = max(1000 * (last - first), 2)
    bar = tag("rect", x=_n(1000 * first), y=0, width=_n(width), height=10, class_=colour)
    track = tag("rect", x=0, y=0, width=1000, height=10, class_="track")
    return _strip("0 0 1000 10", title, track, bar, class_="stack")


def strip(
    low: float, value: float, high: float, axis: tuple[float, float], marks: Sequence[float]
) -> Html:
    """An interval with its value on an axis, and marks (such as 0, or what is allowed) across."""

    def at(x: float) -> float:
        return 1000 * min(1.0, max(0.0, (x - axis[0]) / ((axis[1] - axis[0]) or 1)))

    lines = (
        tag("line", x1=_n(at(m)), x2=_n(at(m)), y1=0, y2=20, class_="mark" if i else "zero")
        for i, m in enumerate(marks)
    )
    whisker = tag("line", x1=_n(at(low)), x2=_n(at(high)), y1=10, y2=10, class_="whisker")
    dot = tag("line", x1=_n(at(value)), x2=_n(at(value)), y1=4, y2=16, class_="value")
    title = f"{value:.4f}, with 95 % between {low:.4f} and {high:.4f}"
    return _strip("0 0 1000 20", title, lines, whisker, dot, class_="strip")


def twins(now: Sequence[float], before: Sequence[float] | None, title: str) -> Html:
    """Two distributions over the same bins: filled bars now, an outline before."""
    most = max([*now, *(before or [])], default=0.0) or 1.0
    step = 120 / max(len(now), 1)
    bars = (
        tag(
            "rect",
            x=_n(i * step + 0.4),
            y=_n(32 - 30 * share / most),
            width=_n(step - 0.8),
            height=_n(30 * share / most),
            class_="now",
        )
        for i, share in enumerate(now)
    )
    outline = None
    if before:
        path = ["M0 32"]
        for i, share in enumerate(before):
            y = _n(32 - 30 * share / most)
            path.append(f"L{_n(i * step)} {y}L{_n((i + 1) * step)} {y}")
        outline = tag("path", d="".join([*path, "L120 32"]), class_="before")
    ground = tag("line", x1=0, x2=120, y1=32, y2=32, class_="ground")
    return _strip("0 0 120 33", title, bars, outline, ground, class_="twins")


def area(points: Sequence[Sequence[float]], end: float, most: float, title: str) -> Html:
    """A quantity over time, from 0 to `end`, as a filled curve; `most` is the top."""
    if not points or not end or not most:
        return tag("svg", viewBox="0 0 1000 100", class_="area", role="img", aria_label=title)
    told = [(1000 * min(1.0, x / end), 98 - 96 * y / most) for x, y in points]
    line = "L".join(f"{_n(x)} {_n(y)}" for x, y in told)
    first, last = _n(told[0][0]), _n(told[-1][0])
    shape = tag("path", d=f"M{first} 100L{line}L{last} 100Z", class_="now")
    return _strip("0 0 1000 100", title, shape, class_="area")


def line(
    points: Sequence[tuple[float, float]], chosen: int, colour: int, x: str, title: str
) -> Html:
    """A chart of one line; a large dot marks the chosen point."""
    x_axis, y_axis = _axis([p[0] for p in points]), _axis([p[1] for p in points])
    placed = [(_x(a, x_axis), _y(b, y_axis)) for a, b in points]
    path = "L".join(f"{_n(a)} {_n(b)}" for a, b in placed)
    dots = (
        tag(
            "circle",
            cx=_n(a),
            cy=_n(b),
            r=6 if k == chosen else 3,
            class_=f"dot task{colour % 4}" + (" chosen" if k == chosen else ""),
        )
        for k, (a, b) in enumerate(placed)
    )
    drawn = tag("path", d=f"M{path}", class_=f"line task{colour % 4}")
    return _chart(title, [_frame(x_axis, y_axis, x, ""), drawn, dots])


def calibration(deciles: Sequence[tuple[float, float]], title: str) -> Html:
    """Observed against predicted shares, with the diagonal where both are equal."""
    ends = [value for pair in deciles for value in pair]
    axis = _axis([0.0, *ends])
    corners = (
        _n(_x(axis[0], axis)),
        _n(_y(axis[0], axis)),
        _n(_x(axis[-1], axis)),
        _n(_y(axis[-1], axis)),
    )
    diagonal = tag(
        "line", x1=corners[0], y1=corners[1], x2=corners[2], y2=corners[3], class_="zero"
    )
    placed = [(_x(p, axis), _y(o, axis)) for p, o in deciles]
    path = "L".join(f"{_n(a)} {_n(b)}" for a, b in placed)
    dots = (tag("circle", cx=_n(a), cy=_n(b), r=3, class_="dot task0") for a, b in placed)
    line = tag("path", d=f"M{path}", class_="line task0")
    return _chart(title, [_frame(axis, axis, "predicted", "observed"), diagonal, line, dots])


def _strip(view: str, title: str, *shapes: Child, class_: str) -> Html:
    return tag(
        "svg",
        tag("title", title),
        *shapes,
        viewBox=view,
        preserveAspectRatio="none",
        class_=class_,
        role="img",
    )


def _chart(title: str, shapes: Sequence[Child]) -> Html:
    return tag(
        "svg",
        tag("title", title),
        *shapes,
        viewBox=f"0 0 {WIDE} {HIGH}",
        class_="chart",
        role="img",
    )


def _frame(x_axis: Sequence[float], y_axis: Sequence[float], x: str, y: str) -> Html:
    """Both axes with their ticks and names."""
    shapes: list[Child] = []
    low, right = HIGH - BOTTOM, WIDE - RIGHT
    for tick in y_axis:
        at = _n(_y(tick, y_axis))
        shapes.append(tag("line", x1=LEFT, x2=right, y1=at, y2=at, class_="grid"))
        shapes.append(
            tag("text", _tick(tick, y_axis), x=LEFT - 5, y=_n(float(at) + 4), class_="end")
        )
    for tick in x_axis:
        at = _n(_x(tick, x_axis))
        shapes.append(tag("text", _tick(tick, x_axis), x=at, y=low + 14, class_="middle"))
    shapes.append(tag("text", x, x=(LEFT + right) // 2, y=HIGH - 4, class_="middle name"))
    middle = (TOP + low) // 2
    turned = f"rotate(-90 10 {middle})"
    shapes.append(tag("text", y, x=10, y=middle, transform=turned, class_="middle name"))
    return tag("g", shapes)


def _axis(values: Sequence[float]) -> list[float]:
    """Round ticks from at most the smallest to at least the largest value.

    >>> _axis([0.12, 0.47])
    [0.1, 0.2, 0.3, 0.4, 0.5]
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _tick(value: float, axis: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(axis[1] - axis[0]) + 1e-9))
    fits = all(abs(round(tick, digits) - tick) < 1e-9 for tick in axis)
    return f"{value:,.{digits if fits else digits + 1}f}"


def _x(value: float, axis: Sequence[float]) -> float:
    return LEFT + (WIDE - RIGHT - LEFT) * (value - axis[0]) / (axis[-1] - axis[0])


def _y(value: float, axis: Sequence[float]) -> float:
    return HIGH - BOTTOM - (HIGH - BOTTOM - TOP) * (value - axis[0]) / (axis[-1] - axis[0])


def _n(value: float) -> str:
    """A number as short as it can be."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
