"""The recipes of a recipe: a method that is a programme, and stages, written out as ordinary recipes in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, silent
from tunesmith.methods import TABLE as METHODS
from tunesmith.models.load import depth, ties_head
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.recipe.parts import build
from tunesmith.run.resolve import parts

MERGED = ("model", "data", "train", "evaluate")
"""Parts of which a stage may name some options only; ``method`` and ``objective`` are replaced whole."""
TIED = (
    "the head of this model shares its weight with the embeddings and cannot be trained alone: "
    "the phase `head` trains the last block instead (`top-1`)"
)


def expanded(recipe: Recipe, *, emit: Sink = silent) -> Recipe:
    """``recipe`` with a method that is a programme (``progressive``) written out as stages.

    Where the model's head cannot be trained alone, ``emit`` is told what is trained instead.
    """
    if not hasattr(METHODS.load(recipe.method.name.partition(":")[0]), "stages"):
        return recipe
    if recipe.stages:
        raise UserError(
            f"the method {recipe.method.name} brings its own stages",
            got="stages besides it",
            hint="Give the stages alone, or the method alone.",
            code="cannot-combine",
        )
    programme = build(METHODS, recipe.method)
    blocks = depth(recipe.model.base)
    if blocks is not None:
        programme.check_depth(blocks)
    if programme.trains_head_alone and _tied(recipe):
        programme = programme.on_tied_head()
        emit(Event("note", 0, {"text": TIED}))
    values = recipe.model_dump() | {"method": {"name": "full"}, "stages": programme.stages(recipe.train)}
    return validated(Recipe, values, "method")


def _tied(recipe: Recipe) -> bool:
    """Whether ``recipe`` trains a language model whose head is its embeddings."""
    return build(OBJECTIVES, recipe.objective).head() is None and ties_head(recipe.model.base)


def stage_recipes(recipe: Recipe) -> list[Recipe]:
    """The recipe of each stage, checked before the first one starts."""
    found = []
    for number, stage in enumerate(recipe.stages):
        values: dict[str, Any] = recipe.model_dump() | {"stages": [], "name": stage.name or f"stage-{number + 1}"}
        for key in MERGED:
            values[key] = _merged(values[key], getattr(stage, key))
        if stage.train.get("epochs") is not None and "steps" not in stage.train:
            values["train"]["steps"] = None
        for key in ("method", "objective"):
            values[key] = getattr(stage, key) or values[key]
        one = validated(Recipe, values, f"stages.{number}")
        parts(one)
        found.append(one)
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UserError("two stages have the same name", got=names, code="bad-stages")
    return found


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, **changes}
