"""What add-ons share: an objective around another one, and the checks of what can be combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from tunesmith.contracts.addon import Setting
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Objective
from tunesmith.errors import UserError
from tunesmith.objectives.language import Language
from tunesmith.recipe.schema import SourceConfig

if TYPE_CHECKING:
    import torch

Data = Literal["auto"] | list[SourceConfig]
"""Rows of an add-on: text that the base writes itself, or files."""


class Around:
    """An objective that says some things itself; all else is the ``inner`` one's."""

    copies = 1
    """How often every example stands in a batch."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def objective(self) -> Objective:
        """This, as the engine sees it."""
        return cast(Objective, self)


def innermost(objective: Objective) -> Objective:
    """The run's own objective inside those that add-ons put around it."""
    while isinstance(objective, Around):
        objective = objective.inner
    return objective


def copies(objective: Objective) -> int:
    """How often every example stands in a batch that ``objective`` collates."""
    return objective.copies * copies(objective.inner) if isinstance(objective, Around) else 1


def refuse_tasks(setting: Setting, name: str) -> None:
    """A ``UserError`` (``cannot-combine``) where the model has a task head in place of its vocabulary."""
    if setting.objective.head() is not None:
        raise refused(setting, name, "an objective over words: the base had no such output layer to stay close to")


def refuse_sampling(setting: Setting, name: str) -> None:
    """A ``UserError`` (``cannot-combine``) where the objective learns from answers that it samples."""
    if setting.objective.samples:
        raise refused(setting, name, "an objective that learns from rows, not from answers it samples")


def refuse_other_units(setting: Setting, name: str) -> None:
    """A ``UserError`` (``cannot-combine``) where rows of plain text cannot stand beside those of the objective."""
    if not isinstance(innermost(setting.objective), Language):
        raise refused(setting, name, "sft or pretrain, whose rows are texts; or `data:` with rows of the objective")


def refused(setting: Setting, name: str, allowed: str) -> UserError:
    """What is said where an add-on and an objective do not go together."""
    return UserError(
        f"the add-on {name} does not go with this objective as it is set",
        got=type(innermost(setting.objective)).__name__.lower(),
        allowed=allowed,
        code="cannot-combine",
    )


def by_rows(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """``values [N]`` of the readout rows summed into their examples ``[E]``, every row as much as the others."""
    example = batch.groups[batch.readout.unit]
    return values.new_zeros(batch.examples).index_add(0, example, values)


def sources_of(batch: Batch) -> torch.Tensor:
    """int64 ``[E]``: the data source of each example."""
    found = batch.sources.new_zeros(batch.examples)
    found[batch.groups] = batch.sources
    return found


def targets(examples: Sequence[Example]) -> float:
    """Targets of all ``examples``."""
    return float(sum(example.targets for example in examples))
