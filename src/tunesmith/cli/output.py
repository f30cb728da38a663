"""What all commands share in talking: data to stdout, words to stderr, one JSON object where it was asked for."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 100_000
"""Columns where the output is no terminal: nothing is wrapped or shortened for a program that reads it."""

ALIGNED = 100
"""Longest cell that the cells of the next column are aligned behind where the output is no terminal."""

INTERRUPTED = 130
"""Exit code of a run that was stopped and saved."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout; words stay on stderr."
)
recipe_argument = click.argument("recipe", type=click.Path(path_type=str), metavar="RECIPE")
overrides_argument = click.argument("overrides", nargs=-1, metavar="[A.B=C]...")


def emit(value: Any) -> None:
    """Print ``value`` as JSON on stdout; NaN and infinity, which JSON does not have, become null."""
    click.echo(json.dumps(_finite(value), ensure_ascii=False, indent=2, default=str))


def say(text: str) -> None:
    """Print words for a person on stderr."""
    click.echo(text, err=True)


def stdout() -> Console:
    """A console for results; colours only on a terminal and never with ``NO_COLOR``."""
    from rich.console import Console

    piped = not sys.stdout.isatty()
    return Console(highlight=False, width=PIPE_WIDTH if piped else None)


def stderr() -> Console:
    """A console for words."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Lines:
    """A table that is drawn on a terminal, and anywhere else is plain lines without rules or trailing blanks."""

    table: Table
    rows: Sequence[Sequence[str | Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        from rich.text import Text

        if console.is_terminal:
            yield self.table
            return
        for line in aligned([[str(cell) for cell in row] for row in self.rows]):
            yield Text(line, no_wrap=True, overflow="ignore")


def pairs(values: Mapping[str, Any]) -> Lines:
    """A borderless table of names and values."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = [(name.replace("_", " "), shown(value)) for name, value in values.items()]
    for name, value in rows:
        table.add_row(name, Text(value))
    return Lines(table, rows)


def grid(columns: tuple[str, ...], rows: Sequence[tuple[str | Text, ...]]) -> Lines:
    """A plain table with a header; strings are shown as they are, ``[`` included."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return Lines(table, [columns, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line a row, cells two blanks apart and below each other, as far as none is longer than ``ALIGNED``."""
    widths = [min(max(map(len, column)), ALIGNED) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def shown(value: Any) -> str:
    """A value as a person reads it: ``1,234``, ``13,050``, ``0.1235``, ``2.0e-04``, ``-``."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if abs(value) >= 1e3:
            return f"{value:,.0f}"
        return f"{value:.1e}" if value and abs(value) < 1e-3 else f"{value:,.4g}"
    return str(value)


def interval(metric: Any) -> str:
    """``0.71 [0.66, 0.75]`` from ``{value, low, high, n}`` (or a plain number); ``0.71 (n=1, no interval)``."""
    if not isinstance(metric, Mapping):
        return shown(metric)
    text = shown(metric.get("value"))
    if metric.get("low") is None and metric.get("high") is None and metric.get("n") == 1:
        return f"{text} (n=1, no interval)"
    if metric.get("low") is None or metric.get("high") is None:
        return text
    return f"{text} [{shown(metric['low'])}, {shown(metric['high'])}]"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
