"""Answers that say what cannot be known: to questions nobody can answer, and to those that suppose what is false.

A right answer to such a question says that it is unknown, or puts the premise right; whatever else is said is made up
(Yin et al. 2023, arXiv:2305.18153, "self-knowledge"). A row may name in ``corrects`` what a correction of its own
premise would say.

The trap: a list of phrases. It compares a model with itself well, and misses what is said in other words.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import field_validator

from tunesmith.metrics.base import MeanMetric, Unit
from tunesmith.metrics.phrases import checked, pattern, straight

PHRASES = (
    r"\b(?:do not|don't|cannot|can't|can not) (?:really |actually )?(?:know|tell|say|answer|determine|be sure)\b",
    r"\bno (?:way (?:to|of) know|one (?:knows|can)|information|record|such|evidence)\b",
    r"\bnot? (?:enough|sufficient) information\b",
    r"\b(?:is|are|was|were|it's) (?:not|un)\s?(?:known|certain|clear|possible|answerable)\b",
    r"\b(?:unknown|impossible to (?:know|say|tell|answer)|unanswerable|nobody knows|hard to say)\b",
    r"\b(?:never|did not|didn't|does not|doesn't|has not|hasn't) (?:happen|exist|happened|existed|occur)\w*\b",
    r"\b(?:false|wrong|mistaken|incorrect) (?:premise|assumption)\b",
    r"\bthere (?:is|are|was|were) no\b",
    r"\b(?:actually|in fact),? (?:it|that|he|she|they|the|there|no)\b",
    "(?:不知道|无法(?:回答|得知|确定)|不存在|没有(?:足够|任何)?信息)",
    "(?:わかりません|分かりません|存在しません|不明です)",
)


class Abstains(MeanMetric):
    """The share of answers that say "I do not know" or put a false premise right, by phrases."""

    NAME: ClassVar[str] = "abstains"
    paper: ClassVar[str] = "Yin et al. 2023, arXiv:2305.18153"
    needs_references: ClassVar[bool] = False

    phrases: tuple[str, ...] = PHRASES
    """Regular expressions looked for in the answer, whatever the case."""
    corrects: str = "corrects"
    """The row's column with a list of further texts, each of which puts its own premise right."""

    @field_validator("phrases")
    @classmethod
    def _compile(cls, phrases: tuple[str, ...]) -> tuple[str, ...]:
        return checked(phrases)

    def score(self, answer: str, unit: Unit) -> float:
        """1.0 where the answer abstains or corrects."""
        own = unit.meta.get(self.corrects)
        named = tuple(re.escape(str(one)) for one in own) if isinstance(own, list) else ()
        return float(pattern((*self.phrases, *named)).search(straight(answer)) is not None)
