"""Where numbers come from: JSON files by name, and values that remember the file and key they were read at.

A source is ``FILE#/key/0/key`` (a JSON pointer, RFC 6901) or, for a record of events, ``FILE#KIND/key``: the values of
``key`` in all events of that kind, in order. A derived number says how it was made of its sources (``HOW``), so that
anybody, and a test, can make it again.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError

HOW: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "value": lambda values: values[0],
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "sum": sum,
    "product": prod,
    "ratio": lambda values: values[0] / values[1],
    "difference": lambda values: values[0] - values[1],
    "mean": statistics.fmean,
    "median": statistics.median,
    "least": min,
    "most": max,
    "count": len,
    "true": lambda values: sum(value is True for value in values),
}
"""How a number may be made of the values of its sources, in their order."""


@dataclass(frozen=True)
class Traced:
    """A value with the places it was read at; ``how`` (of ``HOW``) it was made of them."""

    value: Any
    sources: tuple[str, ...]
    how: str = "value"


class Documents:
    """JSON values by file name. What does not exist is None wherever it is asked for."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self.files = files

    @classmethod
    def of_folder(cls, folder: Path, names: Sequence[str]) -> Documents:
        """The files of ``folder`` that exist among ``names``; half a last line of a record of events is passed over."""
        return cls({name: _read(folder / name) for name in names if (folder / name).is_file()})

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def get(self, file: str, *keys: str | int) -> Any:
        """The plain value at ``keys`` of ``file``, None where there is none."""
        value = self.files.get(file)
        for key in keys:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
                value = value[key]
            else:
                return None
        return value

    def traced(self, file: str, *keys: str | int) -> Traced | None:
        """The same with its source; None where there is nothing (or null)."""
        value = self.get(file, *keys)
        return None if value is None else Traced(value, (pointer(file, *keys),))

    def series(self, file: str, kind: str, key: str) -> list[tuple[int, Any]]:
        """``(step, value)`` of every event of ``kind`` that has ``key`` (and not null there)."""
        events = self.files.get(file) or ()
        return [(one["step"], one[key]) for one in events if one["kind"] == kind and one.get(key) is not None]

    def made(self, how: str, *sources: str) -> Traced | None:
        """A number derived from ``sources``; None where one of them is missing or it would divide by zero."""
        values = [value for source in sources for value in self.at(source)]
        found = [value for value in values if value is not None]
        if not found or len(found) < len(values):
            return None
        try:
            return Traced(HOW[how](found), sources, how)
        except ZeroDivisionError:
            return None

    def at(self, source: str) -> list[Any]:
        """All values that ``source`` names: one for a pointer, any number for a kind of event."""
        file, _, place = source.partition("#")
        if place.startswith("/"):
            return [self.get(file, *_keys(place, self.files.get(file)))]
        kind, _, key = place.partition("/")
        return [value for _, value in self.series(file, kind, key)]


def pointer(file: str, *keys: str | int) -> str:
    """``report.json#/after/f1/value``; ``~`` and ``/`` in a key are written ``~0`` and ``~1``, a blank ``%20``."""
    escaped = (str(key).replace("~", "~0").replace("/", "~1").replace(" ", "%20") for key in keys)
    return f"{file}#/" + "/".join(escaped)


def _keys(place: str, value: Any) -> Iterator[str | int]:
    for part in place[1:].split("/"):
        key: str | int = part.replace("%20", " ").replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            key = int(key)
            value = value[key] if -len(value) <= key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, Mapping) else None
        yield key


def _read(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".jsonl":
        try:
            return json.loads(text)
        except ValueError as error:
            raise UserError(
                f"{path} is damaged: {error}",
                hint="Remove it; a finished run writes it again with --resume.",
                code="damaged-file",
            ) from None
    events = []
    for line in text.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:  # a killed process may leave half of its last line
            continue
    return events
