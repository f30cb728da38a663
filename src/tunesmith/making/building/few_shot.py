"""Few-shot packs: each row's question comes after other rows with their answers (Min et al. 2022, MetaICL, arXiv
2110.15943: a model learns to learn from examples by training on such packs).

Examples never ask what the row asks, and are never made from the same row. They are drawn from all rows, from those
that look alike, or one of each answer.

The trap: with ``of: alike`` the examples of neighbours overlap, and rows of validation must not be among them: split
first (`tunesmith data split`), build after.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from tunesmith.contracts.data import Message
from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder, answered, kin, question_text
from tunesmith.making.building.nearest import Nearest
from tunesmith.making.rows import sft_row

AMONG = 50
"""How many neighbours are looked through for examples."""


@dataclass(frozen=True)
class Ready:
    """Rows that may be examples, with what they are kin to, and how to find them."""

    parents: Sequence[Parent]
    usable: Sequence[int]
    kin: Sequence[frozenset[int]]
    by_answer: dict[str, list[int]]
    nearest: Nearest | None


class FewShot(RowBuilder):
    """Put a few other rows with their answers before each question."""

    NAME: ClassVar[str] = "few-shot"
    paper: ClassVar[str] = "Min et al. 2022, MetaICL (arXiv 2110.15943)"

    shots: Count = 3
    """Examples before each question."""
    of: Literal["any", "alike", "answers"] = "any"
    """Which rows are examples: `any`, those `alike` in their words, or of as many different `answers` as there are."""
    form: Literal["turns", "text"] = "turns"
    """Examples as `turns` of the conversation, or as `text` in front of the question."""
    example: str = "{question}\n{answer}\n\n"
    """With `form: text`: how an example is written."""

    def prepared(self, parents: Sequence[Parent]) -> Ready:
        """The rows that end with an answer to a single question."""
        usable = [number for number, parent in enumerate(parents) if _is_example(parent)]
        by_answer: dict[str, list[int]] = defaultdict(list)
        for number in usable:
            by_answer[_answer(parents[number]).strip()].append(number)
        nearest = Nearest([question_text(parent.record) for parent in parents]) if self.of == "alike" else None
        return Ready(parents, usable, [kin(parent) for parent in parents], by_answer, nearest)

    def build(self, parent: Parent, number: int, prepared: Ready) -> Made:
        """The row with its examples."""
        if parent.record.raw_prompt:
            raise BadRow("prompt and completion are joined as they are: convert them to messages first")
        _, answer = answered(parent)
        chosen = self._examples(number, prepared)
        if len(chosen) < self.shots:
            raise BadRow("there are too few other rows for its examples")
        record = parent.record
        asked = list((record.messages or ())[:-1])
        first = 1 if asked and asked[0].role == "system" else 0
        shown = [prepared.parents[one] for one in chosen]
        if self.form == "turns":
            turns = [turn for one in shown for turn in _turns(one)]
            messages = [*asked[:first], *turns, *asked[first:]]
        else:
            texts = [_turns(one) for one in shown]
            front = "".join(
                self.example.replace("{question}", question.content, 1).replace("{answer}", said.content, 1)
                for question, said in texts
            )
            place = next(at for at, turn in enumerate(asked) if turn.role == "user")
            messages = [*asked[:place], Message("user", front + asked[place].content), *asked[place + 1 :]]
        made = {**parent.origin(self.NAME), "shots": [one.place for one in shown]}
        return Made([sft_row(replace(record, messages=tuple(messages)), answer.content, made)])

    def _examples(self, number: int, ready: Ready) -> list[int]:
        """Numbers of the examples, the most alike last."""
        drawn = self.random(number)
        seen = set(ready.kin[number])
        chosen: list[int] = []
        for one in self._in_turn(number, ready, drawn):
            if not ready.kin[one] & seen:
                seen |= ready.kin[one]
                chosen.append(one)
            if len(chosen) == self.shots:
                break
        if self.of == "alike":
            return chosen[::-1]
        drawn.shuffle(chosen)
        return chosen

    def _in_turn(self, number: int, ready: Ready, drawn: random.Random) -> Sequence[int]:
        """Candidates in the order in which they are taken."""
        if ready.nearest is not None:
            usable = set(ready.usable)
            return [one for one in ready.nearest.to(number, AMONG + self.shots) if one in usable]
        if self.of == "answers":
            rounds = []
            for answer in sorted(ready.by_answer):
                some = drawn.sample(ready.by_answer[answer], min(len(ready.by_answer[answer]), self.shots + 2))
                rounds.append([one for one in some if not ready.kin[one] & ready.kin[number]])
            drawn.shuffle(rounds)
            return [one[turn] for turn in range(self.shots) for one in rounds if turn < len(one)]
        return drawn.sample(ready.usable, min(len(ready.usable), 4 * self.shots + 8))


def _is_example(parent: Parent) -> bool:
    turns = [turn.role for turn in parent.record.messages or () if turn.role != "system"]
    return turns == ["user", "assistant"] and not parent.record.raw_prompt and bool(_answer(parent).strip())


def _turns(parent: Parent) -> tuple[Message, Message]:
    question, answer = [turn for turn in parent.record.messages or () if turn.role != "system"]
    return question, answer


def _answer(parent: Parent) -> str:
    messages = parent.record.messages or ()
    return messages[-1].content if messages else ""
