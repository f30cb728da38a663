"""What a proof is, what it is given, and what it answers.

A proof measures something on the user's own model and rows and compares it with a bound that has a reason. It works on
a few short *windows* of rows, because what it shows (who sees whom, what is summed, what is saved) does not depend on
length, and leaves model, weights, gradients, random state and modes as it found them (``keep.untouched``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.method import Attached, Method
from tunesmith.contracts.objective import Objective
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.loader import Stateless
from tunesmith.engine import optimizers
from tunesmith.engine.loop import Beside, Job
from tunesmith.engine.weights import Weights
from tunesmith.models.policy import CausalPolicy
from tunesmith.proof.windows import window
from tunesmith.recipe.schema import TrainConfig

WINDOWS = (32, 12, 21)
"""Tokens of the windows: unequal, so that a mean taken for a sum and a padded row show."""


@dataclass(frozen=True)
class Measured:
    """What a proof found; ``detail`` says what exactly is wrong where something is."""

    passed: bool
    value: float | str | None
    bound: float | str | None
    detail: str = ""

    @classmethod
    def below(cls, value: float, bound: float, detail: str = "") -> Measured:
        """Passed where ``value <= bound`` (not a number never is)."""
        return cls(value <= bound, value, bound, detail)

    @classmethod
    def none_wrong(cls, wrong: Sequence[str]) -> Measured:
        """Passed where nothing is wrong; the first of what is wrong is told."""
        return cls(not wrong, len(wrong), 0, wrong[0] if wrong else "")


@dataclass(frozen=True)
class Outcome:
    """The answer of a proof: ``why`` says what it means, or what is wrong and what to do.

    ``passed`` is None where the proof was left out; then ``why`` says for what reason.
    """

    name: str
    passed: bool | None
    measured: float | str | None
    bound: float | str | None
    why: str
    seconds: float = 0.0
    cached: bool = False
    """Whether it was proven before, for the same content."""

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON holds it; one that was left out has its reason as ``skipped``."""
        return asdict(self) if self.passed is not None else {**asdict(self), "skipped": self.why}


@dataclass(frozen=True)
class Bounds:
    """A bound for each dtype of the forward pass; ``reason`` says where the numbers come from."""

    float32: float
    bfloat16: float
    reason: str

    def of(self, dtype: torch.dtype) -> float:
        """The bound for ``dtype``; float64 is held to that of float32."""
        return self.float32 if dtype in (torch.float32, torch.float64) else self.bfloat16


@dataclass(frozen=True)
class Case:
    """What is proven: the parts of a run, at step 0, and a few of its rows."""

    policy: CausalPolicy
    method: Method
    attached: Attached
    weights: Weights
    objective: Objective
    encoder: ChatEncoder
    config: TrainConfig
    examples: Sequence[Example]
    """A few sequences as the token store holds them (at least one)."""
    records: Mapping[int, Record]
    """Their rows, by ``Example.row``."""
    targets: NDArray[Any] | None = field(default=None, repr=False)
    """Trained tokens of *every* sequence of the store, int64 ``[n]``; None counts those of ``examples``."""
    seed: int = 0
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """The frozen models that the objective names, as they are before the first update."""
    scratch: Path | None = None
    """Where ``prove`` lets proofs keep files for one another."""

    @cached_property
    def windows(self) -> list[Example]:
        """One short piece of a row for each length in ``WINDOWS``, each with a trained token."""
        usable = [example for example in self.examples if example.targets]
        return [window(usable[at % len(usable)], size) for at, size in enumerate(WINDOWS)] if usable else []

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the forward pass."""
        return self.policy.dtype

    def batch(self, examples: Sequence[Example]) -> Batch:
        """A micro-batch of ``examples`` on the model's device, with what frozen models say of it."""
        batch = self.objective.collate(examples).to(self.policy.device)
        return replace(batch, beside={name: ask(examples, batch) for name, ask in self.beside.items()})

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within, the model runs without dropout and without gradients."""
        self.policy.eval()
        with torch.no_grad():
            yield

    def read(self, outputs: Outputs) -> torch.Tensor:
        """What the loss reads of ``outputs``, ``[N]`` or ``[N, C]``."""
        found = (outputs.scores, outputs.logprob, outputs.values, outputs.value, outputs.hidden)
        return next(one for one in found if one is not None)

    def logprobs(self, examples: Sequence[Example]) -> torch.Tensor:
        """What the loss would read, without gradients and dropout: log-probabilities of targets, float32 ``[N]``, or
        the scores of a task head, ``[N, C]``."""
        with self.still():
            return self.read(self.policy(self.batch(examples), self.objective.want))

    def job(self, folder: Path, policy: torch.nn.Module | None = None) -> Job:
        """A job over the windows with an optimizer of its own; update ``k`` trains on window ``k``."""
        return Job(
            policy=policy or self.policy,
            attached=self.attached,
            objective=self.objective,
            weights=self.weights,
            optimizer=optimizers.build(self.weights, self.config),
            schedule=_always,
            feed=_Rotation(self.windows),
            config=self.config,
            folder=folder,
            steps=len(WINDOWS),
            microbatch_tokens=max(WINDOWS),
            seed=self.seed,
            beside=self.beside,
        )


def _anywhere(_: Case) -> bool:
    return True


@dataclass(frozen=True)
class Proof:
    """One proof: ``means`` is what holds where it passes, ``mend`` what to do where it does not."""

    means: str
    mend: str
    measure: Callable[[Case], Measured]
    applies: Callable[[Case], bool] = _anywhere
    passes: int = 1
    """Forward passes over the windows it costs (a backward counts two), to keep within the budget of time."""
    of_rows: bool = False
    """It speaks about the user's rows, so what was proven for other rows is no proof."""

    def outcome(self, name: str, measured: Measured, seconds: float) -> Outcome:
        """The answer, in one sentence or two."""
        why = self.means if measured.passed else ". ".join(part for part in (measured.detail, self.mend) if part)
        return Outcome(name, measured.passed, _finite(measured.value), _finite(measured.bound), why, round(seconds, 3))


@dataclass(frozen=True)
class _Rotation(Stateless):
    windows: Sequence[Example]

    def update(self, step: int) -> Sequence[Example]:
        """One window after the other."""
        return [self.windows[step % len(self.windows)]]

    def epoch_of(self, step: int) -> float:
        """The windows are seen once."""
        return step / len(self.windows)

    def steps_in(self, epochs: float) -> int:
        """One update a window."""
        return round(epochs * len(self.windows))


def _always(_: int) -> float:
    return 1.0


def _finite(value: float | str | None) -> float | str | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
