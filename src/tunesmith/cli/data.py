"""``tunesmith data``: the tokens that would be trained on, and the ledger of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.curate import COMMANDS as CURATING
from tunesmith.cli.early import load_recipe
from tunesmith.cli.output import emit, json_option, overrides_argument, recipe_argument, say, stdout
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.data.prepare import Prepared
    from tunesmith.data.show import Said


@click.group()
def data() -> None:
    """Look at what would be trained on, and at what is lost on the way."""


for _command in CURATING:
    data.add_command(_command)


@data.command()
@recipe_argument
@overrides_argument
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1), help="How many sequences.")
@json_option
def show(recipe: str, overrides: tuple[str, ...], count: int, as_json: bool) -> None:
    """Print training sequences of RECIPE as the model sees them, with the trained tokens marked.

    Trained tokens are green and underlined on a terminal, and in [[ ]] elsewhere.
    """
    prepared = _prepare(recipe, overrides)
    if len(prepared.train) == 0:
        prepared.accepted()
    _warn(prepared)
    from tunesmith.data.show import plain_lines, show_lines
    from tunesmith.run.rows import said

    words = said(prepared)
    if as_json:
        emit({"sequences": [_sequence(prepared, index, words) for index in range(min(count, len(prepared.train)))]})
        return
    console = stdout()
    if not console.is_terminal or console.no_color:
        click.echo("\n".join(plain_lines(prepared, count, words)))
        return
    for line in show_lines(prepared, count, words):
        console.print(line)


@data.command()
@recipe_argument
@overrides_argument
@json_option
def report(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the ledger of RECIPE: what became of every row, and why."""
    prepared = _prepare(recipe, overrides)
    if as_json:
        emit({**prepared.ledger.to_json(), "refusal": _refusal(prepared)})
    else:
        click.echo("\n".join(prepared.ledger.summary_lines()))
    _warn(prepared)


def _prepare(recipe: str, overrides: tuple[str, ...]) -> Prepared:
    loaded = load_recipe(recipe, overrides)
    from tunesmith import run  # after the recipe: its mistakes are told before anything heavy is loaded

    prepared = run.prepare(loaded)
    say(prepared.words)
    return prepared


def _warn(prepared: Prepared) -> None:
    """Say that training would refuse what can be looked at here."""
    why = _refusal(prepared)
    if why is not None:
        say(f"`tunesmith train` would refuse these rows: {why}")


def _refusal(prepared: Prepared) -> str | None:
    found = prepared.refusal
    return None if found is None else UserError(found.what, got=found.got, allowed=found.allowed).sentence()


def _sequence(prepared: Prepared, index: int, words: Said) -> dict[str, Any]:
    from tunesmith.data.show import runs

    example = prepared.train[index]
    source = prepared.ledger.sources[example.source]
    parts = [
        {"text": text, "trained": trained, "special": special}
        for text, trained, special in runs(example, prepared.encoder.tokens)
    ]
    labels = {"labels": words(example)} if example.labels is not None else {}
    return {
        "row": example.row,
        "source": source.path,
        "tokens": len(example),
        "trained_tokens": int(example.trained.sum()),
        **labels,
        "parts": parts,
    }
