"""What a step of curation is, and what it sees of a row.

    row step      look(item) -> None (kept) | Change | Drop               one row at a time, in any process
    batch step    look_at(items) -> [None | Change | Drop]                a chunk at a time, where a model is asked
    set step      choose(items, folder) -> {number of an item: Drop}      all rows once, in their order
    sketch step   sketch(items) -> arrays, pick(sketches) -> {number: Drop}   a set step whose first half is resumable

Items are read as the source's format reads them, so that one step serves conversations, labelled and plain text alike:

    format                         prompt                        answer
    conversation                   all before the last answer    the last answer
    rated answers                  the conversation              the best one
    labelled text                  the text and its pair         the labels
    plain text                     the text                      ""

The trap: a step must depend on nothing but its options and the rows, because its result is kept under their digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from numpy.typing import NDArray
from pydantic import PrivateAttr

from tunesmith.contracts.data import Message, Record
from tunesmith.data.candidates import asked
from tunesmith.data.curate.models import Models
from tunesmith.errors import UserError
from tunesmith.recipe.base import PartConfig

Part = Literal["row", "prompt", "answer"]
"""What of a row is looked at: all its texts, what is asked, or what is answered."""
Arrays = Mapping[str, NDArray[Any]]
"""What a sketch says of the rows of a chunk, each array under its name."""
CHUNK = 1000
"""Rows of a chunk."""


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


@dataclass(frozen=True)
class Mark:
    """A row stays, and the ledger notes ``why`` it was looked at."""

    why: str


class Step(PartConfig):
    """Base of a step's config; its options, with the rows and this code, decide everything it does."""

    _models: Models | None = PrivateAttr(None)

    @property
    def asks_model(self) -> bool:
        """Whether it asks a model, which is opened once and stays in one process."""
        return False

    def with_models(self, models: Models | None) -> Self:
        """The same step, which opens its models by ``models``."""
        copy = self.model_copy()
        copy._models = models
        return copy

    @property
    def models(self) -> Models:
        """What opens models; ``UserError`` (``no-models``) where the step runs outside of a run."""
        if self._models is None:
            raise UserError(
                f"the step {self.NAME} asks a model, and nothing here can open one",
                hint="Use it by `tunesmith data curate`, in a recipe, or pass models=… to curate().",
                code="no-models",
            )
        return self._models

    def ready(self) -> None:
        """Raise ``UserError`` where the step cannot work: a library or a file is missing."""

    def fingerprint(self) -> bytes:
        """Digest of what else decides the result: files that options name, versions of libraries."""
        return b""


class RowStep(Step):
    """A step that judges each row by itself."""

    changes: ClassVar[bool] = False
    """Whether it changes texts: formats that point into a text by characters are then refused."""

    def read_ahead(self, items: Sequence[Item]) -> None:
        """Do at once for ``items``, which are looked at next, what is dear for each alone; nothing by default."""

    def look(self, item: Item) -> Drop | Change | None:
        """What becomes of ``item``; None keeps it as it is."""
        raise NotImplementedError


class BatchStep(Step):
    """A step that judges each row by itself and many at a time, because a model is asked."""

    changes: ClassVar[bool] = False
    """Whether it changes texts (see ``RowStep``)."""

    @property
    def asks_model(self) -> bool:
        """It does."""
        return True

    def look_at(self, items: Sequence[Item]) -> Sequence[Drop | Change | None]:
        """What becomes of each of ``items``."""
        raise NotImplementedError


class SetStep(Step):
    """A step that judges rows beside each other."""

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop | Mark]:
        """The rows that leave or are marked, by their number; ``items`` can be read once, ``folder`` is for working
        files."""
        raise NotImplementedError


class SketchStep(SetStep):
    """A set step in two halves: what matters of each row, chunk by chunk, and the choice among all rows.

    The first half is done by several processes (but where a model is asked) and is found again when it was stopped.
    """

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """What matters of the rows of a chunk; the item numbers are among it."""
        raise NotImplementedError

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop | Mark]:
        """The rows that leave or are marked; ``sketches`` are read from disk each time they are asked for."""
        raise NotImplementedError

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop | Mark]:
        """Both halves at once, in memory."""
        return self.pick([self.sketch(chunk) for chunk in chunks(items)], folder)


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """``items`` in lists of ``size``."""
    rows = iter(items)
    while chunk := list(islice(rows, size)):
        yield chunk
