"""What a person answers with: one key of a terminal, or one line of what is piped in."""

from __future__ import annotations

import sys

import click


def pressed() -> str:
    """One key of a terminal, else one line of what is piped in; "" at its end."""
    if sys.stdin.isatty():
        key = click.getchar()
        return key if key.startswith("\x1b") else key.lower()
    line = sys.stdin.readline()
    return line.strip().lower() or ("" if not line else "?")
