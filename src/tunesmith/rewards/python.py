"""Any Python function as a reward.

    def brevity(sample):                 # one answer: a number
        return 1.0 if len(sample.answer) < 200 else 0.0

    def novelty(samples):                # `batch: true`, all answers of an update: a list of numbers
        return [float(sum(other.answer == sample.answer for other in samples) == 1) for sample in samples]

``sample`` is a ``contracts.reward.Sample``. The function runs in a process of its own that lives as long as the run,
so module variables keep their values, and a call that hangs is ended. It is the user's own code and is trusted: for
programs that a model wrote there is ``code``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import field_validator

from tunesmith.contracts.reward import OpenScorer, Reward, Sample
from tunesmith.errors import UserError
from tunesmith.rewards.base import RewardConfig, Seconds, named
from tunesmith.rewards.calls import Caller, CallFailedError, caller


class Python(RewardConfig):
    """The number a Python function of yours returns for an answer.

    `python:module.function` and `path/to/file.py:function` are short for `{name: python, function: …}`. The function
    takes a sample (`sample.answer`, `sample.prompt`, `sample.reference`, `sample.meta`) and returns a number.
    """

    NAME: ClassVar[str] = "python"
    paper: ClassVar[str] = ""

    function: str
    """Where the function is: `module.function` or `path/to/file.py:function`."""
    timeout: Seconds = 10.0
    """Seconds that one call may take before the run is ended with an error."""
    batch: bool = False
    """Call the function once with the list of all samples, for a list of numbers, instead of once a sample."""

    @field_validator("function")
    @classmethod
    def _is_a_place(cls, function: str) -> str:
        place, _, name = function.rpartition(":" if ".py:" in function else ".")
        if not place or not name.isidentifier():
            raise ValueError("it must be module.function or path/to/file.py:function")
        return function

    def label(self) -> str:
        """``python:brevity``."""
        return f"{self.NAME}:{self.function.replace(':', '.').rpartition('.')[2]}"

    def ready(self, open_scorer: OpenScorer | None) -> Reward:
        """Load the function now, so that a wrong name is found before training."""
        try:
            self._caller().start()
        except CallFailedError as error:
            raise UserError(
                f"the reward python:{self.function} cannot be loaded: {error}",
                hint="Modules are looked for where Python looks, files from the current folder.",
                code="no-reward-function",
            ) from None
        return self

    def score(self, samples: Sequence[Sample]) -> list[Any]:
        """What the function returns, which ``WeightedRewards`` checks; ``UserError`` where a call fails."""
        self.ready(None)
        if self.batch:
            return self._called(list(samples), f"{len(samples)} samples, {named(samples[0], 0)} the first")
        return [self._called(sample, named(sample, at)) for at, sample in enumerate(samples)]

    def _called(self, value: object, where: str) -> Any:
        try:
            return self._caller().call(value, seconds=self.timeout)
        except CallFailedError as error:
            if error.trace:
                sys.stderr.write(error.trace)
            raise UserError(
                f"the reward python:{self.function} failed on {where}: {error}",
                hint="Mend the function, or raise its timeout where it is slow.",
                code="reward-failed",
            ) from None

    def _caller(self) -> Caller:
        return caller(self.function)
