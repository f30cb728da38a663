"""Code that passes its tests: the program in the answer is run in a sandbox (``rewards.sandbox``), 1 if it passes,
else 0.

The program is the last fenced block of the answer (three backticks, with ``python``, ``py`` or nothing behind them),
or all of an answer without one. The tests are Python: one text, or a list of statements such as ``assert f(2) == 4``.
Whatever the program does (never ends, fills memory, opens a socket) scores 0 and is said in the sample's note.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tunesmith.contracts.reward import OpenScorer, Reward, Sample, Verdict
from tunesmith.errors import UserError
from tunesmith.rewards.base import RewardConfig, Seconds, require_rows
from tunesmith.rewards.sandbox import Limits, Task, run_program, run_programs

FENCE = "```"
LANGUAGES = ("", "python", "python3", "py")
_TRIAL = "import hashlib, heapq, json, math, random, re\nx = math.isqrt(25)"


class Code(RewardConfig):
    """1 where the Python program in the answer passes its row's tests in a sandbox, else 0.

    It has no network, no files, no other processes and only the standard library; time, memory and output are limited.
    """

    NAME: ClassVar[str] = "code"
    paper: ClassVar[str] = "Chen et al. 2021, arXiv:2107.03374 (tests as the measure)"

    tests: str = "tests"
    """The row's column that holds the tests: Python text, or a list of statements."""
    entry_point: str | None = None
    """The row's column that names the function to test, where the tests define `check(candidate)` (HumanEval)."""
    with_prompt: bool = False
    """Put the prompt in front of the answer: the model goes on with a program that the prompt begins."""
    timeout: Seconds = 5.0
    """Seconds one program may run."""
    memory_mib: Annotated[int, Field(ge=64)] = 512
    """Memory one program may use, the interpreter included."""
    workers: Annotated[int, Field(gt=0)] | None = None
    """Programs that run at the same time; by default as many as there are cores."""

    def ready(self, open_scorer: OpenScorer | None) -> Reward:
        """Run one program now, so that a machine where none can be started is found before training."""
        ended = run_program(Task(_TRIAL, "assert x == 5"), limits=self._limits())
        if not ended.passed:
            raise UserError(f"the sandbox does not work here: {ended.reason}", code="no-sandbox")
        return self

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """1.0 or 0.0 a sample."""
        return [verdict.score for verdict in self.judge(samples)]

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """1.0, or 0.0 with the reason as note."""
        require_rows(self.NAME, samples, self.refusal)
        tasks = [Task(self._program(sample), self._tests(sample)) for sample in samples]
        ended = run_programs(tasks, limits=self._limits(), workers=self.workers)
        return [Verdict(float(one.passed), one.reason) for one in ended]

    def refusal(self, sample: Sample) -> str | None:
        """A row needs tests, and the name of what they test where that is asked for."""
        tests = sample.meta.get(self.tests)
        if not _is_tests(tests):
            return f"its column '{self.tests}' holds no tests (text, or a list of texts)"
        name = sample.meta.get(self.entry_point) if self.entry_point else "f"
        if not isinstance(name, str) or not name.isidentifier():
            return f"its column '{self.entry_point}' names no function"
        return None

    def _limits(self) -> Limits:
        return Limits(seconds=self.timeout, memory_mib=self.memory_mib)

    def _program(self, sample: Sample) -> str:
        return sample.prompt + sample.answer if self.with_prompt else program_in(sample.answer)

    def _tests(self, sample: Sample) -> str:
        tests = sample.meta[self.tests]
        text = tests if isinstance(tests, str) else "\n".join(tests)
        return f"{text}\ncheck({sample.meta[self.entry_point]})" if self.entry_point else text


def program_in(answer: str) -> str:
    """The last fenced block of Python in ``answer`` (it may be unclosed); all of it where nothing is fenced."""
    program: list[str] | None = None
    block: list[str] | None = None
    for line in answer.splitlines(keepends=True):
        mark = line.strip().lower()
        if not mark.startswith(FENCE):
            if block is not None:
                block.append(line)
        elif block is not None:
            block = None
        else:
            block = []
            program = block if mark.removeprefix(FENCE).strip() in LANGUAGES else program or []
    return answer if program is None else "".join(program)


def _is_tests(tests: Any) -> bool:
    texts = [tests] if isinstance(tests, str) else tests
    return (
        isinstance(texts, list | tuple)
        and bool(texts)
        and all(isinstance(text, str) and text.strip() for text in texts)
    )
