"""Where training starts: at the base itself, or at what an earlier run made of it (``model.start``).

An earlier whole model replaces the base's weights. An earlier adapter is gone on with where the method is the same,
and otherwise folded into the base, on which the new method then stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tunesmith.errors import UserError
from tunesmith.methods import TABLE as METHODS
from tunesmith.methods.full import Full
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
    if artifact.name == "model":
        Full().attach(model, heads=heads).load(artifact)
        model.requires_grad_(False)
        return None
    begin(model, earlier, heads=heads)
    if earlier.method == recipe.method:
        return artifact
    attached = build(METHODS, earlier.method).attach(model, heads=heads)
    attached.load(artifact)
    attached.merge()
    model.requires_grad_(False)
    return None
