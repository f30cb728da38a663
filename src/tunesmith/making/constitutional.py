"""Constitutional revision: the model answers, criticises its answer by a principle, and revises it.

    x -> y_0;   c_k ~ critique(x, y_{k−1}, p_k),   y_k ~ revision(x, y_{k−1}, c_k, p_k)     k = 1 … rounds

Rows to imitate are (x, y_K), pairs are y_K over y_0 (Bai et al. 2022, arXiv 2212.08073, section 3.1). A principle is
drawn for each critique, a new one each round while there are others. What is asked stands in a YAML file.

The trap: a model too small to criticise still writes something. What was made is to be read before it is trained on
(`made` has the first answer, the critiques and the principles).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from tunesmith.contracts.data import Message
from tunesmith.making.author import Author, Question, Written
from tunesmith.making.base import CUT, EMPTY, TOO_LONG, Count, Made, Maker, Making, Parent, Work, question_of
from tunesmith.making.rows import pair_row, sft_row
from tunesmith.making.texts import SHIPPED, Principle, filled, read_principles, read_templates
from tunesmith.seed import derive

NEEDED = {
    "critique": ("question", "answer", "principle"),
    "revision": ("question", "answer", "critique", "principle"),
}
UNCHANGED = "the revision says the same as the first answer"


@dataclass
class Draft:
    """An answer on its way: ``trouble`` says why it is given up."""

    parent: Parent
    number: int
    first: str = ""
    now: str = ""
    steps: list[dict[str, str]] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True)
class Asking:
    """What a round of questions needs."""

    author: Author
    templates: dict[str, str]
    principles: Sequence[Principle]


class Constitutional(Maker):
    """Let the model criticise and revise its own answers by written principles; revisions and pairs are kept."""

    NAME: ClassVar[str] = "constitutional"
    paper: ClassVar[str] = "Bai et al. 2022, Constitutional AI (arXiv 2212.08073)"

    principles: str = SHIPPED
    """A YAML file of principles: sentences, or `{name, critique, revision}`; `shipped` has a few general ones."""
    templates: str = SHIPPED
    """A YAML file with the requests for a critique and a revision."""
    rounds: Count = 1
    """Critiques and revisions of each answer, one after the other."""
    together: Count = 32
    """Prompts answered at the same time."""

    def ready(self, work: Work) -> Making:
        """Principles and templates are read before anything is asked."""
        templates = read_templates(self.templates, "constitutional.yaml", NEEDED)
        asking = partial(Asking, templates=templates, principles=read_principles(self.principles))

        def make(numbers: Sequence[int]) -> list[Made]:
            return self._made([Draft(work.parents[at], at) for at in numbers], asking(work.writer))

        return Making(len(work.parents), make, lambda number: work.parents[number].text, together=self.together)

    def _made(self, drafts: list[Draft], asking: Asking) -> list[Made]:
        def first(draft: Draft) -> Question:
            return question_of(draft.parent, self.seeds("answer", draft.number), asking.author)

        for draft, said in self._ask(drafts, asking, first):
            draft.first = draft.now = said
        for number in range(self.rounds):
            self._round(drafts, asking, number)
        return [self._kept(draft) for draft in drafts]

    def _round(self, drafts: list[Draft], asking: Asking, number: int) -> None:
        chosen = {draft.number: self._principle(asking.principles, draft.number, number) for draft in drafts}

        def question(what: str, draft: Draft) -> Question:
            principle = chosen[draft.number]
            words = filled(
                asking.templates[what],
                question=draft.parent.text,
                answer=draft.now,
                critique=draft.steps[-1]["critique"] if what == "revision" else "",
                principle=principle.critique if what == "critique" else principle.revision,
            )
            raw = asking.author.encoder.joined(draft.parent.record)
            seeds = self.seeds(what, draft.number, number + 1)[-1:]
            return Question((Message("user", words),), seeds, raw=raw)

        for draft, said in self._ask(drafts, asking, partial(question, "critique")):
            draft.steps.append({"principle": chosen[draft.number].name, "critique": said})
        for draft, said in self._ask(drafts, asking, partial(question, "revision")):
            draft.now = said

    def _ask(
        self, drafts: Sequence[Draft], asking: Asking, question: Callable[[Draft], Question]
    ) -> list[tuple[Draft, str]]:
        """The drafts that are not given up with what the model said to each; others are given up here."""
        asked = [draft for draft in drafts if not draft.trouble]
        answers = asking.author.write(
            [question(draft) for draft in asked], sampling=self.sampling, max_new_tokens=self.max_new_tokens
        )
        for draft, answer in zip(asked, answers, strict=True):
            draft.trouble = _trouble(answer)
        return [
            (draft, answer[0].text)
            for draft, answer in zip(asked, answers, strict=True)
            if answer is not None and not draft.trouble
        ]

    def _principle(self, principles: Sequence[Principle], number: int, round_: int) -> Principle:
        order = random.Random(derive(self.seed, self.NAME, "principles", number)).sample(
            range(len(principles)), len(principles)
        )
        return principles[order[round_ % len(order)]]

    def _kept(self, draft: Draft) -> Made:
        if draft.trouble:
            return Made(dropped=[draft.trouble])
        if draft.now == draft.first:
            return Made(dropped=[UNCHANGED])
        made: dict[str, Any] = {**draft.parent.origin(self.NAME), "first": draft.first, "steps": draft.steps}
        row = sft_row(draft.parent.record, draft.now, made)
        return Made([row], [pair_row(draft.parent.record, draft.now, draft.first, made)])


def _trouble(answers: Sequence[Written] | None) -> str:
    if answers is None:
        return TOO_LONG
    if not answers[0].text:
        return EMPTY
    return "" if answers[0].whole else CUT
