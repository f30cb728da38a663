"""Where names become objects, and every ``auto`` of a recipe becomes a value that is saved with the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.contracts.method import Method
from tunesmith.contracts.objective import Objective
from tunesmith.errors import UserError
from tunesmith.methods import TABLE as METHODS
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build


@dataclass(frozen=True)
class Parts:
    """The objects a recipe names."""

    method: Method
    objective: Objective


def parts(recipe: Recipe) -> Parts:
    """Build method and objective, and refuse what cannot be combined, before anything is loaded."""
    built = Parts(build(METHODS, recipe.method), build(OBJECTIVES, recipe.objective))
    if recipe.train.batch_tokens is not None and recipe.objective.name != "pretrain":
        raise UserError(
            "train.batch_tokens counts tokens, which only the objective pretrain is measured in",
            got=f"objective {recipe.objective.name}",
            allowed=f"train.batch_size ({built.objective.unit} an update)",
            code="cannot-combine",
        )
    return built


def settled(recipe: Recipe, section: str, **values: Any) -> Recipe:
    """The recipe with ``values`` set in one of its sections."""
    changed = getattr(recipe, section).model_copy(update=values)
    return recipe.model_copy(update={section: changed})
