"""Where names become objects, and every ``auto`` of a recipe becomes a value that is saved with the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.contracts.method import Method
from tunesmith.contracts.objective import Objective
from tunesmith.engine import optimizers
from tunesmith.errors import UserError, did_you_mean
from tunesmith.methods import TABLE as METHODS
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build

WATCHED = ("validation_loss", "validation_perplexity")
"""What early stopping can watch: lower is better."""


@dataclass(frozen=True)
class Parts:
    """The objects a recipe names."""

    method: Method
    objective: Objective


def parts(recipe: Recipe) -> Parts:
    """Build method and objective, and refuse what cannot be combined, before anything is loaded."""
    built = Parts(build(METHODS, recipe.method), build(OBJECTIVES, recipe.objective))
    optimizers.check(recipe.train.optimizer)
    stopping = recipe.train.early_stopping
    if stopping is not None and stopping.metric not in WATCHED:
        raise UserError(
            "unknown metric in train.early_stopping.metric",
            got=f"'{stopping.metric}'",
            allowed=WATCHED,
            hint=did_you_mean(stopping.metric, WATCHED),
            code="unknown-metric",
        )
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
