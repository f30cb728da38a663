"""What ``make`` and ``data build`` share: options read off a config, and what was made, told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from tunesmith.cli.output import INTERRUPTED, emit, grid, interval, say, stdout
from tunesmith.recipe.reference import options
from tunesmith.recipe.yaml12 import read_yaml
from tunesmith.registry import Table

WORDS = frozenset(
    {
        "template",
        "templates",
        "server",
        "served",
        "key_variable",
        "principles",
        "lists",
        "task",
        "example",
        "language",
        "no_answer",
    }
)
"""Options that are taken word for word; all others are read as YAML."""


class OfTable(click.Group):
    """A command for each name of ``table``, made by ``command_of`` when it is asked for."""

    def __init__(self, *given: Any, table: Table, command_of: Callable[[str], click.Command], **named: Any) -> None:
        super().__init__(*given, **named)
        self._table, self._command_of = table, command_of

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one; a ``UserError`` where the table has none of the name."""
        return self._command_of(cmd_name)


def options_of(config: Any) -> list[click.Parameter]:
    """The command's options: those of a config class."""
    return [
        click.Option(
            [f"--{option.path.replace('_', '-')}", option.path],
            metavar="YAML" if "[" in option.allowed or "list" in option.allowed else "VALUE",
            help=f"{option.help} [{'required' if option.default is None else option.default}]",
        )
        for option in options(config)
        if "." not in option.path
    ]


def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were given, read."""
    named = {name: text for name, text in given.items() if text is not None}
    return {name: text if name in WORDS else read_yaml(text, f"--{name}") for name, text in named.items()}


def tell(event: Any) -> None:
    """Words of an event, said."""
    text = event.values.get("text")
    if text is not None:
        say(str(text))


def run_made(
    made: Callable[[], dict[str, Any]], show_first: Callable[[Mapping[str, Any]], None], *, dry_run: bool, as_json: bool
) -> int:
    """Make rows, tell what came of it (``show_first`` what a dry run found), and give the exit code."""
    try:
        found = made()
    except KeyboardInterrupt:
        say("\nStopped. What is written is kept; the same command goes on from there.")
        return INTERRUPTED
    if as_json:
        emit(found)
    elif dry_run:
        show_first(found)
    else:
        _show_made(found)
    return 0


def show_settings(found: Mapping[str, Any], units: str) -> None:
    """What a dry run has before it, and with which options: ``negatives: 120 to build from``."""
    console = stdout()
    console.print(f"{found['how']}: {found['of']:,} {units}", markup=False)
    for name, value in found["settings"].items():
        console.print(f"  {name}: {value}", markup=False)


def _show_made(found: Mapping[str, Any]) -> None:
    """What was made, what was not kept and why, and what to do next."""
    console = stdout()
    rows = [(name, f"{count:,}", found[name]) for name, count in found["written"].items()]
    console.print(grid(("made", "count", "file"), rows))
    dropped = sorted(found["dropped"].items(), key=lambda item: -item[1])
    if dropped:
        console.print(grid(("not kept", "count"), [(reason, f"{count:,}") for reason, count in dropped]))
    if found["measured"]:
        measured = [(name.replace("_", " "), interval(one)) for name, one in found["measured"].items()]
        console.print(grid(("measured", "mean [95% interval]"), measured))
    if found["unreadable"]:
        say(f"{found['unreadable']:,} rows could not be read.")
    say(f"\nThe ledger: {found['ledger']}")
    if found["written"]["rows"]:
        say(f"Next: tunesmith init {found['rows']}")
    else:
        say("Nothing was kept, so there is nothing to train on; the reasons are above.")
