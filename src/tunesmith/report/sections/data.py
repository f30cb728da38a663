"""The data: where every row went, sources, and why rows were lost."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from tunesmith.report import charts
from tunesmith.report.documents import Documents, pointer
from tunesmith.report.markup import Child, join, more, number, table, tag, text
from tunesmith.report.markup import facts as fact_list
from tunesmith.report.page import Section
from tunesmith.report.plots import Frame
from tunesmith.report.run_facts import RunFacts

COLOURS = {"kept": "s1", "cut": "s5", "split": "s3", "dropped": "bad"}


def data(facts: RunFacts) -> Section | None:
    """The ledger of a run; of the last stage that has one of its own."""
    file = facts.newest("ledger.json")
    if file not in facts.documents:
        return None
    return Section("data", "What it was trained on", ledger(facts.documents, file), "Where every row of the data went.")


def ledger(documents: Documents, file: str) -> Markup:
    """Pictures and tables of the ledger in ``file`` of ``documents``."""
    return join(
        [_pictures(documents, file), _counts(documents, file), _sources(documents, file), *_lost(documents, file)]
    )


def _pictures(documents: Documents, file: str) -> Markup:
    rows = [(name, float(documents.get(file, name) or 0), colour) for name, colour in COLOURS.items()]
    whole = documents.get(file, "tokens", "train") or 0
    trained = documents.get(file, "trained_tokens", "train") or 0
    tokens = [("read only", float(whole - trained), "s6"), ("targets of the loss", float(trained), "s1")]
    return tag(
        "div",
        charts.split(rows, Frame("Rows", f"{file}#/rows")),
        charts.split(tokens, Frame("Tokens of the training rows", f"{file}#/tokens")) if whole else None,
        class_="pictures",
    )


def _counts(documents: Documents, file: str) -> Markup:
    def one(*keys: str) -> Markup:
        return number(documents.traced(file, *keys))

    share = documents.made("ratio", pointer(file, "trained_tokens", "train"), pointer(file, "tokens", "train"))
    return fact_list(
        [
            ("rows read", one("rows")),
            ("kept whole", one("kept")),
            ("cut, split", join([one("cut"), ", ", one("split")])),
            ("dropped", one("dropped")),
            ("sequences to train on", one("sequences", "train")),
            ("sequences held out", one("sequences", "validation")),
            ("tokens to train on", one("tokens", "train")),
            ("of them targets of the loss", number(share, "percent")),
        ]
    )


def _sources(documents: Documents, file: str) -> Markup | None:
    sources = documents.get(file, "sources")
    if not sources:
        return None
    rows: list[tuple[Child, ...]] = []
    for place, source in enumerate(sources):
        at = (file, "sources", place)
        use = "held out" if source.get("validation") else "training"
        counts = (number(documents.traced(*at, name)) for name in ("rows", "kept", "dropped"))
        rows.append(
            (text(documents.traced(*at, "path"), name="code"), text(documents.traced(*at, "format")), use, *counts)
        )
    return tag("h3", "Sources") + table(("source", "format", "for", "rows", "kept", "dropped"), rows)


def _lost(documents: Documents, file: str) -> Iterator[Markup]:
    for key, title in (("reasons", "Rows that are not simply kept"), ("notes", "Besides")):
        found = documents.get(file, key)
        if found:
            rows = [
                (tag("span", name, data_key_of=pointer(file, key)), number(documents.traced(file, key, name)))
                for name in found
            ]
            yield tag("h3", title) + table(("why", "rows"), rows)
    examples = documents.get(file, "examples")
    if examples:
        lines = [
            (
                tag("span", reason, data_key_of=pointer(file, "examples")),
                number(documents.traced(file, "examples", reason, place, "line")),
                text(documents.traced(file, "examples", reason, place, "text")),
            )
            for reason, some in examples.items()
            for place in range(len(some))
        ]
        yield more("Examples of them", table(("why", "line", "row"), lines))
