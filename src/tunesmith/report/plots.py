"""Pictures for pages, drawn by matplotlib as SVG whose colours are the page's own (CSS variables).

Every colour that is drawn with is a mark that stands for a variable, so one picture is right in light, in dark and on
paper. Text stays text: it can be searched, selected and read aloud. The trap: widths are laid out with another font
than the page's, so nothing may depend on where a text ends.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tunesmith.errors import UserError
from tunesmith.report.markup import Child, tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = tuple(f"s{number}" for number in range(1, 7))
MARKS: Mapping[str, str] = {
    **{name: f"#0a0b0{number}" for number, name in enumerate(SERIES, start=1)},
    "ink": "#0a0c01",
    "muted": "#0a0c02",
    "rule": "#0a0c03",
    "surface": "#0a0c04",
    "good": "#0a0c05",
    "bad": "#0a0c06",
    "cell": "#0a0c07",
    "warn": "#0a0c08",
}
"""Variable of the style sheet -> the colour that stands for it while drawing."""
WIDE, HALF = (8.6, 2.7), (4.5, 2.5)
"""Inches: across the page, and two beside each other; texts are of one size in both."""
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_RC: Any = {
    "svg.hashsalt": "tunesmith",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.edgecolor": MARKS["rule"],
    "axes.labelcolor": MARKS["muted"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
    "grid.color": MARKS["rule"],
    "grid.linewidth": 0.6,
    "text.color": MARKS["ink"],
    "xtick.color": MARKS["muted"],
    "ytick.color": MARKS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Frame:
    """What stands around a drawing; ``source`` names the files (and keys) it is drawn from."""

    title: str
    source: str
    note: Child = None
    wide: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Inches."""
        return WIDE if self.wide else HALF


@contextmanager
def canvas(size: tuple[float, float] = HALF) -> Iterator[tuple[Figure, Axes]]:
    """A figure to draw on with colours of ``MARKS``; ``UserError`` where the library is missing."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "pictures need the package matplotlib",
            hint="Install it with: pip install 'tunesmith[report]'",
            code="missing-extra",
        ) from error
    with rc_context(_RC):
        figure = Figure(figsize=size, layout="constrained")
        figure.patch.set_alpha(0)
        yield figure, figure.add_subplot()


def level(share: float) -> str:
    """The colour of a cell: 0 is empty, 1 full; below 0 in the opposite colour (down to -1)."""
    return f"#{'c1' if share < 0 else 'c0'}ff{round(100 * min(1.0, abs(share))):02x}"


def picture(figure: Figure, frame: Frame, keys: Sequence[tuple[str, str]] = ()) -> Markup:
    """The figure of a page: title, ``keys`` (colour name, words), the drawing."""
    caption = [tag("span", frame.title)]
    if keys:
        caption.append(tag("span", *(tag("span", words, class_=f"key {name}") for name, words in keys), class_="keys"))
    return tag(
        "figure",
        tag("figcaption", *caption),
        svg(figure, frame),
        tag("p", frame.note, class_="note") if frame.note else None,
        class_="picture wide" if frame.wide else "picture",
        data_from=frame.source,
    )


def svg(figure: Figure, frame: Frame) -> Markup:
    """The drawing as an element of the page, the same bytes for the same figure; names in it are of its source."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    drawn = re.sub(r"<style.*?</style>", "", drawn, flags=re.S)
    drawn = re.sub(r"<!--.*?-->", "", drawn, flags=re.S)
    drawn = _named_apart(drawn, frame.source)
    drawn = _COLOUR.sub(lambda match: _variable(match.group()), drawn)
    view = re.search(r'viewBox="[^"]*"', drawn)
    assert view is not None
    label = tag("title", frame.title)
    return Markup(
        re.sub(r"<svg[^>]*>", lambda _: f'<svg {view.group()} role="img" fill="none">{label}', drawn, count=1)
    )


def _named_apart(drawn: str, source: str) -> str:
    """Names inside the drawing made its own: many drawings share a page."""
    drawn = re.sub(r' id="(figure|axes|patch|text|line2d|matplotlib|LineCollection|PathCollection)[^"]*"', "", drawn)
    prefix = "p" + hashlib.blake2b(f"{source} {drawn}".encode(), digest_size=4).hexdigest()
    names = sorted(set(re.findall(r'id="([^"]+)"', drawn)))
    numbers = {name: f"{prefix}-{number}" for number, name in enumerate(names)}
    drawn = re.sub(r'id="([^"]+)"', lambda match: f'id="{numbers[match.group(1)]}"', drawn)
    drawn = re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{numbers[match.group(1)]})", drawn)
    return re.sub(r'xlink:href="#([^"]+)"', lambda match: f'href="#{numbers[match.group(1)]}"', drawn)


_NAMES = {mark: name for name, mark in MARKS.items()}


def _variable(colour: str) -> str:
    if colour in _NAMES:
        return f"var(--{_NAMES[colour]})"
    if colour.startswith(("#c0ff", "#c1ff")):
        hue = "heat" if colour.startswith("#c0") else "cool"
        return f"color-mix(in oklab, var(--{hue}) {int(colour[-2:], 16)}%, var(--cell))"
    raise AssertionError(f"a picture was drawn with {colour}, which stands for no variable")
