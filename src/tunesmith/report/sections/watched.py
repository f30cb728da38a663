"""The answers to a few held-out prompts at every evaluation of the training: what changed, and when."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from tunesmith.report.documents import Traced
from tunesmith.report.markup import join, number, table, tag, text
from tunesmith.report.page import Section
from tunesmith.report.run_facts import RunFacts
from tunesmith.report.sections.samples import question, text_in

EVENTS = "events.jsonl"
SHOWN = 10
"""Evaluations in a table: the first, the last, and others spread between them."""


def watched(facts: RunFacts) -> Section | None:
    """A table for every stage: a column a prompt, a row an evaluation."""
    found = [
        join([tag("h3", stage) if stage else None, table_of])
        for stage, file in facts.each(EVENTS)
        if (table_of := _table(facts, file)) is not None
    ]
    lead = "The same few held-out questions at every evaluation. Grey: the answer did not change."
    return Section("watched", "Its answers while it learned", join(found), lead) if found else None


def chosen(count: int, shown: int = SHOWN) -> list[int]:
    """At most ``shown`` of ``count`` places, the first and the last among them, evenly spread."""
    if count <= shown:
        return list(range(count))
    return [round(place * (count - 1) / (shown - 1)) for place in range(shown)]


def _table(facts: RunFacts, file: str) -> Markup | None:
    events = facts.documents.files[file]
    # a run that began anew before its first checkpoint told its first answers twice
    last = {event["step"]: place for place, event in enumerate(events) if event["kind"] == "samples"}
    places = [place for _, place in sorted(last.items())]
    if not places:
        return None
    prompts = range(len(events[places[0]]["answers"]))

    def said(place: int, prompt: int, key: str) -> Traced | None:
        return facts.documents.traced(file, place, "answers", prompt, key)

    def asked(prompt: int) -> Markup:
        found = said(places[0], prompt, "prompt")
        assert found is not None
        return text_in(Traced(question(str(found.value)), found.sources), "span")

    rows: list[Sequence[Markup | str]] = []
    wanted = [said(places[0], prompt, "reference") for prompt in prompts]
    if any(one is not None and one.value for one in wanted):
        rows.append(("wanted", *(text(one) for one in wanted)))
    before: list[str | None] = [None for _ in prompts]
    for place in (places[one] for one in chosen(len(places))):
        answers = [said(place, prompt, "answer") for prompt in prompts]
        cells = [
            _cell(one, same=one is not None and one.value == old) for one, old in zip(answers, before, strict=True)
        ]
        rows.append(
            (tag("span", "update ", number(facts.documents.traced(file, place, "step")), class_="quiet"), *cells)
        )
        before = [None if one is None else one.value for one in answers]
    return table(("", *(asked(prompt) for prompt in prompts)), rows)


def _cell(said: Traced | None, *, same: bool) -> Markup:
    if said is None or not said.value:
        return tag("span", "nothing", class_="absent")
    return tag("span", text(said), class_="absent") if same else text(said)
