"""The kinds of picture a page needs: curves, changes with intervals, bars, a split bar, heat maps, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tunesmith.report import plots
from tunesmith.report.plots import MARKS, SERIES, WIDE, Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = Sequence[float]


@dataclass(frozen=True)
class Curve:
    """``y`` over ``x``; ``faint`` for what is only the noise behind another curve, ``dots`` for a few measurements."""

    name: str
    x: Numbers
    y: Numbers
    faint: bool = False
    dots: bool = False
    colour: str | None = None
    """One of ``MARKS``; by default the next of the series."""


@dataclass(frozen=True)
class Change:
    """A figure before and after, each with its interval where it has one (``(value, low, high)``)."""

    name: str
    before: tuple[float, float | None, float | None] | None
    after: tuple[float, float | None, float | None]
    verdict: str = ""
    """``better`` and ``worse`` colour it."""


AFTER = (
    ("muted", "before"),
    ("good", "after, better"),
    ("bad", "after, worse"),
    ("s6", "after, neither better nor worse"),
)


def curves(
    found: Sequence[Curve],
    frame: Frame,
    *,
    x: str = "update",
    y: str = "",
    log: bool = False,
    zero: bool = False,
    at: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Curves over one axis; ``at`` marks places of it with words."""
    with plots.canvas(frame.size) as (figure, axes):
        colours = iter(SERIES * 4)
        keys = []
        for curve in found:
            colour = curve.colour or next(colours)
            keys += [(colour, curve.name)]
            style: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.35} if curve.faint else {"linewidth": 1.6}
            dot: dict[str, Any] = {
                "marker": "o",
                "markersize": 3.6,
                "markeredgecolor": MARKS["surface"],
                "markeredgewidth": 0.8,
            }
            axes.plot(curve.x, curve.y, color=MARKS[colour], **style, **(dot if curve.dots else {}))
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        for number, (place, words) in enumerate(at):
            axes.axvline(place, color=MARKS["muted"], linewidth=0.8, dashes=(3, 2))
            axes.annotate(
                words, (place, 1 - 0.11 * number), xycoords=("data", "axes fraction"), xytext=(4, -7),
                textcoords="offset points", color=MARKS["muted"], fontsize=7,
            )  # fmt: skip
        axes.set_xlabel(x)
        if y:
            axes.set_title(y, loc="left", fontsize=7.5, color=MARKS["muted"])
        axes.margins(x=0.01)
        if zero:
            axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        shown = keys if len(found) > 1 else []
        return plots.picture(figure, frame, shown)


def changes(found: Sequence[Change], frame: Frame, *, shares: bool = False) -> Markup:
    """A line a figure: a hollow dot before, a full one after, their intervals as bars."""
    with plots.canvas((WIDE[0], 0.62 + 0.36 * len(found))) as (figure, axes):
        for place, change in enumerate(reversed(found)):
            colour = {"better": MARKS["good"], "worse": MARKS["bad"]}.get(change.verdict, MARKS["s6"])
            value, low, high = change.after
            if change.before is not None:
                old, least, most = change.before
                axes.plot([old, value], [place, place], color=colour, linewidth=1, alpha=0.45)
                _whisker(axes, place + 0.13, least, most, MARKS["muted"])
                axes.plot([old], [place], "o", markersize=6, color=MARKS["surface"], markeredgecolor=MARKS["muted"])
            _whisker(axes, place - 0.13, low, high, colour)
            axes.plot([value], [place], "o", markersize=6.5, color=colour)
        axes.set_yticks(range(len(found)), [change.name for change in reversed(found)], color=MARKS["ink"])
        axes.set_ylim(-0.6, len(found) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.04)
        if shares:
            axes.set_xlim(-0.02, 1.02)
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        seen = {"muted"} | {{"better": "good", "worse": "bad"}.get(change.verdict, "s6") for change in found}
        return plots.picture(figure, replace(frame, wide=True), [key for key in AFTER if key[0] in seen])


def bars(names: Sequence[str], groups: Sequence[tuple[str, Numbers]], frame: Frame, *, x: str = "") -> Markup:
    """Horizontal bars, a row a name; several ``groups`` (``name, values``) stand below each other in a row."""
    height = 0.55 + len(names) * max(0.24, 0.15 * len(groups) + 0.06)
    with plots.canvas((frame.size[0], height)) as (figure, axes):
        thick = 0.72 / len(groups)
        for number, (_, values) in enumerate(groups):
            places = [len(names) - 1 - row + 0.36 - thick * (number + 0.5) for row in range(len(names))]
            axes.barh(places, list(values), height=thick * 0.92, color=MARKS[SERIES[number % len(SERIES)]])
        axes.set_yticks(range(len(names)), list(reversed(names)), color=MARKS["ink"])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        if x:
            axes.set_xlabel(x)
        keys = [(SERIES[number % len(SERIES)], name) for number, (name, _) in enumerate(groups)]
        return plots.picture(figure, frame, keys if len(groups) > 1 else [])


def points(found: Sequence[tuple[str, float, float]], frame: Frame, *, x: str, y: str) -> Markup:
    """A dot for each ``(name, x, y)``, in the colours of the series."""
    with plots.canvas(frame.size) as (figure, axes):
        keys = []
        for number, (name, one, other) in enumerate(found):
            colour = SERIES[number % len(SERIES)]
            axes.plot([one], [other], "o", markersize=8, color=MARKS[colour], markeredgecolor=MARKS["surface"])
            keys.append((colour, name))
        axes.margins(0.15)
        axes.set_xlabel(x)
        axes.set_title(y, loc="left", fontsize=7.5, color=MARKS["muted"])
        return plots.picture(figure, frame, keys)


def split(parts: Sequence[tuple[str, float, str]], frame: Frame) -> Markup:
    """One bar cut into ``(name, size, colour)``: where everything went."""
    with plots.canvas((WIDE[0], 0.42)) as (figure, axes):
        left = 0.0
        for _, size, colour in parts:
            axes.barh([0], [size], left=left, height=0.8, color=MARKS[colour], edgecolor=MARKS["surface"], linewidth=1)
            left += size
        axes.set_axis_off()
        axes.margins(x=0, y=0.05)
        keys = [(colour, name) for name, size, colour in parts if size]
        return plots.picture(figure, replace(frame, wide=True), keys)


def heat(
    values: Sequence[Numbers],
    rows: Sequence[str],
    columns: Sequence[str],
    frame: Frame,
    *,
    written: bool = True,
    top: float | None = None,
) -> Markup:
    """Cells coloured from 0 to ``top`` (the largest), the opposite colour below 0; numbers in them if ``written``."""
    from matplotlib.patches import Rectangle

    top = top or max((abs(value) for line in values for value in line), default=0.0) or 1.0
    with plots.canvas((frame.size[0], 0.75 + (0.23 if written else 0.15) * len(rows))) as (figure, axes):
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                axes.add_patch(Rectangle((column, row), 1, 1, facecolor=plots.level(value / top), linewidth=0))
                if written:
                    axes.text(
                        column + 0.5, row + 0.52, f"{value:.2g}", ha="center", va="center", fontsize=6.5,
                        color=MARKS["surface"] if abs(value) / top > 0.62 else MARKS["ink"],
                    )  # fmt: skip
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        turned: dict[str, Any] = (
            {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if max(map(len, columns)) > 4 else {}
        )
        axes.set_xticks([place + 0.5 for place in range(len(columns))], columns, fontsize=7, **turned)
        axes.set_yticks([place + 0.5 for place in range(len(rows))], rows, fontsize=7)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        return plots.picture(figure, frame)


def histogram(
    groups: Sequence[tuple[str, Numbers]], frame: Frame, *, x: str, bins: int = 30, zero: bool = False
) -> Markup:
    """How often which value occurs, each of ``groups`` (``name, values``) over the same bins."""
    with plots.canvas((frame.size[0], 1.9)) as (figure, axes):
        everything = [value for _, values in groups for value in values]
        span = (min(everything), max(everything)) if everything else (0.0, 1.0)
        keys = []
        for number, (name, values) in enumerate(groups):
            colour = SERIES[number % len(SERIES)]
            axes.hist(
                list(values), bins=bins, range=span, color=MARKS[colour], alpha=0.75 if len(groups) > 1 else 1.0,
                edgecolor=MARKS["surface"], linewidth=0.5,
            )  # fmt: skip
            keys.append((colour, name))
        if zero:
            axes.axvline(0, color=MARKS["muted"], linewidth=0.8, dashes=(3, 2))
        axes.set_xlabel(x)
        axes.grid(visible=False, axis="x")
        return plots.picture(figure, frame, keys if len(groups) > 1 else [])


def _whisker(axes: Axes, place: float, low: float | None, high: float | None, colour: str) -> None:
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=2.4, alpha=0.6, solid_capstyle="butt")
