"""What passes between a ``Caller`` and its worker process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """Find ``target`` (``module.function`` or ``file.py:function``); ``arguments`` are given to every call by name."""

    target: str
    arguments: dict[str, Any]
    path: list[str]
    """Where modules are looked for."""


@dataclass(frozen=True)
class Call:
    """Call the function with one value."""

    value: Any
    seconds: float


@dataclass(frozen=True)
class Failed:
    """What went wrong, in a line, and the traceback as the function's author wants to see it."""

    what: str
    trace: str
