"""What a step of curation is, and what it sees of a row.

    row step   look(item) -> None (kept) | Change | Drop                 one row at a time, in any process
    set step   choose(items, folder) -> {number of an item: Drop}        all rows once, in their order

Items are read as the source's format reads them, so that one step serves conversations, labelled and plain text alike:

    format                         prompt                        answer
    conversation                   all before the last answer    the last answer
    rated answers                  the conversation              the best one
    labelled text                  the text and its pair         the labels
    plain text                     the text                      ""

The trap: a step must depend on nothing but its options and the rows, because its result is kept under their digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from tunesmith.contracts.data import Message, Record
from tunesmith.data.candidates import asked
from tunesmith.recipe.base import PartConfig

Part = Literal["row", "prompt", "answer"]
"""What of a row is looked at: all its texts, what is asked, or what is answered."""


@dataclass(frozen=True)
class Item:
    """A row on its way: its ``number`` over all sources, its source's number, its columns, and what they say.

    ``columns`` are those of ``value`` that hold text.
    """

    number: int
    source: int
    value: Mapping[str, Any]
    record: Record
    columns: frozenset[str] = frozenset()

    @cached_property
    def prompt(self) -> str:
        """What is asked."""
        record = self.record
        if record.text is not None:
            return record.text if record.pair is None else f"{record.text}\n{record.pair}"
        return "\n".join(message.content for message in asked(record))

    @cached_property
    def answer(self) -> str:
        """What is answered; "" where nothing is."""
        record = self.record
        if record.labels is not None:
            return ", ".join(record.labels)
        if record.candidates:
            return _said(record.candidates[0].messages)
        last = record.messages[-1:] if record.messages else ()
        return last[0].content if last and last[0].role == "assistant" else ""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Everything that is said, in order; the labels of labelled text at the end."""
        record = self.record
        plain = [record.text, record.pair, *record.others, *(record.labels or ())]
        turns = [message.content for message in record.messages or ()]
        rated = [_said(one.messages) for one in record.candidates]
        return tuple(text for text in [*plain, *turns, *rated] if text)

    def of(self, part: Part) -> str:
        """The text of a part; texts of a whole row stand on lines of their own."""
        return {"prompt": lambda: self.prompt, "answer": lambda: self.answer}.get(part, lambda: "\n".join(self.texts))()


def _said(messages: Iterable[Message]) -> str:
    return "\n".join(message.content for message in messages)


@dataclass(frozen=True)
class Drop:
    """A row leaves: ``why`` is the same for all rows like it; ``shown`` is evidence, ``like`` the row that stays."""

    why: str
    shown: str = ""
    like: int | None = None


@dataclass(frozen=True)
class Change:
    """A row goes on with other columns; each of ``notes`` says in a few words what was done."""

    value: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())


class Step(PartConfig):
    """Base of a step's config; its options, with the rows and this code, decide everything it does."""

    def ready(self) -> None:
        """Raise ``UserError`` where the step cannot work: a library or a file is missing."""

    def fingerprint(self) -> bytes:
        """Digest of what else decides the result: files that options name, versions of libraries."""
        return b""


class RowStep(Step):
    """A step that judges each row by itself."""

    changes: ClassVar[bool] = False
    """Whether it changes texts: formats that point into a text by characters are then refused."""

    def look(self, item: Item) -> Drop | Change | None:
        """What becomes of ``item``; None keeps it as it is."""
        raise NotImplementedError


class SetStep(Step):
    """A step that judges rows beside each other."""

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop]:
        """The rows that leave, by their number; ``items`` can be read once, ``folder`` is free for working files."""
        raise NotImplementedError
