"""Conversations taken apart: a row for each answer, with the turns before it or with its question alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Made, Parent
from tunesmith.making.building.base import RowBuilder
from tunesmith.making.rows import same_row


class Turns(RowBuilder):
    """Make a row of every answer of a conversation."""

    NAME: ClassVar[str] = "turns"

    history: bool = True
    """Whether the turns before the question stay; without them a later question may ask about nothing."""
    least: int = 1
    """Answers from this one on, counted from 1."""

    def build(self, parent: Parent, number: int, prepared: Any) -> Made:
        """A row an answer, each ending with it."""
        messages = parent.record.messages or ()
        ends = [at for at, message in enumerate(messages) if message.role == "assistant"]
        if parent.record.candidates or not ends:
            raise BadRow("the row is no conversation with answers")
        rows = []
        for turn, end in enumerate(ends, start=1):
            if turn < self.least:
                continue
            first = ends[turn - 2] + 1 if turn > 1 and not self.history else 0
            system = messages[:1] if first and messages[0].role == "system" else ()
            record = replace(parent.record, messages=(*system, *messages[first : end + 1]))
            rows.append(same_row(parent, record, {**parent.origin(self.NAME), "turn": turn, "of": len(ends)}))
        return Made(rows, dropped=[] if rows else [f"it has fewer than {self.least} answers"])
