"""``tunesmith data show``: rows as a format reads them, or as the loss sees them, and how sources are mixed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import emit, grid, json_option, overrides_argument, say, stdout
from tunesmith.cli.prepared import prepared_rows, warn
from tunesmith.cli.reading import column_option, format_option

if TYPE_CHECKING:
    from tunesmith.data.mixing import SourceMix
    from tunesmith.data.prepare import Prepared
    from tunesmith.data.show import Said

RECIPES = (".yaml", ".yml")


@click.command()
@click.argument("given", metavar="RECIPE|FILE")
@overrides_argument
@click.option("-n", "count", default=5, show_default=True, type=click.IntRange(1), help="How many sequences or rows.")
@format_option
@column_option
@json_option
def show(
    given: str, overrides: tuple[str, ...], count: int, form: str, columns: Mapping[str, str], as_json: bool
) -> None:
    """Print training sequences of RECIPE as the model sees them, with the trained tokens marked.

    Trained tokens are green and underlined on a terminal, and in [[ ]] elsewhere. Of several sources it says how they
    are mixed. Of a FILE of rows it prints the format that is recognised, and what the first rows say.
    """
    if Path(given).suffix.lower() not in RECIPES and not (Path(given) / "recipe.yaml").is_file():
        _show_rows(given, count, form, columns, as_json)
        return
    recipe, prepared = prepared_rows(given, overrides)
    if len(prepared.train) == 0:
        prepared.accepted()
    warn(prepared)
    from tunesmith.run.order import mixture
    from tunesmith.run.rows import said

    words, mix = said(prepared), mixture(recipe, prepared)
    if as_json:
        shown = [_sequence(prepared, index, words) for index in range(min(count, len(prepared.train)))]
        emit({"sequences": shown, "sources": [one.to_json() for one in mix]})
        return
    _print(prepared, count, words)
    if len(mix) > 1 or recipe.data.mixing is not None:
        stdout().print(_mixed(mix))


def _print(prepared: Prepared, count: int, words: Said) -> None:
    from tunesmith.data.show import plain_lines, show_lines

    console = stdout()
    if not console.is_terminal or console.no_color:
        click.echo("\n".join(plain_lines(prepared, count, words)))
        return
    for line in show_lines(prepared, count, words):
        console.print(line)


def _mixed(mix: list[SourceMix]) -> Any:
    seen = ("of an epoch", "of its tokens", "a row is seen", "in the run")
    head = ("source", "rows", "tokens", "trained", "weight", *seen)
    rows = [
        (
            one.path,
            f"{one.rows:,}",
            f"{one.tokens:,}",
            f"{one.trained_tokens:,}",
            f"{one.weight:g}",
            f"{one.epoch_share:.1%}",
            f"{one.token_share:.1%}",
            f"{one.seen_in_epoch:.2f} times",
            f"{one.seen_in_run:.2f} times",
        )
        for one in mix
    ]
    return grid(head, rows)


def _sequence(prepared: Prepared, index: int, words: Said) -> dict[str, Any]:
    from tunesmith.data.show import answer_names, runs, shortened

    example = prepared.train[index]
    source = prepared.ledger.sources[example.source]
    parts = [
        {"text": text, "trained": trained, "special": special}
        for text, trained, special in runs(example, prepared.encoder.tokens)
    ]
    labels = {"labels": words(example)} if example.labels is not None else {}
    answers = {"answers": answer_names(example)} if example.branches else {}
    return {
        "row": example.row,
        "source": source.path,
        "tokens": len(example),
        "trained_tokens": int(example.trained.sum()),
        "shortened": found.status if (found := shortened(prepared).get(example.row)) else None,
        **labels,
        **answers,
        "parts": parts,
    }


def _show_rows(path: str, count: int, form: str, columns: Mapping[str, str], as_json: bool) -> None:
    from tunesmith.data.look_rows import first_rows
    from tunesmith.recipe.schema import SourceConfig

    found, rows = first_rows(SourceConfig(path=path, format=form, columns=dict(columns)), count)
    if as_json:
        told = [
            {"line": row.line, "readable": row.record is not None, "parts": [list(part) for part in row.parts()]}
            for row in rows
        ]
        emit({"path": path, "format": found.format.name, "reason": found.reason, "rows": told})
        return
    console = stdout()
    console.print(f"{path}: {found.format.name} ({found.reason})", markup=False, soft_wrap=True)
    for row in rows:
        console.print(f"\n--- line {row.line} ---", markup=False)
        for name, text in row.parts():
            console.print(f"{name}: {text}", markup=False, soft_wrap=True)
    say(f"\nNext: tunesmith init {path}")


COMMANDS = (show,)
