"""Rollouts as a feed of updates (``contracts.batch.Feed``).

    rollout r:  batch_size × mini_batches prompts, answered with the weights as they are then
    updates:    mini_epochs passes over its examples, each in a new order, cut into mini_batches

What is sampled depends on the weights, so updates must be asked for in their order, and what is left of the rollout
under way is the feed's state. Prompts come in the order of epochs over the rows; with dynamic sampling a rollout may
take more of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs
from tunesmith.data.loader import EpochOrder
from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, silent
from tunesmith.rollouts.held import Held
from tunesmith.rollouts.kl_control import adapted
from tunesmith.rollouts.questions import Question
from tunesmith.rollouts.rollout import Rollout, Tools, make
from tunesmith.rollouts.watch import warnings
from tunesmith.seed import derive

ALIKE = 3
"""Rollouts without any difference between rewards, from the first on, after which training is given up."""


def alone(work: Callable[[], Held]) -> Held:
    """The work of a single process; several share what the first has made (``engine.workers``)."""
    return work()


@dataclass(frozen=True)
class Plan:
    """How many prompts and updates a rollout has, of ``prompts`` rows an epoch."""

    batch_size: int
    mini_batches: int
    mini_epochs: int
    prompts: int

    @property
    def per_rollout(self) -> int:
        """Prompts of a rollout."""
        return self.batch_size * self.mini_batches

    @property
    def updates(self) -> int:
        """Updates made of a rollout."""
        return self.mini_batches * self.mini_epochs

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes over the prompts; whole rollouts, at least one."""
        return max(1, math.ceil(round(epochs * self.prompts / self.per_rollout, 9))) * self.updates


class RolloutFeed:
    """Updates made of answers that are sampled as training goes on."""

    def __init__(
        self,
        tools: Tools,
        questions: Sequence[Question],
        order: EpochOrder,
        plan: Plan,
        *,
        seed: int,
        emit: Sink = silent,
        shared: Callable[[Callable[[], Held]], Held] = alone,
    ) -> None:
        self.tools, self.plan = tools, plan
        self._questions, self._order = questions, order
        self._seed, self._emit, self._shared = seed, emit, shared
        self._held = Held(kl=tools.objective.reward_kl)

    def update(self, step: int) -> Sequence[Example]:
        """The examples of update ``step``; those of a rollout's first one are sampled now.

        Raises ``UserError``: ``rewards-alike`` where no rewards ever differ, and what sampler and rewards raise.
        """
        number, place = divmod(step, self.plan.updates)
        if self._held.number != number:
            if place != 0 or self._held.number != number - 1:
                raise RuntimeError(f"update {step} is asked for, but rollout {self._held.number} is held")
            self._held = self._shared(lambda: self._next(number))
        mini_epoch, batch = divmod(place, self.plan.mini_batches)
        order = _generator(self._seed, "mini-epoch", number, mini_epoch).permutation(len(self._held.examples))
        # a rollout of fewer examples than mini-batches gives some of them twice
        order = np.resize(order, max(len(order), self.plan.mini_batches))
        return [self._held.examples[index] for index in np.array_split(order, self.plan.mini_batches)[batch]]

    def epoch_of(self, step: int) -> float:
        """How many epochs of prompts have passed when update ``step`` begins."""
        return step / self.plan.updates * self.plan.per_rollout / self.plan.prompts

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes over the prompts."""
        return self.plan.steps_in(epochs)

    def state(self) -> Mapping[str, torch.Tensor]:
        """The rollout under way, and what the next one begins with."""
        return self._held.state()

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave."""
        self._held = Held.of(state)

    def _next(self, number: int) -> Held:
        started, before, cursor = time.perf_counter(), self._held, self._held.cursor

        def take(count: int) -> tuple[list[Question], list[list[int]]]:
            nonlocal cursor
            places = range(cursor, cursor + count)
            cursor += count
            return [self._question(place) for place in places], [self._seeds(place) for place in places]

        made = make(self.tools, take, prompts=self.plan.per_rollout, kl=before.kl)
        objective = self.tools.objective
        kl = adapted(before.kl, made.measured.kl, target=objective.kl_target, rate=objective.kl_rate)
        alike = -1 if made.differs or before.alike < 0 else before.alike + 1
        history = (*before.history, made.measured)
        found = warnings(history)
        held = Held(kl, number, cursor, alike, tuple(made.examples), history, before.told | found.keys())
        self._tell(held, made, seconds=time.perf_counter() - started)
        for sign in sorted(held.told - before.told):
            self._emit(Event("note", number * self.plan.updates, {"text": f"warning: {found[sign]}"}))
        return held

    def _tell(self, held: Held, made: Rollout, *, seconds: float) -> None:
        step = held.number * self.plan.updates
        told = {name: value for name, value in made.told.items() if value == value}  # noqa: PLR0124 - not a number
        self._emit(Event("rollout", step, {"number": held.number, **told, "seconds": round(seconds, 3)}))
        if held.alike >= ALIKE:
            raise UserError(
                f"no rewards differed in the first {ALIKE} rollouts, so there is nothing to learn from",
                got=f"a reward of {made.measured.reward:g} for each of {made.told['answers']} answers",
                hint="The prompts may be far too hard or too easy, or the reward may not fit them: read the answers in "
                "the run's events ('rollout'), raise objective.answers or objective.temperature.",
                code="rewards-alike",
            )

    def _question(self, place: int) -> Question:
        epoch, inside = divmod(place, len(self._order))
        return self._questions[int(self._order.epoch(epoch)[inside])]

    def _seeds(self, place: int) -> list[int]:
        return [derive(self._seed, "answer", place, number) for number in range(self.tools.objective.answers_each)]


def remembered(_: Sequence[Example], batch: Batch) -> Outputs:
    """The reference of a rollout's examples (``engine.loop.Beside``): asked once, when they were sampled."""
    logprob = batch.extras.get("reference")
    return Outputs() if logprob is None else Outputs(logprob=logprob)


def _generator(seed: int, *path: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive(seed, *path)))
