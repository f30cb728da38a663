"""What can be added to any objective: it looks at a run before its first update and changes a few values of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunesmith.contracts.batch import Example, Feed
    from tunesmith.contracts.method import Attached
    from tunesmith.contracts.objective import Objective
    from tunesmith.events import Sink
    from tunesmith.recipe.schema import SourceConfig


class Masters(Protocol):
    """Trained parameters as the model holds them, and their float32 masters (``engine.weights.Weights``)."""

    parameters: dict[str, nn.Parameter]
    values: dict[str, torch.Tensor]

    def collect(self) -> None:
        """Make ``values[name].grad`` the float32 gradient."""
        ...

    def drop_gradients(self) -> None:
        """Forget all gradients."""
        ...


@dataclass(frozen=True)
class Setting:
    """A run before its first update: what it will train, on what, and what add-ons may ask for."""

    policy: nn.Module
    attached: Attached
    weights: Masters
    optimizer: torch.optim.Optimizer
    objective: Objective
    feed: Feed
    tasks: Callable[[], Sequence[Feed]]
    """A feed for each data source alone."""
    sources: Sequence[str]
    """Names by ``Example.source``; rows of an add-on take the next numbers."""
    rows: Callable[[Literal["auto"] | Sequence[SourceConfig]], list[Example]]
    """The rows of an add-on, as the run's objective reads them; ``auto``: text that the base writes itself."""
    words: Callable[[Literal["auto"] | Sequence[SourceConfig]], list[Example]]
    """The same as plain sequences whose answers (or whole texts) are targets; language models only."""
    steps: int
    tokens: int
    """Tokens computed at once."""
    folder: Path
    """Where what must outlive a stop is kept (measured once, read again by a resumed run)."""
    seed: int
    emit: Sink


@dataclass(frozen=True)
class Added:
    """What an add-on puts in place of the run's own; None leaves it as it is."""

    objective: Objective | None = None
    feed: Feed | None = None
    attached: Attached | None = None
    penalty: Callable[[], torch.Tensor | None] | None = None
    """A differentiable scalar, added to the loss once an update."""
    sources: Sequence[str] = ()
    """Names of further data sources that the feed brings."""
    tokens: int | None = None
    """Tokens computed at once, where an example costs more than its tokens."""


class Addon(Protocol):
    """A frozen pydantic config that can put itself on a run."""

    paper: ClassVar[str]
    use: ClassVar[str]
    """When to use it, in a sentence."""

    def put(self, setting: Setting) -> Added:
        """Look at the run, measure what is needed, and say what changes; a ``UserError`` where it does not fit.

        Called again when a run is resumed, with the same setting: it must then give the very same.
        """
        ...
