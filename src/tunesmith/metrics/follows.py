"""Instruction following that a program can check (Zhou et al. 2023, IFEval, arXiv:2311.07911, section 2.2).

    prompt level       the share of answers that follow all their instructions
    instruction level  the share of instructions that are followed
    loose              an answer counts as well without its first line, its last line or its asterisks

``tunesmith.metrics.instructions`` has the checks. The trap: an answer may obey and be nonsense; this measures
obedience only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np

from tunesmith.metrics.base import Array, Metric, Unit, mean, ratio
from tunesmith.metrics.instructions import followed, trouble
from tunesmith.metrics.intervals import Estimate, share_interval


class Follows(Metric):
    """The share of answers that follow their row's `instructions`, which programs check (IFEval)."""

    NAME: ClassVar[str] = "follows"
    paper: ClassVar[str] = "Zhou et al. 2023, arXiv:2311.07911"
    needs_references: ClassVar[bool] = False

    level: Literal["prompt", "instruction"] = "prompt"
    """Whether answers are counted that follow all their instructions, or instructions that are followed."""
    loose: bool = False
    """Whether an answer is also read without its first line, its last line and its asterisks."""
    column: str = "instructions"
    """The row's column that lists them: `{check: NAME, option: value}` each."""

    def refusal(self, unit: Unit) -> str | None:
        """A row needs instructions that can be checked."""
        listed = unit.meta.get(self.column)
        if not isinstance(listed, list) or not listed:
            return f"its column '{self.column}' lists no instruction"
        return next((reason for one in listed if (reason := trouble(one))), None)

    def parts(self, units: Sequence[Unit]) -> Array:
        """Followed, and how many there are; means over the answers of a unit."""
        return np.array([self._counted(unit) for unit in units], dtype=np.float64).reshape(len(units), 2)

    def value(self, sums: Array) -> Array:
        """Sum over count."""
        return ratio(sums)

    def interval(self, parts: Array, *, seed: int = 0) -> Estimate:
        """Wilson's for answers; instructions of one answer are not independent and are redrawn together."""
        if self.level == "prompt" and set(parts[:, 0].tolist()) <= {0.0, 1.0}:
            return share_interval(int(parts[:, 0].sum()), len(parts))
        return super().interval(parts, seed=seed)

    def _counted(self, unit: Unit) -> tuple[float, float]:
        listed: Sequence[Mapping[str, Any]] = unit.meta[self.column]
        obeyed = [[self._obeys(one, answer) for one in listed] for answer in unit.answers]
        if self.level == "prompt":
            return mean(float(all(each)) for each in obeyed), 1.0
        return mean(float(sum(each)) for each in obeyed), float(len(listed))

    def _obeys(self, instruction: Mapping[str, Any], answer: str) -> bool:
        return any(followed(instruction, form) for form in (_loosened(answer) if self.loose else (answer,)))


def _loosened(answer: str) -> Iterator[str]:
    """The answer with and without its first line, its last line and its asterisks."""
    lines = answer.split("\n")
    for first, last, bare in product((False, True), repeat=3):
        text = "\n".join(lines[int(first) : len(lines) - int(last)])
        yield text.replace("*", "") if bare else text
