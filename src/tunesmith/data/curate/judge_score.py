"""Answers scored by a language model on a server (the reward ``judge``).

Resumable like the others: what a server said of a chunk is kept. The trap: judges like long answers and their own
style, and the same model under the same name may answer otherwise tomorrow; the result is kept under the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tunesmith.contracts.reward import Reward
from tunesmith.data.curate.scored import ScoredStep


class JudgeScore(ScoredStep):
    """Drops rows whose answer a language model on an OpenAI-compatible server scores low; 0 is worst, 1 best."""

    NAME: ClassVar[str] = "judge-score"
    WHAT: ClassVar[str] = "score"
    paper: ClassVar[str] = "https://arxiv.org/abs/2306.05685"

    server: str
    """The server's address up to `/v1`, such as `http://localhost:8000/v1`."""
    model: str
    """The model's name, as the server knows it."""
    rubric: str | None = None
    """What is good, in words; null for correct, helpful, honest and to the point."""
    options: Mapping[str, Any] = {}
    """Further options of the reward `judge`, such as `scale`, `timeout` or `key_variable`."""
    parallel: Annotated[int, Field(gt=0)] = 8
    """Questions that are with the server at the same time."""

    def opened(self) -> Reward:
        """The judge, which is asked one question at once."""
        rubric = {} if self.rubric is None else {"rubric": self.rubric}
        given = {"server": self.server, "model": self.model, "parallel": self.parallel, **rubric}
        return self.models.judge({**given, **self.options})
