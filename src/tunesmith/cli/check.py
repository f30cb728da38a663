"""``tunesmith check``: every proof with what was measured, the bound and the reason; exit code 1 where one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tunesmith.cli.early import load_recipe
from tunesmith.cli.output import emit, grid, json_option, overrides_argument, recipe_argument, say, shown, stdout

if TYPE_CHECKING:
    from rich.text import Text


@click.command()
@recipe_argument
@overrides_argument
@json_option
def check(recipe: str, overrides: tuple[str, ...], as_json: bool) -> int:
    """Run the proofs of RECIPE on its own model and rows, without training. Exit code 1 if one fails."""
    loaded = load_recipe(recipe, overrides)
    from tunesmith import run  # after the recipe: its mistakes are told before torch is loaded

    results = run.check(loaded)
    failed = [result.name for result in results if result.passed is False]
    if as_json:
        emit({"proofs": [result.as_dict() for result in results]})
        return 1 if failed else 0
    rows = [
        (_mark(proof.passed), proof.name, shown(proof.measured), shown(proof.bound), proof.why) for proof in results
    ]
    stdout().print(grid(("", "proof", "measured", "bound", "why"), rows))
    say(f"{len(failed)} of {len(results)} proofs failed: {', '.join(failed)}" if failed else "All proofs passed.")
    return 1 if failed else 0


def _mark(passed: bool | None) -> Text:
    from rich.text import Text

    if passed is None:
        return Text("skipped", style="yellow")
    return Text("passed", style="green") if passed else Text("FAILED", style="bold red")
