"""Passes over the rows, each from a file of rows to the next; passes that are done are not done again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tunesmith.data.curate import base
from tunesmith.data.curate.base import BatchStep, Drop, Item, Mark, RowStep, SetStep, SketchStep, Step
from tunesmith.data.curate.jobs import BatchJob, Chunk, Job, RowJob, Sketches, SketchJob, after
from tunesmith.data.curate.stream import Items, Reading, lines_of
from tunesmith.data.lines import Line, raw_lines
from tunesmith.data.pool import run_chunks
from tunesmith.data.sources import Source

Told = Callable[[str], None]
Pass = SetStep | BatchStep | tuple[RowStep, ...]
TOLD_EVERY = 20_000
"""Rows between two words about how far the work is."""


def grouped(steps: Sequence[Step]) -> Iterator[Pass]:
    """The passes: set and batch steps alone, row steps together; the first one is of row steps, be they none."""
    held: list[RowStep] = []
    first = True
    for step in steps:
        if isinstance(step, RowStep):
            held.append(step)
            continue
        if held or first:
            yield tuple(held)
        held, first = [], False
        assert isinstance(step, SetStep | BatchStep)
        yield step
    if held or first:
        yield tuple(held)


@dataclass(frozen=True)
class Passes:
    """Steps over opened sources, in ``folder``; ``told`` hears how it goes."""

    opened: tuple[Source, ...]
    readings: tuple[Reading, ...]
    folder: Path
    workers: int
    told: Told

    def run(self, steps: Sequence[Step]) -> Path:
        """The file of rows after the last pass."""
        passes = list(grouped(steps))
        done = [number for number in range(len(passes)) if self._rows(number).exists()]
        for number in range(max(done, default=-1) + 1, len(passes)):
            one = passes[number]
            names = [step.NAME for step in one] if isinstance(one, tuple) else [one.NAME]
            self.told(f"curating: {', '.join(names) or 'reading'} (pass {number + 1} of {len(passes)})")
            temporary = self.folder / "rows.tmp"
            self._do(one, number, temporary)
            temporary.replace(self._rows(number))
            shutil.rmtree(self._parts(number), ignore_errors=True)
            if number:
                self._rows(number - 1).unlink(missing_ok=True)
        return self._rows(len(passes) - 1)

    def _do(self, one: Pass, number: int, target: Path) -> None:
        folder = self._parts(number)
        folder.mkdir(exist_ok=True)
        if isinstance(one, SketchStep):
            files = self._worked(SketchJob(one, self.readings, folder), number, alone=one.asks_model)
            self._without(one.pick(Sketches(files), self.folder), one, number, target)
        elif isinstance(one, SetStep):
            self._without(one.choose(self._items(number), self.folder), one, number, target)
        else:
            job = BatchJob(one, self.readings, folder) if isinstance(one, BatchStep) else None
            rows = job or RowJob(one, self.readings, folder)  # type: ignore[arg-type]
            files = self._worked(rows, number, alone=job is not None)
            with target.open("wb") as file:
                for path in files:
                    file.write(path.read_bytes())

    def _rows(self, number: int) -> Path:
        return self.folder / f"rows-{number:02d}"

    def _parts(self, number: int) -> Path:
        return self.folder / f"parts-{number:02d}"

    def _raw(self, number: int) -> Iterator[bytes]:
        """The rows before pass ``number``, as they are written."""
        return raw_lines(self._rows(number - 1)) if number else (line.to_bytes() for line in lines_of(self.opened))

    def _worked(self, job: Job, number: int, *, alone: bool) -> list[Path]:
        """The files of all chunks; those that are there are not made again."""
        numbers: list[int] = []
        done = 0
        for rows in run_chunks(job, self._missing(job, number, numbers), workers=1 if alone else self.workers):
            done += rows
            if done % TOLD_EVERY < rows:
                self.told(f"  {done:,} rows")
        return [job.part(one) for one in numbers]

    def _missing(self, job: Job, number: int, numbers: list[int]) -> Iterator[Chunk]:
        """Chunks whose file is not there yet; ``numbers`` collects those of all chunks."""
        lines, first = self._raw(number), 0
        while held := list(islice(lines, base.CHUNK)):
            numbers.append(len(numbers))
            if not job.part(numbers[-1]).exists():
                yield Chunk(numbers[-1], first, held)
            first += len(held)

    def _items(self, number: int) -> Iterator[Item]:
        items = Items(self.readings)
        for at, line in enumerate(map(Line.from_bytes, self._raw(number))):
            if line.value is not None:
                yield items.of(at, line)
            if (at + 1) % TOLD_EVERY == 0:
                self.told(f"  {at + 1:,} rows")

    def _without(self, found: Mapping[int, Drop | Mark], step: SetStep, number: int, target: Path) -> None:
        """The rows after what a set step ``found``."""
        places = self._places(found, number)
        with target.open("wb") as file:
            for at, raw in enumerate(self._raw(number)):
                one = found.get(at)
                file.write(raw if one is None else after(Line.from_bytes(raw), step, _told(one, places)).to_bytes())

    def _places(self, found: Mapping[int, Drop | Mark], number: int) -> dict[int, str]:
        """Where the rows stand that others are like, in words."""
        wanted = {one.like for one in found.values() if isinstance(one, Drop) and one.like is not None}
        lines = ((at, Line.from_bytes(raw)) for at, raw in enumerate(self._raw(number)) if at in wanted)
        return {at: f"{Path(line.file).name} line {line.line}" for at, line in lines} if wanted else {}


def _told(found: Drop | Mark, places: Mapping[int, str]) -> Drop | Mark:
    """The same, with the row that stays in its evidence."""
    if isinstance(found, Mark) or found.like is None:
        return found
    return replace(found, shown=", ".join(filter(None, (found.shown, f"like {places[found.like]}"))))
