"""How a command is told to read the rows of FILE: ``--format`` and ``--column``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tunesmith.errors import UserError

FORMAT: dict[str, Any] = {"default": "auto", "show_default": True, "help": "How the rows of FILE are read."}
COLUMN: dict[str, Any] = {
    "multiple": True,
    "metavar": "A=B",
    "callback": lambda _context, _option, pairs: columns_of(pairs),
    "help": "Column B of FILE is what the format calls A.",
}
"""The command gets a mapping: the format's name of a column -> the file's."""

format_option = click.option("--format", "form", **FORMAT)
column_option = click.option("--column", "columns", **COLUMN)


def columns_of(pairs: Sequence[str]) -> dict[str, str]:
    """``["prompt=question"]`` as a mapping; ``UserError`` (``bad-arguments``) where one is no pair."""
    found = {}
    for pair in pairs:
        name, _, column = pair.partition("=")
        if not name or not column:
            allowed = "A=B, such as prompt=question"
            raise UserError("--column cannot be read", got=pair, allowed=allowed, code="bad-arguments")
        found[name] = column
    return found
