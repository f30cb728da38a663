"""What `tunesmith inspect` found inside the model, as far as it was asked: pictures of every look that was taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tunesmith.report import charts
from tunesmith.report.charts import Curve
from tunesmith.report.documents import Documents
from tunesmith.report.markup import join, number, table, tag, text
from tunesmith.report.page import Section
from tunesmith.report.plots import Frame
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.sections.looks import attention, contributions, lens, tokens

Picture = Callable[[Documents, str], Markup]


def insight(facts: RunFacts) -> Section | None:
    """A part for each look."""
    parts = []
    for name, (title, draw) in LOOKS.items():
        file = facts.newest(f"insight/{name}.json")
        if file in facts.documents:
            parts.append(tag("h3", title) + draw(facts.documents, file))
    lead = "What training changed inside the model."
    return Section("inside", "Inside the model", join(parts), lead) if parts else None


def _weights(documents: Documents, file: str) -> Markup:
    layers = documents.files[file]["layers"]
    changed = [layer for layer in layers if layer["spectrum"]]
    widest = max(changed, key=lambda layer: layer["change"], default=None)
    pictures = [
        _grid(layers, "change", Frame("How far each weight moved", f"{file}#/layers", wide=True,
              note="Size of the change as a share of the weight's own size."), scale=1.0),
        _grid(layers, "effective_rank", Frame("In how many directions", f"{file}#/layers",
              note="Effective rank of the change.")),
        _grid(layers, "intruders", Frame("Intruder dimensions", f"{file}#/layers",
              note="Strong directions that the base did not have. Many of them go with forgetting.")),
    ]  # fmt: skip
    if widest is not None:
        ranks = list(range(1, len(widest["spectrum"]) + 1))
        frame = Frame(f"Spectrum of the largest change: {widest['name']}", f"{file}#/layers", wide=True)
        lines = [Curve("singular values", ranks, widest["spectrum"], dots=True)]
        pictures.append(charts.curves(lines, frame, x="direction", zero=True))
    return tag("div", *pictures, class_="pictures")


def _importance(documents: Documents, file: str) -> Markup:
    frame = Frame("Where the answers are most sensitive", f"{file}#/layers", wide=True,
                  note="Share of the Fisher information of the trained parameters, on held-out rows.")  # fmt: skip
    return tag("div", _grid(documents.files[file]["layers"], "share", frame), class_="pictures")


def _activations(documents: Documents, file: str) -> Markup:
    blocks = documents.files[file]["blocks"]
    x = [block["block"] for block in blocks]
    source = f"{file}#/blocks"

    def of(key: str) -> list[float]:
        return [float(block[key]) for block in blocks]

    pictures = [
        charts.curves([Curve("similarity", x, of("cka"), dots=True)], Frame("Similarity to the base (CKA)", source,
                      note="Below one: the block holds something else than before."), x="block"),
        charts.curves([Curve("base", x, of("base_norm"), dots=True, colour="s6"),
                       Curve("tuned", x, of("tuned_norm"), dots=True, colour="s1")],
                      Frame("Size of what blocks hold", source), x="block", zero=True),
    ]  # fmt: skip
    if any(block.get("base_silent") or block.get("tuned_silent") for block in blocks):
        names = [f"block {block['block']}" for block in blocks]
        groups = [("base", of("base_silent")), ("tuned", of("tuned_silent"))]
        pictures.append(charts.bars(names, groups, Frame("Silent units of the MLPs", source)))
    return tag("div", *pictures, class_="pictures")


def _influence(documents: Documents, file: str) -> Markup:
    found = documents.files[file]
    question = text(documents.traced(file, "answer"))
    frame = Frame("Training rows by how they bear on this answer", f"{file}#/similarities", wide=True,
                  note="Right of zero: an update on the row makes the answer likelier.")  # fmt: skip
    spread = charts.histogram([("rows", found["similarities"])], frame, x="similarity of gradients", zero=True)
    parts = [tag("p", "The answer looked at: ", question), tag("div", spread, class_="pictures")]
    for key, title in (("helped", "Rows that make it likelier"), ("hindered", "Rows that make it less likely")):
        rows = [
            (
                number(documents.traced(file, key, place, "similarity"), "signed"),
                text(documents.traced(file, key, place, "text")),
                text(documents.traced(file, key, place, "where"), name="code"),
            )
            for place in range(min(4, len(found[key])))
        ]
        if rows:
            parts += [tag("h3", title), table(("similarity", "row", "where"), rows)]
    return join(parts)


def _grid(layers: Sequence[Mapping[str, Any]], key: str, frame: Frame, *, scale: float = 1.0) -> Markup:
    """A map of blocks (down) and kinds of layer (across)."""
    inside = [layer for layer in layers if layer["block"] >= 0]
    kinds = list(dict.fromkeys(layer["kind"] for layer in inside))
    blocks = sorted({layer["block"] for layer in inside})
    values = {(layer["block"], layer["kind"]): scale * float(layer[key]) for layer in inside}
    cells = [[values.get((block, kind), 0.0) for kind in kinds] for block in blocks]
    return charts.heat(cells, [f"block {block}" for block in blocks], kinds, frame)


LOOKS: Mapping[str, tuple[str, Picture]] = {
    "weights": ("Weights", _weights),
    "importance": ("Importance", _importance),
    "activations": ("Activations", _activations),
    "lens": ("When it knows its answer", lens),
    "tokens": ("Token by token", tokens),
    "contributions": ("What the answer hangs on", contributions),
    "attention": ("Attention", attention),
    "influence": ("Which rows moved an answer", _influence),
}
"""Look -> its title and how it is drawn."""
