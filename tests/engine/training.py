"""Jobs on tiny models for tests of the engine: rows from a seed, a feed, and the curve that a run leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from families import VOCABULARY, tiny
from tunesmith.contracts.batch import Example
from tunesmith.data.loader import Stateless
from tunesmith.engine import optimizers
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job, fit
from tunesmith.engine.schedules import schedule
from tunesmith.engine.weights import Weights
from tunesmith.events import Event
from tunesmith.methods.full import Full
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.sft import Sft
from tunesmith.recipe.schema import TrainConfig


def examples(count: int, *, longest: int = 24, seed: int = 0) -> list[Example]:
    """Random rows of 3 to ``longest`` tokens, of which the last half is trained."""
    generator = np.random.default_rng(seed)
    rows = []
    for row in range(count):
        length = int(generator.integers(3, longest + 1))
        ids = generator.integers(3, VOCABULARY, length).astype(np.int32)
        rows.append(Example(ids, np.arange(length) >= length // 2, row))
    return rows


@dataclass(frozen=True)
class Rows(Stateless):
    """Updates of ``size`` rows, in order, over and over."""

    rows: Sequence[Example]
    size: int

    def update(self, step: int) -> Sequence[Example]:
        first = step * self.size
        return [self.rows[index % len(self.rows)] for index in range(first, first + self.size)]

    def epoch_of(self, step: int) -> float:
        return step * self.size / len(self.rows)

    def steps_in(self, epochs: float) -> int:
        return round(epochs * len(self.rows) / self.size)


@dataclass
class Record:
    """A sink that keeps what it is told."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def values(self, name: str, kind: str = "step") -> list[float]:
        return [event.values[name] for event in self.events if event.kind == kind]

    @property
    def notes(self) -> list[str]:
        return [event.values["text"] for event in self.events if event.kind == "note"]


def job(
    folder: Path,
    *,
    steps: int,
    method: Any = None,
    dtype: torch.dtype = torch.float32,
    wrap: Callable[[CausalPolicy], torch.nn.Module] | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Job:
    """Fine-tuning of a tiny Llama on 40 random rows, 8 an update; ``options`` replace fields of the job."""
    torch.manual_seed(0)
    model = tiny("llama")
    attached = (method or Full()).attach(model)
    weights = Weights(attached.groups())
    model.to(dtype)
    weights.bind()
    policy = CausalPolicy(model)
    settings = TrainConfig(
        **{"learning_rate": 1e-3, "warmup": 2, "save_every": 2, "evaluate_every": 2, **(config or {})}
    )
    values: dict[str, Any] = {
        "policy": wrap(policy) if wrap else policy,
        "attached": attached,
        "objective": Sft(),
        "weights": weights,
        "optimizer": optimizers.build(weights, settings),
        "schedule": schedule(settings.schedule, total=steps, warmup=settings.warmup),
        "feed": Rows(examples(40), 8),
        "config": settings,
        "folder": folder,
        "steps": steps,
        "microbatch_tokens": 64,
        "emit": Record(),
    }
    return Job(**{**values, **options})


def run(made: Job) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train to the end: the loss curve and the final weights."""
    fit(made, Progress())
    return record(made).values("loss"), final(made)


def record(made: Job) -> Record:
    assert isinstance(made.emit, Record)
    return made.emit


def final(made: Job) -> dict[str, torch.Tensor]:
    """A copy of the trained weights."""
    return {name: value.detach().clone() for name, value in made.weights.values.items()}


def equal(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    """Whether all tensors are the same, bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
