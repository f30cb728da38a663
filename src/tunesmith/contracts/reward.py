"""What is good about an answer: text in, one number out.

A reward sees samples only as text with what came along with the row; what needs a model takes a ``Scorer``, which
``run`` hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.contracts.data import Messages


@dataclass(frozen=True)
class Sample:
    """One answer of the model, with the question it belongs to."""

    prompt: str
    """The question as text."""
    answer: str
    """What the model wrote, without special tokens."""
    messages: Messages | None = None
    """The conversation up to the answer, where the question is one."""
    reference: str | None = None
    """The right answer, where the row has one."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Untouched further columns of the row (tests, difficulty …)."""
    truncated: bool = False
    """Whether the answer was cut off at the most tokens allowed."""
    tokens: int = 0
    """Tokens of the answer, the closing one included."""


@dataclass(frozen=True)
class Verdict:
    """A score and why it is what it is ("" where there is nothing to say)."""

    score: float
    note: str = ""


@dataclass(frozen=True)
class Scores:
    """Of ``n`` samples: ``total[n]``, the weighted sum; ``parts[name][n]``, each reward before its weight; and
    ``notes[name][n]``, of the rewards that give reasons (why code failed, what a judge replied)."""

    total: list[float]
    parts: Mapping[str, list[float]]
    notes: Mapping[str, list[str]] = field(default_factory=dict)


class Reward(Protocol):
    """A finite number for each of ``n`` samples, in their order."""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """Scores ``[n]``, larger is better; a ``UserError`` where a row cannot be scored."""
        ...


class Explains(Reward, Protocol):
    """A reward that also says why; ``score`` gives the scores of ``judge``."""

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Verdicts ``[n]``."""
        ...


Scorer = Callable[[Sequence[Sample]], Sequence[float]]
"""A model that scores samples (a reward model)."""
OpenScorer = Callable[[str], Scorer]
"""Loads the reward model at a path; handed in by ``run``."""
