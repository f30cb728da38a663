"""HTML in Python: everything is escaped unless it is ``Markup``; numbers carry where they come from.

A number is ``<data value=… data-from=… data-how=… data-as=…>``: ``data-as`` names the form (``forms.FORMS``) in which
``value`` is written. A text of a file is ``<span data-from=…>``. So whatever a page says can be traced by a program.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from tunesmith.report.documents import Traced
from tunesmith.report.forms import FORMS

Child = str | Markup | None
VOID = frozenset({"meta", "br", "hr", "img", "input"})


def tag(element: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """``<element …>children</element>``; ``class_="x"`` writes ``class``, ``data_from`` ``data-from``, None nothing."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in VOID:
        return Markup(f"<{element}{written}>")
    inside = "".join(escape(child) for child in children if child is not None)
    return Markup(f"<{element}{written}>{inside}</{element}>")


def join(children: Iterable[Child], between: str = "") -> Markup:
    """Children one after the other."""
    return Markup(escape(between)).join(escape(child) for child in children if child is not None)


def number(found: Traced | None, form: str = "plain", *, absent: str = "–", class_: str | None = None) -> Markup:
    """A traced number written as ``form``; ``absent`` where there is none."""
    if found is None:
        return tag("span", absent, class_="absent")
    how = None if found.how == "value" else found.how
    return tag(
        "data",
        FORMS[form](found.value),
        value=repr(found.value) if isinstance(found.value, float) else str(found.value),
        data_from=" ".join(found.sources),
        data_how=how,
        data_as=form,
        class_=class_,
    )


def text(found: Traced | None, *, absent: str = "–", name: str = "span") -> Markup:
    """A traced text, as it stands in its file."""
    if found is None:
        return tag("span", absent, class_="absent")
    return tag(name, str(found.value), data_from=" ".join(found.sources))


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], *, class_: str = "") -> Markup:
    """A table with a header that repeats on every printed page; wide ones scroll inside their own box."""
    columns = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    lines = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("div", tag("table", columns, tag("tbody", *lines), class_=class_ or None), class_="scroll")


def facts(rows: Iterable[tuple[Child, Child]]) -> Markup:
    """Names and values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows), class_="facts")


def more(summary: Child, *body: Child) -> Markup:
    """Details that open on a click, and are open on paper."""
    return tag("details", tag("summary", summary), tag("div", *body))
