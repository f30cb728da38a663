r"""Exact match of what a regular expression finds in an answer, with the reference: GSM8K as lm-eval scores it.

    found = findall(pattern, answer)[pick], its first group that is not empty; "[invalid]" where nothing is found
    score = 1 where found and reference are equal after everything in ``ignore`` is removed from both

The trap: this trusts a form of answer (``#### 18``). A model that is right and says so otherwise scores 0; ``numeric``
reads more forms.
"""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import field_validator

from tunesmith.metrics.base import MeanMetric, Unit, best
from tunesmith.metrics.phrases import checked

INVALID = "[invalid]"


class Extracted(MeanMetric):
    r"""The share of answers in which a regular expression finds the reference; by default the number after `####`."""

    NAME: ClassVar[str] = "extracted"
    paper: ClassVar[str] = "Cobbe et al. 2021, arXiv:2110.14168"

    pattern: str = r"#### (\-?[0-9\.\,]+)"
    """What is looked for; of its groups the first that is not empty counts, without groups the whole."""
    pick: int = 0
    """Which of the matches: 0 the first, -1 the last."""
    ignore: tuple[str, ...] = (",", r"\$", r"(?s).*#### ", r"\.$")
    """What is removed from answer and reference before they are compared."""
    ignore_case: bool = True
    """Whether case does not count."""

    @field_validator("pattern")
    @classmethod
    def _finds(cls, pattern: str) -> str:
        return checked((pattern,))[0]

    @field_validator("ignore")
    @classmethod
    def _removes(cls, ignore: tuple[str, ...]) -> tuple[str, ...]:
        return checked(ignore)

    def score(self, answer: str, unit: Unit) -> float:
        """1.0 or 0.0."""
        found = self._bare(self._found(answer))
        return best(float(found == self._bare(reference)) for reference in unit.references)

    def _found(self, answer: str) -> str:
        matches = re.findall(self.pattern, answer)
        if not -len(matches) <= self.pick < len(matches):
            return INVALID
        match = matches[self.pick]
        if isinstance(match, tuple):
            match = next((group for group in match if group), INVALID)
        return str(match).strip()

    def _bare(self, text: str) -> str:
        for removed in self.ignore:
            text = re.sub(removed, "", text)
        return text.lower() if self.ignore_case else text
