"""``tunesmith formats``: how rows may look, and which format converts to which without loss."""

from __future__ import annotations

import json
from typing import Any

import click

from tunesmith.cli.output import emit, grid, json_option, say, stdout


@click.command()
@click.argument("name", required=False)
@json_option
def formats(name: str | None, as_json: bool) -> None:
    """List the data formats that are understood and what each converts to, or show one with its columns and rows.

    `tunesmith data convert` converts; a format in brackets holds some rows of the other and not all.
    """
    from tunesmith.data.formats import FORMATS

    names = list(FORMATS.all) if name is None else [name]
    found = [_described(one) for one in names]
    if as_json:
        emit(found)
    elif name is None:
        cells = [(one["name"], one["summary"], _becomes(one)) for one in found]
        stdout().print(grid(("format", "what it is", "converts to"), cells))
        say("[in brackets]: some of its rows. `tunesmith formats NAME` shows columns and rows of one.")
    else:
        _show(found[0])


def _described(name: str) -> dict[str, Any]:
    from tunesmith.data.convert import targets
    from tunesmith.data.formats import FORMATS

    form = FORMATS.load(name)
    return {
        "name": name,
        "summary": form.summary,
        "options": [{"name": column, "help": meaning} for column, meaning in form.columns.items()],
        "rows": list(form.samples),
        "converts_to": {one.name: one.why or "all rows" for one in targets(name)},
    }


def _becomes(one: dict[str, Any]) -> str:
    return ", ".join(other if why == "all rows" else f"[{other}]" for other, why in one["converts_to"].items())


def _show(one: dict[str, Any]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = stdout()
    console.print(one["summary"], markup=False)
    console.print("\nColumns:")
    for option in one["options"]:
        console.print(f"  {option['name']}", markup=False)
        console.print(Padding(Text(option["help"]), (0, 0, 0, 6), expand=False))
    if one["rows"]:
        console.print("\nRows:")
        for row in one["rows"]:
            console.print(f"  {json.dumps(row, ensure_ascii=False)}", markup=False, soft_wrap=True)
    if one["converts_to"]:
        console.print("\nConverts to:")
        for other, why in one["converts_to"].items():
            text = "all rows" if why == "all rows" else f"some rows ({why})"
            console.print(f"  {other}: {text}", markup=False, soft_wrap=True)
