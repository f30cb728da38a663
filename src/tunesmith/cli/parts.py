"""``tunesmith methods``, ``objectives`` and ``formats``: what the tables hold, told by the parts themselves."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import click

from tunesmith.cli.output import emit, grid, json_option, say, stdout

TABLES = {
    "method": "tunesmith.methods:TABLE",
    "objective": "tunesmith.objectives:TABLE",
    "format": "tunesmith.data.formats:FORMATS",
}


@dataclass(frozen=True)
class Described:
    """One part: its first sentence, whole text, paper ("" where there is none) and options."""

    name: str
    summary: str
    text: str
    paper: str
    options: list[dict[str, Any]]


def classes(kind: str) -> dict[str, Any]:
    """Name -> object behind it, for one kind of part."""
    module, _, attribute = TABLES[kind].partition(":")
    table = getattr(import_module(module), attribute)
    return {name: table.load(name) for name in table}


def described(kind: str) -> list[Described]:
    """Every part of one kind, described by its docstrings."""
    return [_describe(name, part) for name, part in classes(kind).items()]


def _describe(name: str, part: Any) -> Described:
    if not inspect.isclass(part):  # a data format is a value: its options are the columns it reads
        columns = [{"name": column, "help": meaning} for column, meaning in part.columns.items()]
        return Described(name, part.summary, part.summary, "", columns)
    from tunesmith.recipe.reference import options

    config: Any = part
    text = inspect.getdoc(part) or ""
    fields = [
        {"name": option.path, "allowed": option.allowed, "default": option.default, "help": option.help}
        for option in options(config)
    ]
    return Described(name, " ".join(text.split("\n\n")[0].split()), text, getattr(part, "paper", ""), fields)


def _show(kind: str, name: str | None, as_json: bool) -> None:
    found = described(kind)
    if name is not None:
        _known(kind, name)
        found = [part for part in found if part.name == name]
    if as_json:
        emit([{key: value for key, value in asdict(part).items() if key != "text"} for part in found])
    elif name is None:
        stdout().print(grid((kind, "what it is", "paper"), [(part.name, part.summary, part.paper) for part in found]))
        say(f"`tunesmith {kind}s NAME` shows the options of one.")
    else:
        _show_one(found[0])


def _known(kind: str, name: str) -> None:
    module, _, attribute = TABLES[kind].partition(":")
    getattr(import_module(module), attribute).load(name)


def _show_one(part: Described) -> None:
    console = stdout()
    console.print(part.text, markup=False)
    if part.paper:
        console.print(f"\nPaper: {part.paper}", markup=False)
    if part.options:
        names = tuple(part.options[0])
        rows = [
            tuple(str(item[name] if item[name] is not None else "required") for name in names) for item in part.options
        ]
        console.print(grid(names, rows))


@click.command()
@click.argument("name", required=False)
@json_option
def methods(name: str | None, as_json: bool) -> None:
    """List the ways parameters can be trained, or show the options of one."""
    _show("method", name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def objectives(name: str | None, as_json: bool) -> None:
    """List what can be minimised, or show the options of one."""
    _show("objective", name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def formats(name: str | None, as_json: bool) -> None:
    """List the data formats that are understood, or show one."""
    _show("format", name, as_json)
