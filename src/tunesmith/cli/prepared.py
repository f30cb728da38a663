"""The rows of a recipe prepared for a command that looks at them, also where training would refuse them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.cli.early import load_recipe
from tunesmith.cli.output import say
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.data.prepare import Prepared
    from tunesmith.recipe import Recipe


def prepared_rows(recipe: str, overrides: tuple[str, ...]) -> tuple[Recipe, Prepared]:
    """The recipe and its rows as tokens."""
    loaded = load_recipe(recipe, overrides)
    from tunesmith import run  # after the recipe: its mistakes are told before anything heavy is loaded

    prepared = run.prepare(loaded)
    say(prepared.words)
    return loaded, prepared


def warn(prepared: Prepared) -> None:
    """Say that training would refuse what can be looked at here."""
    why = refusal(prepared)
    if why is not None:
        say(f"`tunesmith train` would refuse these rows: {why}")


def refusal(prepared: Prepared) -> str | None:
    """Why training would refuse the rows, in a sentence; None where it would not."""
    found = prepared.refusal
    return None if found is None else UserError(found.what, got=found.got, allowed=found.allowed).sentence()
