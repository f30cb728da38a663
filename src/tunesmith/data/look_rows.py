"""The first rows of a file as their format reads them, in words: no model and no tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats.base import BadRow
from tunesmith.data.look import recognised
from tunesmith.data.recognise import Recognised, rename
from tunesmith.data.sources import Broken, open_source, unit_of
from tunesmith.recipe.schema import SourceConfig

SHORT = 100
"""Characters of an image's address that are shown: a ``data:`` URI is as long as its image."""


@dataclass(frozen=True)
class Shown:
    """A row: where it stands and its record, or why it has none."""

    line: int
    record: Record | None
    trouble: str = ""

    def parts(self) -> list[tuple[str, str]]:
        """(what it is, what it says), in order."""
        return list(_parts(self.record)) if self.record is not None else [("cannot be read", self.trouble)]


def first_rows(config: SourceConfig, count: int) -> tuple[Recognised, list[Shown]]:
    """The format of a source and its first rows. Raises ``UserError`` as reading does."""
    source = open_source(config.path, split=config.split, unit=unit_of(config.format), forgiving=True)
    found = recognised(config, source)
    shown = []
    for row in islice(source.rows(), count):
        if isinstance(row.value, Broken):
            shown.append(Shown(row.line, None, row.value.reason))
            continue
        try:
            shown.append(Shown(row.line, found.format.read(rename(row.value, config.columns))))
        except BadRow as bad:
            shown.append(Shown(row.line, None, str(bad)))
    return found, shown


def _parts(record: Record) -> Iterator[tuple[str, str]]:
    yield from (("image", image[:SHORT]) for image in record.images)
    for message in record.messages or ():
        yield from _turn(message, message.role)
    if record.text is not None:
        yield "text" if record.pair is None else "first text", record.text
    if record.pair is not None:
        yield "second text", record.pair
    yield from (("does not belong to it", text) for text in record.others)
    names = answer_names(record)
    for name, candidate in zip(names, record.candidates, strict=True):
        score = "" if candidate.score is None or len(names) == 1 else f" ({candidate.score:g})"
        for message in candidate.messages:
            yield from _turn(message, f"{name}{score}")
    yield from _labels(record)
    if record.tools:
        yield "tools", ", ".join(str(tool.get("function", tool).get("name")) for tool in record.tools)
    yield from (("further column", f"{name}: {str(value)[:SHORT]}") for name, value in record.meta.items())


def answer_names(record: Record) -> list[str]:
    """What each rated answer of a row is: ``chosen`` and ``rejected``, ``wanted`` or ``not wanted``, or its rank."""
    count = len(record.candidates)
    if count == 1 and record.labels is None:
        return ["wanted" if record.candidates[0].score else "not wanted"]
    if count == 2:
        return ["chosen", "rejected"]
    return [f"answer {number}" if count > 1 else "answer" for number in range(1, count + 1)]


def _turn(message: Message, name: str) -> Iterator[tuple[str, str]]:
    for key in ("reasoning_content", "thinking"):
        if message.extra.get(key):
            yield f"{name} thinks", str(message.extra[key])
    if message.content or not message.extra.get("tool_calls"):
        yield name, message.content
    for call in message.extra.get("tool_calls") or ():
        yield f"{name} calls", f"{call['function']['name']} {call['function']['arguments']}"


def _labels(record: Record) -> Iterator[tuple[str, str]]:
    if record.labels is None:
        return
    said: Any = record.candidates[0].messages[0].content if record.candidates else record.text or ""
    places = [said[start:end] for start, end in record.spans]
    if places and record.labels:
        yield "labels", "  ".join(f"{text} [{label}]" for text, label in zip(places, record.labels, strict=True))
    elif record.spans or (not record.labels and record.pair is not None):
        yield "answers", " | ".join(places) or "(none)"
    else:
        yield "label", ", ".join(record.labels) or "(none)"
