"""Self-instruct: from a few seed tasks the model writes new ones and answers them (Wang et al. 2022, arXiv 2212.10560).

Each attempt shows the model ``shown`` tasks, some of them its own (section 2.2), and takes the first task of what it
writes. A task is kept if its length is right and it is unlike every seed and every task kept (ROUGE-L at most
``alike``, section 2.2); then it is answered. What is not kept is counted by reason.

Attempts made together see the same tasks, so ``together`` decides the result.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tunesmith.contracts.data import Message, Record
from tunesmith.errors import UserError
from tunesmith.making.author import Question
from tunesmith.making.base import CUT, EMPTY, TOO_LONG, Count, Made, Maker, Making, Share, Work
from tunesmith.making.rows import sft_row
from tunesmith.making.similar import Pool
from tunesmith.making.texts import SHIPPED, filled, read_templates
from tunesmith.seed import derive

NO_TASK = "no task was written"
LIKE_ANOTHER = "the task is too like another"
LENGTH = "the task is too short or too long"
ECHO = "the answer repeats the task"
NEEDED = {"instruction": ("examples",)}
_NUMBERED = re.compile(r"^(?:task\s*)?\d+\s*[.:)]\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Task:
    """A task that examples are drawn from; ``origin`` says of which seed row, or that it was made."""

    text: str
    origin: str


class SelfInstruct(Maker):
    """Let the model write new tasks like a few seeds, and answer them; near-duplicates are left out."""

    NAME: ClassVar[str] = "self-instruct"
    paper: ClassVar[str] = "Wang et al. 2022, Self-Instruct (arXiv 2212.10560)"
    units: ClassVar[str] = "attempts"
    makes_pairs: ClassVar[bool] = False

    count: Count = 100
    """Rows to make."""
    attempts: Count | None = None
    """Most tasks that the model writes for them; by default ten for each row."""
    shown: Count = 8
    """Tasks that it is shown each time."""
    own: Share = 0.25
    """Share of those shown that it wrote itself, once there are some."""
    alike: Share = 0.7
    """Most that a task may be like a seed or another (ROUGE-L)."""
    shortest: Count = 3
    """Least words of a task."""
    longest: Count = 150
    """Most words of a task."""
    templates: str = SHIPPED
    """A YAML file with the request for a new task."""
    together: Count = 16
    """Attempts made at the same time."""

    def ready(self, work: Work) -> Making:
        """The seeds and what was kept before are what new tasks must be unlike."""
        template = read_templates(self.templates, "self-instruct.yaml", NEEDED)["instruction"]
        if len(work.parents) < 2:
            raise UserError("new tasks need a few seeds", got=len(work.parents), allowed="2 or more", code="few-seeds")
        seeds = [Task(parent.messages[-1].content, parent.place) for parent in work.parents]
        pool = Pool([*(task.text for task in seeds), *(_task_of(row) for row in work.kept)])

        def make(numbers: Sequence[int]) -> list[Made]:
            return self._made(numbers, work, [self._request(number, seeds, work, template) for number in numbers], pool)

        def first(number: int) -> str:
            return self._request(number, seeds, work, template)[0]

        attempts = self.attempts or 10 * self.count
        return Making(attempts, make, first, wanted=self.count, together=self.together)

    def _request(self, number: int, seeds: Sequence[Task], work: Work, template: str) -> tuple[str, list[str]]:
        """What is asked in attempt ``number``, and the origins of the tasks that are shown."""
        rng = random.Random(derive(self.seed, self.NAME, "shown", number))
        own = min(int(self.shown * self.own), len(work.kept))
        chosen = rng.sample(range(len(work.kept)), own)
        tasks = [Task(_task_of(work.kept[at]), f"made:{at + 1}") for at in sorted(chosen)]
        tasks += rng.sample(seeds, min(self.shown - own, len(seeds)))
        rng.shuffle(tasks)
        examples = "\n".join(f"{at}. {' '.join(task.text.split())}" for at, task in enumerate(tasks, start=1))
        text = filled(template, examples=examples, number=str(len(tasks) + 1))
        return text, [task.origin for task in tasks]

    def _made(
        self, numbers: Sequence[int], work: Work, requests: Sequence[tuple[str, list[str]]], pool: Pool
    ) -> list[Made]:
        raw = work.writer.encoder.joined(work.parents[0].record)
        written = work.writer.write(
            [
                Question((Message("user", text),), self.seeds("task", number), raw=raw)
                for number, (text, _) in zip(numbers, requests, strict=True)
            ],
            sampling=self.sampling,
            max_new_tokens=self.max_new_tokens,
        )
        said = ["" if one is None else _first_task(one[0].text) for one in written]
        now = Pool()  # a task whose answer is not kept is no task that others must be unlike
        troubles = [
            TOO_LONG if one is None else self._trouble(task, pool, now) for one, task in zip(written, said, strict=True)
        ]
        fine = [at for at, trouble in enumerate(troubles) if not trouble]
        made = {at: Made(dropped=[trouble]) for at, trouble in enumerate(troubles) if trouble}
        made |= self._answered({at: (numbers[at], said[at], requests[at][1]) for at in fine}, work, raw=raw)
        for at in fine:
            if made[at].rows:
                pool.add(said[at])
        return [made[at] for at in range(len(numbers))]

    def _trouble(self, task: str, *pools: Pool) -> str:
        """Why a task is not answered; one that is goes to the last of ``pools``."""
        words = len(task.split())
        if not words:
            return NO_TASK
        if not self.shortest <= words <= self.longest:
            return LENGTH
        if any(pool.holds_like(task, self.alike) for pool in pools):
            return LIKE_ANOTHER
        pools[-1].add(task)
        return ""

    def _answered(self, tasks: Mapping[int, tuple[int, str, list[str]]], work: Work, *, raw: bool) -> dict[int, Made]:
        answers = work.writer.write(
            [
                Question((Message("user", task),), self.seeds("answer", number), raw=raw)
                for number, task, _ in tasks.values()
            ],
            sampling=self.sampling,
            max_new_tokens=self.max_new_tokens,
        )
        found = {}
        for (at, (number, task, shown)), answer in zip(tasks.items(), answers, strict=True):
            trouble = TOO_LONG if answer is None else _answer_trouble(answer[0].text, task, whole=answer[0].whole)
            record = Record(messages=(Message("user", task),), raw_prompt=raw)
            made = {"how": self.NAME, "shown": shown, "attempt": number + 1}
            rows = [] if trouble or answer is None else [sft_row(record, answer[0].text, made)]
            found[at] = Made(rows, dropped=[trouble] if trouble else [])
        return found


def _task_of(row: Mapping[str, Any]) -> str:
    return str(row["prompt"] if "prompt" in row else row["messages"][0]["content"])


def _first_task(text: str) -> str:
    """The first task of what was written: its first paragraph, without a number in front."""
    return _NUMBERED.sub("", text.strip().partition("\n\n")[0]).strip()


def _answer_trouble(answer: str, task: str, *, whole: bool) -> str:
    if not answer:
        return EMPTY
    if not whole:
        return CUT
    return ECHO if answer == task else ""
