"""Format: 1 where the answer matches a regular expression, else 0.

The trap: some patterns take exponential time on some texts (``(a+)+$``), a model in training finds such texts, and no
thread can be stopped inside the matcher. Matching therefore happens in a process that is ended after ``timeout``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import field_validator

from tunesmith.contracts.reward import Sample
from tunesmith.errors import UserError
from tunesmith.rewards.base import RewardConfig, Seconds, named
from tunesmith.rewards.calls import CallFailedError, caller


class Format(RewardConfig):
    """1 where the answer has a form given as a regular expression, else 0."""

    NAME: ClassVar[str] = "format"
    paper: ClassVar[str] = ""

    pattern: str
    """A regular expression of Python's `re`; `.` matches line ends too. `<think>.+</think>\\s*<answer>.+</answer>`"""
    whole: bool = False
    """The pattern must match the whole answer (without blanks at both ends), not some part of it."""
    ignore_case: bool = False
    """Whether `a` matches `A`."""
    timeout: Seconds = 5.0
    """Seconds that the pattern may take on one answer before the run is ended with an error."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from None
        return pattern

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """1.0 or 0.0 a sample."""
        return [self._one(sample, at) for at, sample in enumerate(samples)]

    def _one(self, sample: Sample, at: int) -> float:
        arguments = (("ignore_case", self.ignore_case), ("pattern", self.pattern), ("whole", self.whole))
        matcher = caller("tunesmith.rewards.format.matches", arguments)
        try:
            return float(matcher.call(sample.answer, seconds=self.timeout))
        except CallFailedError as error:
            raise UserError(
                f"the reward {self.NAME} failed on {named(sample, at)}: its pattern {error}",
                got=self.pattern,
                hint="A repetition inside a repetition, such as (a+)+, takes exponential time; write it without.",
                code="reward-failed",
            ) from None


def matches(text: str, *, pattern: str, whole: bool, ignore_case: bool) -> bool:
    """Whether ``pattern`` is found in ``text`` (or matches all of it)."""
    compiled = re.compile(pattern, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    return bool(compiled.fullmatch(text.strip()) if whole else compiled.search(text))
