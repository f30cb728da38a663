"""The recipes of a recipe: a method that is a programme, and stages, written out as ordinary recipes in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean
from tunesmith.events import Event, Sink, silent
from tunesmith.methods import TABLE as METHODS
from tunesmith.models.load import depth, ties_head
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part
from tunesmith.run.reachable import LATER, check_reachable
from tunesmith.run.resolve import check_model, parts

MERGED = ("model", "data", "train", "evaluate")
"""Parts of which a stage may name some options only; ``method`` and ``objective`` are replaced whole."""
BASE, STAGE = "base", LATER
EARLIER = "earlier"
"""What an add-on writes as its ``data`` for the training rows of the stages before."""
TIED = (
    "the head of this model shares its weight with the embeddings and cannot be trained alone: "
    "the phase `head` trains the last block instead (`top-1`)"
)


def expanded(recipe: Recipe, *, emit: Sink = silent) -> Recipe:
    """``recipe`` with a method that is a programme (``progressive``) written out as stages; checked on its base.

    Where the model's head cannot be trained alone, ``emit`` is told what is trained instead.
    """
    if not hasattr(METHODS.load(recipe.method.name.partition(":")[0]), "stages"):
        if not recipe.stages:
            check_model(recipe)
            check_reachable(recipe)
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
    found: list[Recipe] = []
    for number, stage in enumerate(recipe.stages):
        values: dict[str, Any] = recipe.model_dump() | {"stages": [], "name": stage.name or f"stage-{number + 1}"}
        for key in MERGED:
            values[key] = _merged(values[key], getattr(stage, key))
        if stage.train.get("epochs") is not None and "steps" not in stage.train:
            values["train"]["steps"] = None
        for key in ("method", "objective"):
            values[key] = getattr(stage, key) or values[key]
        asked = recipe.addons if stage.addons is None else stage.addons
        values["addons"] = [addon for part in asked if (addon := _with_rows(part, found)) is not None]
        one = validated(Recipe, values, f"stages.{number}")
        parts(one)
        check_model(one)
        check_reachable(one)
        found.append(one)
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UserError("two stages have the same name", got=names, code="bad-stages")
    for number in range(len(names)):
        origin_of(recipe, number, names)
        for name in _named(found[number]):
            _check_earlier(name, names[:number], f"stage:{name} in stage {names[number]}")
    return found


def origin_of(recipe: Recipe, number: int, names: Sequence[str]) -> int | None:
    """The number of the stage whose result stage ``number`` goes on from; None for the base itself."""
    start = recipe.stages[number].start
    if start == BASE or (start is None and number == 0):
        return None
    if start is None:
        return number - 1
    _check_earlier(start, names[:number], f"start of stage {names[number]}", BASE)
    return names.index(start)


def _check_earlier(name: str, earlier: Sequence[str], where: str, *also: str) -> None:
    if name not in earlier:
        raise UserError(
            f"the {where} names no earlier stage",
            got=f"'{name}'",
            allowed=[*earlier, *also] or "nothing: it is the first stage",
            hint=did_you_mean(name, earlier),
            code="bad-stages",
        )


def with_folders(recipe: Recipe, folders: Mapping[str, Path]) -> Recipe:
    """A stage's recipe with ``stage:NAME`` in its objective and add-ons replaced by the run folder of that stage."""

    def replaced(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(STAGE):
            return str(folders[value.removeprefix(STAGE)].resolve())
        if isinstance(value, Mapping):
            return {key: replaced(one) for key, one in value.items()}
        return [replaced(one) for one in value] if isinstance(value, list) else value

    parts_of = {"objective": recipe.objective.model_dump(), "addons": [one.model_dump() for one in recipe.addons]}
    return validated(Recipe, {**recipe.model_dump(), **replaced(parts_of)}, recipe.name)


def _with_rows(addon: Part, before: Sequence[Recipe]) -> dict[str, Any] | None:
    """An add-on with ``data: earlier`` given the training rows of the stages ``before``; None where there are none."""
    values: dict[str, Any] = addon.model_dump()
    if values.get("data") != EARLIER:
        return values
    sources = [source.model_dump() for one in before for source in one.data.train]
    sources = [one for number, one in enumerate(sources) if one not in sources[:number]]
    return {**values, "data": sources} if sources else None


def _named(recipe: Recipe) -> list[str]:
    """Names of the stages that ``stage:NAME`` stands for in a stage's recipe."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, str) and value.startswith(STAGE):
            found.append(value.removeprefix(STAGE))
        for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
            look(one)

    look([recipe.objective.model_dump(), *(one.model_dump() for one in recipe.addons)])
    return found


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, **changes}
