"""Where training starts: at the base itself, or at what an earlier run made of it (``model.start``).

An earlier whole model replaces the base's weights. An earlier adapter is gone on with where the method is the same,
and otherwise folded into the base, on which the new method then stands. Where the objective compares with the model as
training began it is folded too: the new adapter switched off must be that model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from tunesmith.errors import UserError
from tunesmith.methods import TABLE as METHODS
from tunesmith.methods.full import Full
from tunesmith.models.task_head import add_heads
from tunesmith.objectives import TABLE as OBJECTIVES
from tunesmith.recipe import Recipe
from tunesmith.recipe.parts import build
from tunesmith.run.folder import Run


def begin(model: nn.Module, recipe: Recipe, *, heads: Sequence[str] = ()) -> Path | None:
    """Put the result of ``recipe.model.start`` into ``model``, frozen.

    Returns the adapter folder that is still to be loaded once the recipe's own method, which is the same, is attached.
    Raises ``UserError``: ``not-a-run``, ``no-result``, ``start-mismatch``, ``cannot-merge``.
    """
    if recipe.model.start is None:
        return None
    run = Run.open(recipe.model.start).last_stage
    earlier, artifact = run.recipe, run.artifact
    if earlier.model.base != recipe.model.base:
        raise UserError(
            "model.start was trained from another base",
            got=earlier.model.base,
            allowed=recipe.model.base,
            hint="Set model.base to the base of that run.",
            code="start-mismatch",
        )
    if artifact.name == "model" and new_output(recipe):
        return None  # `base_of` has it loaded already: its body, under another output layer
    then, now = build(OBJECTIVES, earlier.objective), build(OBJECTIVES, recipe.objective)
    heads = heads if then.head() is not None else ()
    with _heads_of(model, now.more_heads(), then.more_heads()) as more:
        if artifact.name == "model":
            Full().attach(model, heads=[*heads, *more]).load(artifact)
            model.requires_grad_(False)
            return None
        begin(model, earlier, heads=heads)
        same_heads = then.head() == now.head() and then.more_heads() == now.more_heads()
        if earlier.method == recipe.method and same_heads and not now.beside:
            return artifact
        attached = build(METHODS, earlier.method).attach(model, heads=[*heads, *more])
        attached.load(artifact)
        attached.merge()
        model.requires_grad_(False)
        return None


def new_output(recipe: Recipe) -> bool:
    """Whether the language model that ``recipe`` starts from is given a task head; a ``UserError`` the other way."""
    if recipe.model.start is None:
        return False
    earlier = Run.open(recipe.model.start).last_stage.recipe
    then, now = (build(OBJECTIVES, one.objective).head() for one in (earlier, recipe))
    if then is not None and now is None:
        raise UserError(
            "model.start has another output layer than words, and the objective needs the vocabulary",
            got=f"a run of the objective {earlier.objective.name}",
            allowed="a run of a language objective, such as sft",
            hint="In stages, `start: NAME` names an earlier stage to go on from.",
            code="start-mismatch",
        )
    return then is None and now is not None


def base_of(recipe: Recipe) -> str:
    """What is loaded: the base, or the whole model that an earlier run made of it where that gets a task head."""
    if not new_output(recipe):
        return recipe.model.base
    artifact = Run.open(str(recipe.model.start)).last_stage.artifact
    return str(artifact) if artifact.name == "model" else recipe.model.base


@contextmanager
def _heads_of(model: nn.Module, now: Mapping[str, int], then: Mapping[str, int]) -> Iterator[list[str]]:
    """Within it ``model`` has the further heads it had ``then`` and not those it has ``now``; yields their paths."""
    aside = {f"{name}_head": model._modules.pop(f"{name}_head") for name in now if name not in then}
    added = add_heads(model, {name: size for name, size in then.items() if name not in now})
    try:
        yield [f"{name}_head" for name in then]
    finally:
        for path in added:
            delattr(model, path)
        model._modules.update(aside)
