"""What makers share: parents, what comes of them, and how the model is asked.

A *parent* is the row that others are made from. Everything that is made carries in its column ``made`` how it was made
and from which line of which file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from tunesmith.contracts.data import Message, Record
from tunesmith.contracts.reward import OpenScorer
from tunesmith.contracts.sampler import Sampling
from tunesmith.data.candidates import asked
from tunesmith.data.formats.base import Format
from tunesmith.errors import UserError
from tunesmith.making.author import Author, Question
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.schema import Part
from tunesmith.seed import derive

Count = Annotated[int, Field(gt=0)]


def _as_parts(given: Any) -> Any:
    given = [given] if isinstance(given, str | dict) else given
    return [{"name": one} if isinstance(one, str) else one for one in given] if isinstance(given, list) else given


Rewards = Annotated[list[Part], BeforeValidator(_as_parts)]
"""One reward or several, each a name or a part."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]

TOO_LONG = "the prompt leaves no room for an answer"
CUT = "the answer was cut off at the most tokens allowed"
EMPTY = "the answer is empty"


@dataclass(frozen=True)
class Parent:
    """A row, and where it stands: ``line`` of ``file``; ``answer`` is what a model said to it, where one was asked."""

    record: Record
    file: str
    line: int
    answer: str | None = None
    form: Format | None = None
    """The format it was read in, where it was read from a file."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation up to the answer."""
        return asked(self.record)

    @property
    def text(self) -> str:
        """The same as a person reads it."""
        return "\n".join(message.content for message in self.messages)

    @property
    def place(self) -> str:
        """``rows.jsonl:12``."""
        return f"{Path(self.file).name}:{self.line}"

    def origin(self, how: str) -> dict[str, Any]:
        """What is said of a row made from it: the maker, the file, the line, and the row's own id where it has one."""
        found = {"how": how, "file": Path(self.file).name, "line": self.line}
        identity, before = self.record.meta.get("id"), self.record.meta.get("made")
        found |= {} if identity is None else {"id": identity}
        return found if before is None else {**found, "made": before}


@dataclass(frozen=True)
class Made:
    """What came of one parent (or one attempt); ``dropped`` are reasons, one for each thing that was not kept."""

    rows: Sequence[Mapping[str, Any]] = ()
    pairs: Sequence[Mapping[str, Any]] = ()
    dropped: Sequence[str] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    """Numbers whose means the ledger shows."""


@dataclass(frozen=True)
class Work:
    """What a maker works with. ``kept`` are the rows written so far, oldest first; the driver appends to it."""

    parents: Sequence[Parent]
    author: Callable[[], Author]
    """Loads the model when it is first needed: what is refused is refused before that."""
    kept: list[Mapping[str, Any]]
    open_scorer: OpenScorer | None = None

    @property
    def writer(self) -> Author:
        """Whoever answers."""
        return self.author()


@dataclass(frozen=True)
class Making:
    """A maker at work: ``units`` parents or attempts, of which ``make`` turns the given numbers into something."""

    units: int
    make: Callable[[Sequence[int]], list[Made]]
    first: Callable[[int], str]
    """What the model is asked first about a unit, as a person reads it."""
    wanted: int | None = None
    """Rows after which enough are made; None for all units."""
    together: int | None = None
    """Units made at a time where that decides the result; None leaves it to the driver."""


class Builder(PartConfig):
    """Base of what makes rows from rows, with a model or without one."""

    paper: ClassVar[str] = ""
    units: ClassVar[str] = "rows"
    """What is counted: rows, attempts."""
    makes_pairs: ClassVar[bool] = False
    """Whether pairs of answers come of it as well."""
    needs_questions: ClassVar[bool] = False
    """Whether every row has to ask something."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random: the same seed makes the same rows."""

    def ready(self, work: Work) -> Making:
        """The maker at work; raises ``UserError`` where it cannot."""
        raise NotImplementedError

    def seeds(self, what: str, number: int, count: int = 1) -> tuple[int, ...]:
        """Seeds of ``count`` draws; they depend on nothing but the maker's seed and the place."""
        return tuple(derive(self.seed, self.NAME, what, number, at) for at in range(count))

    def random(self, number: int) -> random.Random:
        """What is drawn for one unit."""
        return random.Random(derive(self.seed, self.NAME, number))


class Maker(Builder):
    """Base of a maker's config: how the model is asked."""

    makes_pairs: ClassVar[bool] = True
    needs_questions: ClassVar[bool] = True

    max_new_tokens: Count = 128
    """Longest answer, in tokens; longer ones are cut off and not kept."""
    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    """Temperature of sampled answers; 0 takes the most likely token."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Sample from the fewest most likely tokens of this probability."""

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn."""
        return Sampling(self.temperature, 0, self.top_p)


def question_of(parent: Parent, seeds: tuple[int, ...], author: Author) -> Question:
    """The parent's conversation, to be answered."""
    return Question(parent.messages, seeds, raw=author.encoder.joined(parent.record))


def require_questions(parents: Sequence[Parent]) -> None:
    """Raise ``UserError`` for the first of ``parents`` that asks nothing."""
    for parent in parents:
        if not parent.messages:
            raise UserError(
                f"{parent.file} line {parent.line} asks nothing that could be answered",
                allowed="conversations, prompts, or instructions",
                code="no-prompt",
            )
