"""A run before its first update, on a tiny model: what add-ons are put on in tests, and the job that comes of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from families import VOCABULARY, tiny
from tunesmith.addons.by_source import BySource
from tunesmith.contracts.addon import Added, Setting
from tunesmith.contracts.batch import Example
from tunesmith.data.loader import Stateless
from tunesmith.engine import optimizers
from tunesmith.engine.beside import Live
from tunesmith.engine.loop import Job
from tunesmith.engine.schedules import schedule
from tunesmith.engine.weights import Weights
from tunesmith.events import silent
from tunesmith.methods.full import Full
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.sft import Sft
from tunesmith.recipe.schema import TrainConfig

CONFIG = TrainConfig(learning_rate=1e-2, warmup=0, schedule="constant", clip=0.0, save_every=1, keep=10)


def examples(count: int, *, seed: int = 0, source: int = 0, longest: int = 20) -> list[Example]:
    """Random rows of 4 to ``longest`` tokens, of which the last half is trained."""
    generator = np.random.default_rng(seed)
    rows = []
    for row in range(count):
        length = int(generator.integers(4, longest + 1))
        ids = generator.integers(3, VOCABULARY, length).astype(np.int32)
        rows.append(Example(ids, np.arange(length) >= length // 2, row, source))
    return rows


@dataclass(frozen=True)
class Rows(Stateless):
    """Updates of ``size`` rows, in order, over and over."""

    rows: Sequence[Example]
    size: int = 6

    def update(self, step: int) -> Sequence[Example]:
        first = step * self.size
        return [self.rows[index % len(self.rows)] for index in range(first, first + self.size)]

    def epoch_of(self, step: int) -> float:
        return step * self.size / len(self.rows)

    def steps_in(self, epochs: float) -> int:
        return round(epochs * len(self.rows) / self.size)


def setting(
    folder: Path,
    *,
    method: Any = None,
    dtype: torch.dtype = torch.float32,
    dropout: bool = False,
    steps: int = 4,
    **options: Any,
) -> Setting:
    """A tiny Llama (GPT-2 with dropout) with two sources of rows; ``old`` rows are what add-ons ask for."""
    torch.manual_seed(0)
    model = tiny("gpt2", dropout=True) if dropout else tiny("llama")
    attached = (method or Full()).attach(model)
    weights = Weights(attached.groups())
    model.to(dtype)
    weights.bind()
    tasks = [Rows(examples(12, seed=1, source=0)), Rows(examples(12, seed=2, source=1))]
    both = [row for pair in zip(tasks[0].rows, tasks[1].rows, strict=True) for row in pair]
    old = examples(10, seed=3)
    values: dict[str, Any] = {
        "policy": CausalPolicy(model),
        "attached": attached,
        "weights": weights,
        "optimizer": optimizers.build(weights, CONFIG),
        "objective": BySource(Sft(), ("first", "second")).objective,
        "feed": Rows(both),
        "tasks": lambda: tasks,
        "sources": ("first", "second"),
        "rows": lambda _: old,
        "words": lambda _: old,
        "steps": steps,
        "tokens": 10_000,
        "folder": folder / "addon",
        "seed": 0,
        "emit": silent,
    }
    return Setting(**{**values, **options})


def put(made: Setting, *addons: Any) -> tuple[Setting, list[Added]]:
    """All of ``addons`` put on, one after the other."""
    found = []
    for number, addon in enumerate(addons):
        added = addon.put(replace(made, folder=made.folder / str(number)))
        made = replace(
            made,
            objective=added.objective or made.objective,
            feed=added.feed or made.feed,
            attached=added.attached or made.attached,
            sources=[*made.sources, *added.sources],
            tokens=added.tokens or made.tokens,
        )
        found.append(added)
    return made, found


def job(made: Setting, added: Sequence[Added], folder: Path, **options: Any) -> Job:
    """What the engine runs; the reference is a copy of the model as it is now."""
    beside = {name: Live(copy.deepcopy(made.policy), want, nullcontext) for name, want in made.objective.beside.items()}
    values: dict[str, Any] = {
        "policy": made.policy,
        "attached": made.attached,
        "objective": made.objective,
        "weights": made.weights,
        "optimizer": made.optimizer,
        "schedule": schedule("constant", total=made.steps, warmup=0),
        "feed": made.feed,
        "config": CONFIG,
        "folder": folder,
        "steps": made.steps,
        "microbatch_tokens": made.tokens,
        "beside": beside,
        "penalties": {str(number): one.penalty for number, one in enumerate(added) if one.penalty is not None},
    }
    return Job(**{**values, **options})


def stir(made: Setting, *, size: float = 0.05, seed: int = 5) -> None:
    """Move every trained value a little."""
    generator = torch.Generator().manual_seed(seed)
    values = {
        name: value + size * torch.randn(value.shape, generator=generator)
        for name, value in made.weights.values.items()
    }
    made.weights.set(values)  # type: ignore[attr-defined]


def gradients(made: Setting) -> dict[str, torch.Tensor]:
    """The update's float32 gradients, which are then dropped."""
    made.weights.collect()
    found = {name: value.grad.clone() for name, value in made.weights.values.items() if value.grad is not None}
    made.weights.drop_gradients()
    return found
