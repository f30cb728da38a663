"""What ``make`` and ``data build`` share: options read off a config, and what was made, told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tunesmith.cli.output import grid, interval, say, stdout
from tunesmith.recipe.reference import options
from tunesmith.recipe.yaml12 import read_yaml

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


def show_made(found: Mapping[str, Any]) -> None:
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
