"""pass@k of programs that are run in the sandbox of the reward ``code``, which says what counts as a program and tests.

Whatever a program does (never ends, fills memory, opens a socket) it has not passed; that is a result, not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.contracts.reward import Sample
from tunesmith.metrics.base import Array, MeanMetric, Unit, mean_parts
from tunesmith.metrics.pass_at_k import pass_at_k
from tunesmith.rewards.code import Code


class PassAtK(MeanMetric):
    """The chance that one of `k` answers is a program that passes its row's tests, without bias from `samples` answers.

    Programs run in a sandbox without network, files or other processes. The task's `samples` must be at least `k`.
    """

    NAME: ClassVar[str] = "pass_at_k"
    paper: ClassVar[str] = "Chen et al. 2021, arXiv:2107.03374 (equation 1)"
    needs_references: ClassVar[bool] = False

    k: Annotated[int, Field(gt=0)] = 1
    """Answers of which one has to pass."""
    tests: str = "tests"
    """The row's column that holds the tests: Python text, or a list of statements."""
    entry_point: str | None = None
    """The row's column that names the function to test, where the tests define `check(candidate)` (HumanEval)."""
    with_prompt: bool = False
    """Put the prompt in front of the answer: the model goes on with a program that the prompt begins."""
    timeout: Annotated[float, Field(gt=0.0)] = 5.0
    """Seconds one program may run."""

    def ready(self) -> None:
        """Run one program now; ``UserError`` (``no-sandbox``) where none can be started."""
        self._code().ready(None)

    def answers_needed(self) -> int:
        """At least ``k``."""
        return self.k

    def refusal(self, unit: Unit) -> str | None:
        """A row needs tests."""
        return self._code().refusal(Sample(unit.prompt, "", meta=unit.meta))

    def parts(self, units: Sequence[Unit]) -> Array:
        """The estimate of each unit, and 1."""
        samples = [Sample(unit.prompt, answer, meta=unit.meta) for unit in units for answer in unit.answers]
        passed = iter(self._code().score(samples))
        counts = [sum(next(passed) for _ in unit.answers) for unit in units]
        return mean_parts(
            [pass_at_k(len(unit.answers), int(count), self.k) for unit, count in zip(units, counts, strict=True)]
        )

    def _code(self) -> Code:
        return Code(tests=self.tests, entry_point=self.entry_point, with_prompt=self.with_prompt, timeout=self.timeout)
