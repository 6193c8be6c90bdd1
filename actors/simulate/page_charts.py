"""Charts for a page that needs nothing else: SVG that stretches with the window, and labels that do not.

The drawing is stretched to whatever width there is, its lines keep their thickness (``non-scaling-stroke``), and every word
and number is HTML beside it at its own size. So one drawing serves a desk and a telephone, without a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from attrs import frozen

__all__ = ["WIDTH", "Axis", "Scale", "band", "dots", "legend", "plot", "row", "rows", "steps", "ticks"]

WIDTH = 1000.0  # of every drawing, in its own units
HEIGHT = 100.0
Point = tuple[float, float]


def ticks(top: float, about: int) -> list[float]:
    """Round numbers from 0 to ``top``, about so many; 60 and its parts where they fit seconds better than tens do."""
    if top <= 0:
        return [0.0]
    raw = top / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [round(n * step, 9) for n in range(int(top / step + 1e-9) + 1)]


@frozen
class Axis:
    """Time, from 0 to ``end_s``; ``healed_s`` is when the faults ended, ``breaches`` are drawn on every chart."""

    end_s: float
    healed_s: float
    breaches: tuple[float, ...] = ()

    def x(self, at_s: float) -> float:
        """In the drawing's units."""
        return round(WIDTH * min(max(at_s, 0.0), self.end_s) / self.end_s, 2)

    def percent(self, at_s: float) -> str:
        """As a style's left."""
        return f"{self.x(at_s) / WIDTH:.2%}"

    def labels(self) -> str:
        """The numbers below; every other one is left out where there is little room."""
        marks = ticks(self.end_s, 10)
        spans = [
            f'<span class="tick{" odd" if n % 2 else ""}" style="left:{self.percent(at_s)}">{at_s:g}</span>'
            for n, at_s in enumerate(marks)
            if at_s <= self.end_s * 0.97
        ]
        return f'<div class="xlabels" aria-hidden="true">{"".join(spans)}<span class="unit">s</span></div>'

    def background(self) -> str:
        """The healing's shade, lines at round numbers, and the breaches."""
        parts = []
        if self.healed_s < self.end_s:
            left = self.x(self.healed_s)
            parts.append(f'<rect class="healing" x="{left}" y="0" width="{WIDTH - left:.2f}" height="{HEIGHT:g}"/>')
        parts += [_vertical("grid", self.x(at_s)) for at_s in ticks(self.end_s, 10)[1:]]
        return "".join(parts)

    def foreground(self) -> str:
        """The breaches."""
        return "".join(_vertical("breach", self.x(at_s)) for at_s in self.breaches)


@frozen
class Scale:
    """Values from 0 to ``top`` in a drawing; ``top`` is at least 1."""

    top: float

    @classmethod
    def over(cls, axis: Axis, *tracks: Iterable[Point]) -> Scale:
        """High enough for all that is shown of them, with a little air."""
        highest = max((value for track in tracks for at_s, value in track if at_s <= axis.end_s), default=1.0)
        return cls(max(1.0, highest) * 1.08)

    def y(self, value: float) -> float:
        """In the drawing's units, from above."""
        return round(HEIGHT * (1.0 - max(0.0, value) / self.top), 2)

    def labels(self, about: int = 3) -> str:
        """The numbers at the left: whole ones, because everything that is drawn is counted or waits for seconds."""
        marks = [value for value in ticks(self.top, about) if value == int(value)]
        spans = [f'<span style="top:{self.y(value):.1f}%">{value:g}</span>' for value in marks]
        return f'<div class="ylabels" aria-hidden="true">{"".join(spans)}</div>'

    def grid(self, about: int = 3) -> str:
        """Lines at the same values."""
        return "".join(
            f'<path class="grid" d="M0 {self.y(value)}H{WIDTH:g}"/>' for value in ticks(self.top, about) if value == int(value)
        )  # fmt: skip


def _vertical(kind: str, x: float) -> str:
    return f'<path class="{kind}" d="M{x} 0V{HEIGHT:g}"/>'


def steps(kind: str, track: Sequence[Point], axis: Axis, scale: Scale, *, area: bool = False) -> str:
    """A track as a line of steps; a value below 0 is a gap. ``area``: filled down to 0."""
    parts: list[str] = []
    drawing = False
    for number, (at_s, value) in enumerate(track):
        end_s = track[number + 1][0] if number + 1 < len(track) else axis.end_s
        if at_s > axis.end_s:
            break
        if value < 0:
            drawing = False
            continue
        x, y = axis.x(at_s), scale.y(value)
        if area:
            parts.append(f"M{x} {HEIGHT:g}V{y}H{axis.x(end_s)}V{HEIGHT:g}Z" if value > 0 else "")
        else:
            parts.append(f"V{y}H{axis.x(end_s)}" if drawing else f"M{x} {y}H{axis.x(end_s)}")
            drawing = True
    return f'<path class="{kind}" d="{"".join(parts)}"/>' if any(parts) else ""


def band(kind: str, spans: Iterable[tuple[float, float]], axis: Axis) -> str:
    """Stretches of time, from top to bottom, at least wide enough to be seen."""
    return "".join(
        f'<rect class="{kind}" x="{axis.x(begin_s)}" y="0" width="{max(1.0, axis.x(end_s) - axis.x(begin_s)):.2f}" '
        f'height="{HEIGHT:g}"/>'
        for begin_s, end_s in spans
    )


def dots(kind: str, marks: Iterable[tuple[float, float, str]], axis: Axis) -> str:
    """Round dots at (instant, drawing's y, words): lines of no length with round ends, which stay round when stretched."""
    return "".join(
        f'<path class="dot {kind}" d="M{axis.x(at_s)} {y:g}h0.01"><title>{escape(text)}</title></path>'
        for at_s, y, text in marks
    )


def plot(name: str, title: str, axis: Axis, scale: Scale, drawn: str, *, tall: str = "", last: bool = True) -> str:
    """One chart: ``drawn`` between background and breaches. ``title`` names what is drawn, and its unit."""
    x = axis.labels() if last else ""
    return (
        f'<figure class="plot {tall}" data-chart="{escape(name)}"><figcaption>{title}</figcaption><div class="frame">'
        f"{scale.labels()}{_svg(title, axis.background() + scale.grid() + drawn + axis.foreground())}</div>{x}</figure>"
    )


def _svg(title: str, inside: str) -> str:
    told = f'role="img" aria-label="{escape(title)}"' if title else 'aria-hidden="true"'
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" {told}>{inside}</svg>'


def row(label: str, axis: Axis, drawn: str, *, signs: Iterable[tuple[float, str, str, str]] = ()) -> str:
    """One line of a timeline: its label, and what happened. ``signs``: (instant, class, sign, words), drawn as text."""
    spans = "".join(
        f'<span class="sign {kind}" style="left:{axis.percent(at_s)}" title="{escape(text)}">{sign}</span>'
        for at_s, kind, sign, text in signs
    )
    inside = axis.background() + drawn + axis.foreground()
    named, tall = " named" if label.startswith("<b>") else "", " tall" if spans else ""
    track = f'<div class="track{tall}">{_svg("", inside)}{spans}</div>'
    return f'<div class="row"><div class="label{named}">{label}</div>{track}</div>'


def rows(name: str, axis: Axis, inside: Iterable[str]) -> str:
    """A timeline of rows with one axis below them."""
    below = f'<div class="row"><div class="label"></div><div class="track axis">{axis.labels()}</div></div>'
    return f'<div class="timeline" data-chart="{escape(name)}">{"".join(inside)}{below}</div>'


def legend(*entries: tuple[str, str]) -> str:
    """(class of the sample, words) of each kind of mark."""
    keys = "".join(f'<span class="key"><i class="{kind}"></i>{words}</span>' for kind, words in entries)
    return f'<p class="legend">{keys}</p>'
