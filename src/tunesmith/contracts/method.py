"""How parameters are trained: all that the engine learns about a tuning method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Group:
    """Parameters that share an optimizer setting, by stable name."""

    parameters: Mapping[str, nn.Parameter] = field(repr=False)
    rate: float = 1.0
    """multiplies the learning rate"""
    decay: bool = True
    """whether weight decay applies"""


@dataclass(frozen=True)
class Moment:
    """Which update is being made: number ``step`` (from 1) of ``steps``."""

    step: int
    steps: int


class Attached(Protocol):
    """A method put on a model.

    Values of parameters are passed in as ``values`` (name -> float32 tensor) wherever they are stored, because the
    engine keeps float32 masters of parameters that the model holds in bfloat16.
    """

    artifact: Literal["adapter", "model"]
    """What a run folder holds in the end."""
    identity: bool
    """Whether the method promises that step 0 leaves the base's outputs unchanged."""

    def groups(self) -> Sequence[Group]:
        """Every trained parameter, in groups."""
        ...

    def off(self) -> AbstractContextManager[None]:
        """Within it the model answers as the untouched base (not possible for ``model`` artifacts: a no-op there)."""
        ...

    def penalty(self) -> torch.Tensor | None:
        """A scalar added to the loss once an *update* (not a micro-batch), differentiable; None where there is none."""
        ...

    def before_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """Look at the update's clipped gradients (``values[name].grad``) before the optimizer uses them."""
        ...

    def after_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """Change trained values after the optimizer's step (prune, project), in place."""
        ...

    def state(self) -> Mapping[str, torch.Tensor]:
        """What a resumed run needs besides trained values; empty for most methods."""
        ...

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave."""
        ...

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write what was trained into ``folder`` (a PEFT adapter folder, or a transformers model folder)."""
        ...

    def load(self, folder: Path) -> None:
        """Read what ``save`` wrote; every tensor must land, exactly."""
        ...

    def merge(self) -> nn.Module:
        """Fold the method into the base's own weights and give the plain model back."""
        ...


class Method(Protocol):
    """A frozen pydantic config that can attach itself to a model."""

    paper: ClassVar[str]
    use: ClassVar[str]
    """When to use it, in a sentence."""
    usual_rate: ClassVar[float]
    """The learning rate to begin with."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> Attached:
        """Freeze what is frozen, insert what is inserted; a ``UserError`` where the method does not fit the model.

        ``heads`` are paths of modules that are new to this model (a classifier): every method trains and stores them.
        """
        ...
