"""What is done to one chunk of rows, in any process: row steps, a batch step, or the sketch of a set step.

Every chunk is one file, written whole: work that was stopped finds the files that are there and makes the others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from tunesmith.data.curate.base import Arrays, BatchStep, Change, Drop, Item, Mark, RowStep, SketchStep, Step
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import CURATED
from tunesmith.data.lines import Line
from tunesmith.files import write_bytes


@dataclass(frozen=True)
class Chunk:
    """Rows as ``Line.to_bytes`` writes them; ``first`` is the number of the first one."""

    number: int
    first: int
    rows: list[bytes]


class Job(Protocol):
    """What makes the file of a chunk; picklable."""

    def part(self, number: int) -> Path:
        """The file of a chunk's result."""
        ...

    def run(self, chunk: Chunk) -> None:
        """Write it."""
        ...


@dataclass(frozen=True)
class RowJob:
    """Row steps, one after the other."""

    steps: tuple[RowStep, ...]
    readings: tuple[Reading, ...]
    folder: Path

    def part(self, number: int) -> Path:
        """The file of a chunk's rows."""
        return self.folder / f"part-{number:06d}"

    def run(self, chunk: Chunk) -> None:
        """Write the rows of ``chunk`` after the steps."""
        items, lines = Items(self.readings), [Line.from_bytes(row) for row in chunk.rows]
        before = list(lines)
        held: dict[int, Item] = {}
        for at, line in enumerate(lines):
            if line.value is not None:
                item, lines[at] = _read(items, chunk.first + at, line)
                held |= {at: item} if item is not None else {}
        for step in self.steps:
            step.read_ahead(list(held.values()))
            for at, item in list(held.items()):
                found = step.look(item)
                if found is None:
                    continue
                del held[at]
                again, lines[at] = _read(items, item.number, after(lines[at], step, found))
                held |= {at: again} if again is not None else {}
        write_bytes(self.part(chunk.number), _written(chunk, before, lines))


@dataclass(frozen=True)
class BatchJob:
    """A batch step, which stays in this process with its model."""

    step: BatchStep
    readings: tuple[Reading, ...]
    folder: Path

    def part(self, number: int) -> Path:
        """The file of a chunk's rows."""
        return self.folder / f"part-{number:06d}"

    def run(self, chunk: Chunk) -> None:
        """Write the rows of ``chunk`` after the step."""
        items = Items(self.readings)
        before = [Line.from_bytes(row) for row in chunk.rows]
        lines = list(before)
        read = _items(items, chunk, lines)
        for item, found in zip(read, self.step.look_at(read) if read else (), strict=True):
            at = item.number - chunk.first
            _, lines[at] = _read(items, item.number, after(lines[at], self.step, found))
        write_bytes(self.part(chunk.number), _written(chunk, before, lines))


@dataclass(frozen=True)
class SketchJob:
    """The first half of a sketch step."""

    step: SketchStep
    readings: tuple[Reading, ...]
    folder: Path

    def part(self, number: int) -> Path:
        """The file of a chunk's arrays."""
        return self.folder / f"sketch-{number:06d}.npz"

    def run(self, chunk: Chunk) -> None:
        """Write the sketch of ``chunk``."""
        read = _items(Items(self.readings), chunk, [Line.from_bytes(row) for row in chunk.rows])
        buffer = io.BytesIO()
        np.savez(buffer, **dict(self.step.sketch(read)))  # type: ignore[arg-type]
        write_bytes(self.part(chunk.number), buffer.getvalue())


class Sketches(Sequence[Arrays]):
    """The sketches of all chunks; each array is read when it is asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, at: int) -> Arrays:  # type: ignore[override]
        return np.load(self._files[at])


def after(line: Line, step: Step, found: Drop | Change | Mark | None) -> Line:
    """``line`` after what ``step`` found of it."""
    if isinstance(found, Drop):
        return line.dropped(f"{CURATED}{step.NAME}: {found.why}", found.shown)
    if isinstance(found, Change):
        notes = tuple(f"{CURATED}{step.NAME}: {note}" for note in found.notes)
        return replace(line, value=dict(found.value), notes=line.notes + notes)
    if isinstance(found, Mark):
        return replace(line, notes=(*line.notes, f"{CURATED}{step.NAME}: {found.why}"))
    return line


def _written(chunk: Chunk, before: Sequence[Line], lines: Sequence[Line]) -> bytes:
    """The rows of ``chunk`` as ``lines`` say; what is as it was ``before`` is copied."""
    pairs = zip(chunk.rows, before, lines, strict=True)
    return b"".join(raw if now is then else now.to_bytes() for raw, then, now in pairs)


def _items(items: Items, chunk: Chunk, lines: Sequence[Line]) -> list[Item]:
    return [items.of(number, line) for number, line in enumerate(lines, chunk.first) if line.value is not None]


def _read(items: Items, number: int, line: Line) -> tuple[Item | None, Line]:
    """The item of ``line``, and the line; dropped where its format cannot read it."""
    try:
        return (None if line.value is None else items.of(number, line)), line
    except BadRow as bad:
        return None, line.dropped(str(bad))
