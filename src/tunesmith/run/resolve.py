"""Where names become objects, and every ``auto`` of a recipe becomes a value that is saved with the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.addons import TABLE as ADDONS
from tunesmith.contracts.method import Method
from tunesmith.contracts.objective import Objective
from tunesmith.data.curate import TABLE as STEPS
from tunesmith.engine import optimizers
from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.labels import metric_names
from tunesmith.methods import TABLE as METHODS
from tunesmith.models.load import skeleton
from tunesmith.models.quantized import KINDS
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.objectives.sampled import Sampled
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build
from tunesmith.rewards.build import read_rewards

WATCHED: Mapping[str, tuple[str, ...]] = {
    "tokens": ("loss", "perplexity", "accuracy"),
    "terms": ("loss",),
    "rewards": ("loss",),
}
"""What early stopping can watch by how an objective is judged, besides the objective's own measurements."""


@dataclass(frozen=True)
class Parts:
    """The objects a recipe names."""

    method: Method
    objective: Objective


def parts(recipe: Recipe) -> Parts:
    """Build method and objective, and refuse what cannot be combined, before anything is loaded."""
    built = Parts(build(METHODS, recipe.method), build(OBJECTIVES, recipe.objective))
    for addon in recipe.addons:
        build(ADDONS, addon)
    for step in recipe.curate:
        build(STEPS, step)
    optimizers.check(recipe.train.optimizer)
    if recipe.model.quantize != "none":
        KINDS.load(recipe.model.quantize)
    stopping, watched = recipe.train.early_stopping, _watched(built.objective)
    if stopping is not None and stopping.metric not in watched:
        raise UserError(
            "unknown metric in train.early_stopping.metric",
            got=f"'{stopping.metric}'",
            allowed=watched,
            hint=did_you_mean(stopping.metric, watched),
            code="unknown-metric",
        )
    if recipe.train.batch_tokens is not None and recipe.objective.name != "pretrain":
        raise UserError(
            "train.batch_tokens counts tokens, which only the objective pretrain is measured in",
            got=f"objective {recipe.objective.name}",
            allowed=f"train.batch_size ({built.objective.unit} an update)",
            code="cannot-combine",
        )
    if built.objective.judged == "labels":
        _check_task(recipe)
    if recipe.model.trunk_cache != "off" and (
        built.objective.samples or bool(getattr(built.objective, "on_policy", 0.0))
    ):
        raise UserError(
            "model.trunk_cache keeps what rows give, and answers sampled while training never come again",
            got=f"objective {recipe.objective.name}",
            allowed="model.trunk_cache: off",
            code="cannot-combine",
        )
    if isinstance(built.objective, Sampled):
        read_rewards([*built.objective.rewards, *built.objective.judge])
    return built


def check_model(recipe: Recipe) -> None:
    """Let a method that names parts of its base (``check_model``) refuse the base of ``recipe``, by its config alone.

    So targets and patterns that match nothing are found before rows are read and weights are loaded.
    """
    built = parts(recipe)
    method: Any = built.method
    found = skeleton(recipe.model.base, built.objective.head()) if hasattr(method, "check_model") else None
    if found is not None:
        method.check_model(found)


def check_steps(method: Any, steps: int | None) -> None:
    """Let a method that plans by the run's length (``check_steps``) refuse one of ``steps`` updates, where known."""
    if steps is not None and hasattr(method, "check_steps"):
        method.check_steps(steps)


def _watched(objective: Objective) -> tuple[str, ...]:
    """What early stopping can watch."""
    task = objective.head()
    labels = metric_names(task) if objective.judged == "labels" and task is not None else ()
    return tuple(f"validation_{name}" for name in (*WATCHED.get(objective.judged, ()), *labels, *objective.metrics))


def _check_task(recipe: Recipe) -> None:
    """What makes no sense where a whole text is labelled."""
    if recipe.data.overlong == "split" and recipe.objective.name != "span":
        raise UserError(
            "a labelled text cannot be split: its label belongs to all of it",
            got="data.overlong: split",
            allowed=["drop", "cut", "refuse"],
            code="cannot-combine",
        )
    if not recipe.data.train:
        raise UserError(
            f"the objective {recipe.objective.name} needs labelled rows",
            hint="Name a file in data.train; `tunesmith formats` lists what is understood.",
            code="no-data",
        )


def settled(recipe: Recipe, section: str, **values: Any) -> Recipe:
    """The recipe with ``values`` set in one of its sections."""
    changed = getattr(recipe, section).model_copy(update=values)
    return recipe.model_copy(update={section: changed})
