"""Other wordings around the same task: templates around the question, task descriptions in front of it.

A model that saw a task in one wording only answers to that wording (Longpre et al. 2023, The Flan Collection, arXiv
2301.13688, section 3). The answer stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from tunesmith.contracts.data import Message
from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder
from tunesmith.making.changing import last_question
from tunesmith.making.rows import same_row
from tunesmith.making.texts import SHIPPED, filled, read_lists


class Wordings(RowBuilder):
    """Ask the same in other wordings: templates around instructions, and task descriptions before them."""

    NAME: ClassVar[str] = "wordings"
    paper: ClassVar[str] = "Longpre et al. 2023, The Flan Collection (arXiv 2301.13688)"

    variants: Count = 1
    """Other wordings for each row."""
    keep: bool = True
    """Whether the row itself is written as well, before its variants."""
    templates: str = SHIPPED
    """A YAML file with a list of `templates`, and one of `descriptions` where there are any."""
    descriptions: list[str] = []
    """Descriptions of the task, of which every variant gets one: `["You label reviews.", "You read film reviews."]`."""
    place: Literal["system", "front"] = "system"
    """Where a description goes: the `system` prompt (before one that is there), or in `front` of the question."""

    def prepared(self, parents: Sequence[Parent]) -> list[str]:
        """The templates; with descriptions alone the task keeps its words."""
        if self.descriptions and self.templates == SHIPPED:
            return ["{text}"]
        return list(read_lists(self.templates, "wordings.yaml", {"templates": ()})["templates"])

    def build(self, parent: Parent, number: int, prepared: list[str]) -> Made:
        """The row and its variants."""
        record = parent.record
        place = last_question(record)
        if place is None or record.messages is None:
            raise BadRow("the row asks nothing")
        turn = record.messages[place]
        fitting = [one for one in range(len(prepared)) if "{input}" not in prepared[one] or turn.extra.get("input")]
        drawn = self.random(number)
        ways = [(one, other) for one in fitting for other in range(max(1, len(self.descriptions)))]
        chosen = drawn.sample(ways, min(self.variants, len(ways)))
        rows = [same_row(parent, record, {**parent.origin(self.NAME), "template": 0})] if self.keep else []
        for template, described in chosen:
            parts = {name: str(turn.extra.get(name) or "") for name in ("instruction", "input")}
            parts["instruction"] = parts["instruction"] or turn.content
            text = filled(prepared[template], text=turn.content, **parts)
            messages = list(record.messages)
            messages[place] = replace(turn, content=text, extra={})
            made = {**parent.origin(self.NAME), "template": template + 1}
            if self.descriptions:
                messages = _described(messages, place, self.descriptions[described], self.place)
                made["description"] = described + 1
            rows.append(same_row(parent, replace(record, messages=tuple(messages)), made))
        return Made(rows, dropped=[] if chosen else ["no template fits the row"])


def _described(messages: list[Message], place: int, text: str, where: str) -> list[Message]:
    if where == "front":
        asked = messages[place]
        messages[place] = replace(asked, content=f"{text}\n\n{asked.content}")
        return messages
    if messages[0].role == "system":
        return [replace(messages[0], content=f"{text}\n\n{messages[0].content}"), *messages[1:]]
    return [Message("system", text), *messages]
