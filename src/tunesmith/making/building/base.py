"""What builders share: each parent becomes rows by itself, with the others in view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.candidates import asked
from tunesmith.data.chunks import group_of
from tunesmith.data.formats.base import BadRow
from tunesmith.data.sides import origin_of
from tunesmith.making.base import Builder, Made, Making, Parent, Work

AT_ONCE = 1000


class RowBuilder(Builder):
    """Base of builders whose units are the parents."""

    def prepared(self, parents: Sequence[Parent]) -> Any:
        """What ``build`` needs of all parents: made once, before the first row. Raises ``UserError``."""

    def build(self, parent: Parent, number: int, prepared: Any) -> Made:
        """What comes of parent ``number``; a ``BadRow`` is a reason why nothing does."""
        raise NotImplementedError

    def ready(self, work: Work) -> Making:
        """Every parent in turn."""
        prepared = self.prepared(work.parents)

        def make(numbers: Sequence[int]) -> list[Made]:
            return [self._built(work.parents[number], number, prepared) for number in numbers]

        return Making(len(work.parents), make, lambda number: _said(work.parents[number]), together=AT_ONCE)

    def _built(self, parent: Parent, number: int, prepared: Any) -> Made:
        try:
            return self.build(parent, number, prepared)
        except BadRow as bad:
            return Made(dropped=[str(bad)])


def answered(parent: Parent) -> tuple[tuple[Message, ...], Message]:
    """The conversation up to its last answer, and that; ``BadRow`` where it ends otherwise."""
    messages = parent.record.messages or ()
    if not messages or messages[-1].role != "assistant" or not messages[-1].content.strip():
        raise BadRow("the row is no conversation that ends with an answer")
    return asked(parent.record), messages[-1]


def group(parent: Parent) -> int:
    """What rows with the same question have in common."""
    return group_of(parent.record, None)


def kin(parent: Parent) -> frozenset[int]:
    """What tells on a row's answer: its question, and the row that it was first made from."""
    origin = origin_of(parent.record.meta.get("made"))
    return frozenset({group(parent)} if origin is None else {group(parent), origin})


def question_text(record: Record) -> str:
    """What is asked last, or the text."""
    if record.text is not None:
        return record.text
    return next((turn.content for turn in reversed(asked(record)) if turn.role == "user"), "")


def _said(parent: Parent) -> str:
    return parent.record.text if parent.record.text is not None else parent.text
