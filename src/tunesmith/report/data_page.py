"""The page about data: how much of it, how long, in what languages, what stands twice, and what is lost and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tunesmith.report import charts
from tunesmith.report.documents import Documents, pointer
from tunesmith.report.markup import Child, join, more, number, tag, text
from tunesmith.report.page import Section, page
from tunesmith.report.plots import Frame
from tunesmith.report.sections.data import ledger

BARS = 20
"""Most bars of a picture."""
SHOWN = 4
"""Pairs that are shown at once."""
ALIKE = 0.95
"""From this cosine on an evaluation row counts as nearly the same as a training row."""


@dataclass(frozen=True)
class DataFacts:
    """The document ``file`` of ``documents`` (``portrait`` and, of prepared rows, ``tokens``), and the ``ledger``'s."""

    documents: Documents
    file: str
    ledger: str

    def get(self, *keys: str | int) -> Any:
        """A plain value."""
        return self.documents.get(self.file, *keys)

    def at(self, *keys: str | int) -> str:
        """The source of a value, in words."""
        return pointer(self.file, *keys)

    def number(self, *keys: str | int, form: str = "plain") -> Markup:
        """A value as a number that names its source."""
        return number(self.documents.traced(self.file, *keys), form)

    def text(self, *keys: str | int, name: str = "span") -> Markup:
        """A value as a text that names its source."""
        return text(self.documents.traced(self.file, *keys), name=name)


def data_page(name: str, found: DataFacts) -> str:
    """The whole HTML file about the rows called ``name``."""
    sections = [section for make in SECTIONS if (section := make(found)) is not None]
    files = (tag("code", found.file), tag("code", found.ledger))
    foot = tag("p", Markup("Made by Tunesmith from {} and {}. It loads nothing from elsewhere.").format(*files))
    return page(name, _top(found), sections, eyebrow="Tunesmith · data report", foot=foot)


def _top(found: DataFacts) -> Markup:
    sentences = list(_sentences(found))
    kind = "good" if len(sentences) == 1 else "warn"
    badge = "nothing stands out" if kind == "good" else "look closer"
    verdict = tag(
        "div",
        tag("p", tag("span", badge, class_=f"badge {kind}")),
        tag("p", sentences[0], class_="big"),
        *(tag("p", sentence) for sentence in sentences[1:]),
        class_=f"verdict {kind}",
    )
    tiles = [
        _tile("rows to train on", found.number("portrait", "rows", "train")),
        _tile("rows to evaluate on", found.number("portrait", "rows", "evaluation")),
        _tile("rows lost on the way", number(found.documents.traced(found.ledger, "dropped"))),
        _tile("say what an earlier one says", found.number("portrait", "duplicates", "exact")),
        _tile("say nearly the same", found.number("portrait", "duplicates", "near")),
    ]
    return verdict + tag("div", *tiles, class_="tiles")


def _tile(name: str, value: Markup) -> Markup:
    return tag("div", tag("div", name, class_="name"), tag("div", value, class_="value"), class_="tile")


def _sentences(found: DataFacts) -> Iterator[Child]:
    """What stands out; one sentence where nothing does."""
    sampled, rows = found.get("portrait", "sampled", "train") or 0, found.get("portrait", "rows", "train") or 0
    twice = (found.get("portrait", "duplicates", "exact") or 0) + (found.get("portrait", "duplicates", "near") or 0)
    alike = found.get("portrait", "neighbours", "alike") or []
    lost, whole = (found.documents.get(found.ledger, key) or 0 for key in ("dropped", "rows"))
    if not rows:
        yield "No row can be read."
        yield "The reasons are below."
        return
    if twice * 50 > sampled:
        yield "More than one row in fifty says what an earlier row says, or nearly so: see the duplicates."
    else:
        yield "Hardly any row stands here twice."
    if alike and max(alike) > ALIKE:
        yield "Some evaluation rows are nearly the same as a training row: what is measured on them is memory."
    if lost * 10 > whole:
        yield "More than one row in ten is lost: the reasons are below."


def _lengths(found: DataFacts) -> Section | None:
    prompts, answers = found.get("portrait", "words", "prompt"), found.get("portrait", "words", "answer")
    groups = [(name, values) for name, values in (("asked", prompts), ("answered", answers)) if any(values or ())]
    lengths, shares = found.get("tokens", "lengths"), found.get("tokens", "trained_share")
    pictures = []
    if groups:
        groups = [(name, _clipped(values)) for name, values in groups]
        note = "The longest hundredth is drawn at its edge."
        frame = Frame("Words of a row", found.at("portrait", "words"), note=note, wide=not lengths)
        pictures.append(charts.histogram(groups, frame, x="words"))
    if lengths:
        frame = Frame("Tokens of a sequence", found.at("tokens", "lengths"))
        pictures.append(charts.histogram([("tokens", lengths)], frame, x="tokens"))
        frame = Frame("Share of a sequence that is learned", found.at("tokens", "trained_share"))
        pictures.append(charts.histogram([("trained", shares)], frame, x="share of tokens with a loss"))
    body = tag("div", *pictures, class_="pictures")
    return Section("lengths", "How long rows are", body, _lengths_lead(found)) if pictures else None


def _lengths_lead(found: DataFacts) -> Markup | str:
    if found.get("tokens") is None:
        return "In words; a recipe's report counts in tokens of its model."
    return Markup("No sequence may be longer than {} tokens.").format(found.number("tokens", "max_tokens"))


def _clipped(values: Sequence[int]) -> list[int]:
    edge = sorted(values)[max(0, int(0.99 * len(values)) - 1)]
    return [min(value, edge) for value in values]


def _languages(found: DataFacts) -> Section | None:
    counts = found.get("portrait", "languages")
    if not counts:
        return None
    picture = _bars(counts, Frame("Rows by language", found.at("portrait", "languages"), wide=True))
    lead = "By script, and for Latin letters by the small words of seven languages; short texts stay unknown."
    return Section("languages", "Languages", tag("div", picture, class_="pictures"), lead)


def _labels(found: DataFacts) -> Section | None:
    sides = found.get("portrait", "labels") or {}
    if not sides:
        return None
    names = list(sides.get("train") or next(iter(sides.values())))[:BARS]
    words = {"train": "train", "evaluation": "evaluate"}
    groups = [(words[side], [float(counts.get(name, 0)) for name in names]) for side, counts in sides.items()]
    frame = Frame("Rows by label or short answer", found.at("portrait", "labels"), wide=True)
    picture = charts.bars([_cut(name) for name in names], groups, frame, x="rows")
    kinds = [found.number("portrait", "label_kinds", side) for side in sides]
    lead = Markup("{} different labels or short answers; the most frequent are drawn.").format(kinds[0])
    return Section("labels", "Balance of labels", tag("div", picture, class_="pictures"), lead)


def _duplicates(found: DataFacts) -> Section | None:
    pairs = found.get("portrait", "duplicates", "pairs")
    if not pairs:
        return None
    shown = [
        _beside(found, ("portrait", "duplicates", "pairs", place), ("first", "second")) for place in range(len(pairs))
    ]
    words = (
        "Rows that share at least {} of their pairs of words with an earlier one (J), of {} rows that were compared."
    )
    share = found.number("portrait", "duplicates", "threshold", form="percent")
    lead = Markup(words).format(share, found.number("portrait", "sampled", "train"))
    return Section("duplicates", "Duplicates", _few(shown), lead)


def _neighbours(found: DataFacts) -> Section | None:
    alike = found.get("portrait", "neighbours", "alike")
    if not alike:
        return None
    at = ("portrait", "neighbours")
    frame = Frame("Likeness of each evaluation row to its nearest training row", found.at(*at, "alike"), wide=True)
    picture = charts.histogram([("rows", alike)], frame, x="cosine of their words (TF-IDF); 1 is the same row")
    pairs = range(len(found.get(*at, "pairs")))
    shown = [_beside(found, (*at, "pairs", place), ("evaluation", "train")) for place in pairs]
    body = tag("div", picture, class_="pictures") + _few(shown)
    lead = "What is nearly the same on both sides is remembered, not known: the nearest pairs first."
    return Section("neighbours", "Evaluation rows and their nearest training rows", body, lead)


def _ledger(found: DataFacts) -> Section | None:
    if not found.documents.get(found.ledger, "rows"):
        return None
    lead = "Where every row went, and why, with examples."
    return Section("ledger", "What became of the rows", ledger(found.documents, found.ledger), lead)


def _beside(found: DataFacts, at: tuple[str | int, ...], sides: tuple[str, str]) -> Markup:
    """Two rows side by side, under how much they are alike."""
    alike = found.get(*at, "alike")
    head = found.text(*at, "alike") if isinstance(alike, str) else found.number(*at, "alike", form="percent")
    columns = []
    for side in sides:
        place = Markup("{}, line {}").format(found.text(*at, side, "file"), found.number(*at, side, "line"))
        row = found.text(*at, side, "text", name="p")
        columns.append(tag("div", tag("div", place, class_="name"), row, class_="side"))
    return tag("div", tag("p", "alike: ", head, class_="asked"), tag("div", *columns, class_="sides"), class_="answer")


def _few(cards: Sequence[Markup]) -> Markup:
    """The first cards, and the others behind a click."""
    first = tag("div", *cards[:SHOWN], class_="answers")
    return join([first, more("More of them", tag("div", *cards[SHOWN:], class_="answers")) if cards[SHOWN:] else None])


def _bars(counts: dict[str, int], frame: Frame) -> Markup:
    names = list(counts)[:BARS]
    return charts.bars(
        [_cut(name) for name in names], [("rows", [float(counts[name]) for name in names])], frame, x="rows"
    )


def _cut(name: str) -> str:
    return name if len(name) <= 28 else name[:27] + "…"


SECTIONS: tuple[Callable[[DataFacts], Section | None], ...] = (
    _lengths,
    _languages,
    _labels,
    _duplicates,
    _neighbours,
    _ledger,
)
