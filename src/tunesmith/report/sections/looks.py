"""Looks at one prompt: what blocks would say next, how likely each token is, where tokens look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tunesmith.report import charts
from tunesmith.report.charts import Curve
from tunesmith.report.documents import Documents
from tunesmith.report.markup import join, number, table, tag, text
from tunesmith.report.plots import MARKS, WIDE, Frame, canvas, level, picture

MAPS = 2
"""Attention is drawn for the blocks that moved most."""


def lens(documents: Documents, file: str) -> Markup:
    """The logit lens: how likely the wanted token is after each block, and what would be said instead."""
    blocks = documents.files[file]["blocks"]
    x = [block["block"] for block in blocks]
    lines = [
        Curve(side, x, [block[side]["wanted"] for block in blocks], dots=True, colour=colour)
        for side, colour in (("base", "s6"), ("tuned", "s1"))
    ]
    frame = Frame("How likely the answer's first token is, block by block", f"{file}#/blocks", wide=True)
    rows = [
        (
            tag("span", "block ", number(documents.traced(file, "blocks", place, "block"))),
            *(
                join([
                    text(documents.traced(file, "blocks", place, side, "tokens", 0), name="code"), " ",
                    number(documents.traced(file, "blocks", place, side, "probabilities", 0), "percent"),
                ])
                for side in ("base", "tuned")
            ),
        )
        for place in range(len(blocks))
    ]  # fmt: skip
    asked = tag("p", "The token looked for: ", text(documents.traced(file, "wanted"), name="code"))
    drawn = tag("div", charts.curves(lines, frame, x="block", zero=True), class_="pictures")
    return asked + drawn + table(("from the bottom up", "the base would say", "the tuned model would say"), rows)


def tokens(documents: Documents, file: str) -> Markup:
    """Every token of prompt and answer, coloured by how much likelier training made it."""
    found = documents.files[file]
    some = found["tokens"]
    top = max((abs(one["base"] - one["tuned"]) for one in some), default=1.0) or 1.0
    words = [tag("span", text(documents.traced(file, "first")))]
    for place, one in enumerate(some):
        share = (one["base"] - one["tuned"]) / top
        hue = "good" if share > 0 else "bad"
        mix = _tint(hue, abs(share))
        where = "learned" if place >= found["answer_from"] else None
        told = text(documents.traced(file, "tokens", place, "text"))
        words.append(tag("span", told, style=mix, class_=where))
    note = "Green tokens became likelier, red ones less likely; the answer is underlined."
    return tag("p", note, class_="quiet") + tag("p", *words, class_="tokens")


def contributions(documents: Documents, file: str) -> Markup:
    """Every token of the question, coloured by how much worse the answer gets without it."""
    some = documents.files[file]["tokens"]
    top = max((abs(one["tuned"]) for one in some), default=1.0) or 1.0
    words = [
        tag(
            "span",
            text(documents.traced(file, "tokens", place, "text")),
            style=_tint("good" if one["tuned"] > 0 else "bad", abs(one["tuned"]) / top),
        )
        for place, one in enumerate(some)
    ]
    said = tag("p", "The answer looked at: ", text(documents.traced(file, "said")))
    note = "The answer gets worse without green tokens, and better without red ones."
    return said + tag("p", note, class_="quiet") + tag("p", *words, class_="tokens")


def _tint(hue: str, share: float) -> str:
    return f"background: color-mix(in oklab, var(--{hue}) {round(60 * share)}%, transparent)"


def attention(documents: Documents, file: str) -> Markup:
    """How far each head moved, and the maps of the blocks that moved most."""
    blocks = documents.files[file]["blocks"]
    heads = [f"head {number + 1}" for number in range(len(blocks[0]["heads"]))]
    cells = [block["heads"] for block in blocks]
    note = "Jensen-Shannon distance of where it looks, in bits: none to one."
    moved = charts.heat(
        cells,
        [f"block {block['block']}" for block in blocks],
        heads,
        Frame("How far each attention head moved", f"{file}#/blocks", note=note, wide=True),
    )
    most = sorted(blocks, key=lambda block: -sum(block["heads"]))[:MAPS]
    maps = [
        _map(documents.files[file]["tokens"], block, file) for block in sorted(most, key=lambda block: block["block"])
    ]
    return tag("div", moved, *maps, class_="pictures")


def _map(names: list[str], block: Mapping[str, Any], file: str) -> Markup:
    """Two maps beside each other: rows look at columns."""
    from matplotlib.patches import Rectangle

    size = len(names)
    frame = Frame(f"Block {block['block']}: who looks where", f"{file}#/blocks/{block['block']}", wide=True)
    with canvas((WIDE[0], 3.4)) as (figure, axes):
        axes.remove()
        for place, side in enumerate(("base", "tuned")):
            one = figure.add_subplot(1, 2, place + 1)
            for row, line in enumerate(block[side]):
                for column, value in enumerate(line[: row + 1]):
                    if value >= 0.03:
                        colour = level(min(1.0, value))
                        one.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, linewidth=0))
            one.set_xlim(0, size)
            one.set_ylim(size, 0)
            shown = [name.strip() or "·" for name in names]
            ticks = [number + 0.5 for number in range(size)]
            one.set_xticks(ticks, shown, fontsize=4.5, rotation=90)
            one.set_yticks(ticks, shown, fontsize=4.5)
            one.set_title(side, fontsize=8, color=MARKS["muted"], loc="left")
            one.grid(visible=False)
        return picture(figure, frame)
