"""A page: title, what matters first, sections with a list of contents; one HTML file that asks for nothing.

The policy in its head forbids every request and every script, so that a browser itself enforces what is promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup

from tunesmith.report.markup import Child, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Section:
    """``name`` is its place in links (letters, digits, ``-``); ``lead`` one sentence that says what is to be seen."""

    name: str
    title: str
    body: Markup
    lead: Child = None


def page(
    title: str, top: Markup, sections: Sequence[Section], *, eyebrow: Child = "Tunesmith", foot: Child = None
) -> str:
    """The whole file: ``top`` stands above the contents and has to be enough for a reader in a hurry."""
    links = [tag("a", section.title, href=f"#{section.name}") for section in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style())),
    )
    body = tag(
        "body",
        tag("header", tag("p", eyebrow, class_="eyebrow"), tag("h1", title), top),
        tag("nav", *links, aria_label="Contents") if len(links) > 1 else None,
        tag("main", *(_section(one) for one in sections)),
        tag("footer", foot) if foot else None,
    )
    return str(Markup("<!doctype html>\n") + tag("html", head, body, lang="en") + "\n")


def style() -> str:
    """The style sheet of every page."""
    return resources.files("tunesmith.report").joinpath("style.css").read_text(encoding="utf-8")


def _section(section: Section) -> Markup:
    lead = tag("p", section.lead, class_="lead") if section.lead else None
    return tag("section", tag("h2", section.title), lead, section.body, id=section.name)
