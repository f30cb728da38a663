"""Reptile: a start from which every task is learned in few steps (Nichol, Achiam & Schulman 2018, arXiv:1803.02999).

    for iteration i of n:  task τ;  φ̃ = k optimizer updates on τ from φ;  φ ← φ + ε (1 − i/n) (φ̃ − φ)     (algorithm 1)

or, with ``kind: fomaml``, first-order MAML (Finn, Abbeel & Levine 2017, arXiv:1703.03400, section 5.2): the start takes
only the last of the k updates, made of the gradient after k − 1 of them on rows that those did not see,

    φ ← φ + ε (1 − i/n) (φ_k − φ_{k−1}),      φ_k − φ_{k−1} = −α ∇L_τ(φ_{k−1})  where the optimizer is SGD of rate α,

so it asks what helps *after* adapting, and leaves out the second derivatives of MAML (equation 1).

Tasks are the data sources, each as often as the others, in an order drawn anew every round. Every task begins with a
fresh optimizer: what moved one task does not move the next. Then adapt: a further stage (or run, by ``model.start``)
on the new task's rows, without this add-on.

The traps: k updates are *one* step of the outer loop, so ``train.steps`` counts inner ones, and the learning rate is
the inner one (``schedule: constant``). A result measured inside an iteration is one task's: let ``evaluate_every`` be a
multiple of ``inner_steps``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

import numpy as np
from pydantic import Field

from tunesmith.addons.around import refuse_sampling, refused
from tunesmith.addons.pull import start_of
from tunesmith.contracts.addon import Added, Masters, Setting
from tunesmith.contracts.batch import Example, Feed
from tunesmith.contracts.method import Attached, Moment
from tunesmith.data.loader import Stateless
from tunesmith.errors import UserError
from tunesmith.recipe.base import PartConfig
from tunesmith.seed import derive

if TYPE_CHECKING:
    import torch

PREFIX = "reptile."


class Reptile(PartConfig):
    """Learns a start from which each of several tasks (the data sources) is learned in few steps."""

    NAME: ClassVar[str] = "reptile"
    paper: ClassVar[str] = "https://arxiv.org/abs/1803.02999"
    use: ClassVar[str] = "Many small tasks now, more of the same kind later, each with few rows."

    kind: Literal["reptile", "fomaml"] = "reptile"
    """What moves the start: all updates on a task, or only the last of them (first-order MAML)."""
    inner_steps: Annotated[int, Field(gt=1)] = 5
    """Updates on one task before the start is moved (k); with one it would be ordinary training on mixed tasks."""
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """How far the start is moved towards what a task made of it (of `fomaml`: the share of the last update that it
    takes), in the first iteration."""
    anneal: bool = True
    """Whether `rate` falls to zero in a straight line over the run."""

    def put(self, setting: Setting) -> Added:
        """A feed of one task at a time, and the outer step after every ``inner_steps`` updates."""
        refuse_sampling(setting, self.NAME)
        if setting.objective.beside:
            raise refused(setting, self.NAME, "an objective that reads no model beside the trained one")
        tasks = setting.tasks()
        if len(tasks) < 2:
            raise UserError(
                "reptile needs several tasks",
                got=f"{len(tasks)} data source",
                allowed="a source in data.train for every task, two at least",
                code="cannot-combine",
            )
        feed = TaskFeed(tasks, inner_steps=self.inner_steps, seed=setting.seed)
        outer = Outer(setting.attached, setting.weights, setting.optimizer, self)
        return Added(feed=feed, attached=cast(Attached, outer))


class TaskFeed(Stateless):
    """``inner_steps`` updates of one task after the other; a task goes on in its own rows where it stopped."""

    def __init__(self, tasks: Sequence[Feed], *, inner_steps: int, seed: int) -> None:
        self._tasks, self._inner, self._seed = tasks, inner_steps, seed

    def task(self, iteration: int) -> int:
        """Which task iteration ``iteration`` (from 0) is of."""
        turn, place = divmod(iteration, len(self._tasks))
        order = np.random.default_rng(derive(self._seed, "reptile", turn)).permutation(len(self._tasks))
        return int(order[place])

    def update(self, step: int) -> Sequence[Example]:
        """The examples of optimizer update ``step``, all of one task."""
        iteration, inside = divmod(step, self._inner)
        before = iteration // len(self._tasks) * self._inner
        return self._tasks[self.task(iteration)].update(before + inside)

    def epoch_of(self, step: int) -> float:
        """Passes over all tasks' rows, if the tasks were of one size."""
        return step / self.steps_in(1.0)

    def steps_in(self, epochs: float) -> int:
        """Updates in ``epochs`` passes over the rows of all tasks."""
        return math.ceil(epochs * sum(task.steps_in(1.0) for task in self._tasks))


class Outer:
    """A method whose values are moved back to (near) the iteration's start after every inner loop."""

    def __init__(self, inner: Attached, weights: Masters, optimizer: torch.optim.Optimizer, config: Reptile) -> None:
        self.inner, self.weights, self.optimizer, self.config = inner, weights, optimizer, config
        self.start = start_of(weights)
        self._inside = False
        self._before_last: dict[str, torch.Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def before_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """The inner method's; and where an inner loop ends, first-order MAML remembers what it had come to."""
        self.inner.before_step(moment, values)
        self._inside = moment.step % self.config.inner_steps != 0 and moment.step != moment.steps
        if self.config.kind == "fomaml" and not self._inside:
            self._before_last = {name: value.detach().clone() for name, value in values.items()}

    def after_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """The outer step where an inner loop (or the run) ends."""
        import torch

        self.inner.after_step(moment, values)
        if self._inside:
            return
        length = self.config.inner_steps
        done, iterations = (moment.step - 1) // length, math.ceil(moment.steps / length)
        rate = self.config.rate * (1.0 - done / iterations if self.config.anneal else 1.0)
        with torch.no_grad():
            for name, value in values.items():
                origin = self._before_last.get(name, self.start[name])
                value.copy_(self.start[name].add_(value - origin, alpha=rate))
        self._before_last = {}
        self.optimizer.state.clear()

    def state(self) -> Mapping[str, torch.Tensor]:
        """The inner method's; and, inside an iteration, where it began."""
        ours = {f"{PREFIX}{name}": value for name, value in self.start.items()} if self._inside else {}
        return {**self.inner.state(), **ours}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave, once the weights are restored."""
        ours = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        self.inner.restore({name: value for name, value in state.items() if not name.startswith(PREFIX)})
        self.start = start_of(self.weights)
        for name, value in ours.items():
            self.start[name].copy_(value)
