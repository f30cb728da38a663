"""What ``train``, ``check`` and ``data`` do first, before torch is loaded: read the recipe, look at its data files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith.recipe import Recipe


def load_recipe(recipe: str, overrides: Sequence[str]) -> Recipe:
    """The recipe with its overrides; mistakes in it, and data files that cannot be read, are told within a second."""
    from tunesmith.recipe import Recipe

    loaded = Recipe.load(recipe, list(overrides))
    from tunesmith.data.look import check_sources

    check_sources(loaded.data, forgiving=bool(loaded.curate))
    return loaded
