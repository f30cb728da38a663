"""How cost grows with one number: exponents fitted to measured points, what theory says, and a picture.

    cost ≈ c · xᵃ        a = slope of the least-squares line through (log x, log cost)

Theory for time is the same fit through the useful operations that ``models.flops`` counts at these points, so that its
constant parts (a head that does not grow, embeddings) bend both alike. Of memory it is the slope between the two
largest points: what every process holds would hide the growth at small ones. The trap: an exponent says how cost grew
between these points and nothing about larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TITLES = {
    "tokens": "tokens an update",
    "rank": "rank of LoRA",
    "layers": "layers",
    "length": "length of a sequence",
    "vocabulary": "vocabulary",
    "adapters": "adapters of a sweep",
}
MEMORY_THEORY = {
    "tokens": "1, 0 once a micro-batch is full",
    "rank": "0 to 1: adapter, gradient and moments",
    "layers": "1",
    "length": "1: no matrix of scores",
    "vocabulary": "1: the embedding",
    "adapters": "0: one at a time",
}
"""What grows, in powers of what is varied."""


@dataclass(frozen=True)
class Curve:
    """Costs at ``x``, and their exponents."""

    name: str
    x: Sequence[float]
    seconds: Sequence[float]
    bytes: Sequence[float]
    """Above the floor of imports."""
    time_exponent: float
    time_theory: str
    memory_exponent: float

    @property
    def title(self) -> str:
        """In words."""
        return TITLES[self.name]

    @property
    def memory_theory(self) -> str:
        """In words."""
        return MEMORY_THEORY[self.name]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the least-squares line through the logarithms of ``x`` and ``y``, all above 0."""
    across, up = [math.log(value) for value in x], [math.log(value) for value in y]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    spread = sum((one - middle) ** 2 for one in across)
    return sum((one - middle) * (other - height) for one, other in zip(across, up, strict=True)) / spread


def curves_of(report: Mapping[str, Any]) -> list[Curve]:
    """The curves of ``scaling.json`` that have at least three points."""
    found = [(name, report["curves"].get(name, [])) for name in TITLES]
    return [curve_of(name, points, report["floor_bytes"]) for name, points in found if len(points) > 2]


def curve_of(name: str, points: Sequence[Mapping[str, float]], floor: float) -> Curve:
    """A curve of its points; theory is 1 where operations are not counted (every adapter is a training)."""
    x, seconds = [point["x"] for point in points], [point["cpu"] for point in points]
    held = [max(1.0, point["peak"] - floor) for point in points]
    counted = all("flops" in point for point in points)
    theory = exponent(x, [point["flops"] for point in points]) if counted else 1.0
    return Curve(name, x, seconds, held, exponent(x, seconds), f"{theory:.2f}", exponent(x[-2:], held[-2:]))


def picture_of(curve: Curve) -> str:
    """Seconds and gigabytes over what is varied, both on logarithmic axes, as an SVG element."""
    from tunesmith.report import plots

    with plots.canvas(plots.WIDE) as (figure, axes):
        axes.loglog(curve.x, curve.seconds, color=plots.MARKS["s1"], marker="o", markersize=3.6, label="seconds of CPU")
        axes.loglog(
            curve.x, [one / 1e9 for one in curve.bytes], color=plots.MARKS["s2"], marker="o", markersize=3.6, label="GB"
        )
        axes.minorticks_off()
        axes.set_xticks(list(curve.x), [f"{value:,.0f}" for value in curve.x])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(curve.title)
        axes.legend(frameon=False, fontsize=7)
        return str(plots.svg(figure, plots.Frame(f"Cost of {curve.title}", f"scaling: {curve.name}", wide=True)))
