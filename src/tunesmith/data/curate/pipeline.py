"""Steps over files: streaming, by several processes, killed and resumed to the same bytes.

    sources -> pass 1 -> rows-1 -> pass 2 -> rows-2 … -> one curated file a source, ledger.json

A pass is one set step, or all row steps that stand together; the first pass reads the sources, and its rows are checked
by their format. Row passes are cut into parts, which several processes make and a resumed pass finds again; a set pass
is begun again. The result is named by a digest of everything that decides it: the bytes of the data and how they are
read, the steps with their options, the files and libraries they use, and the code.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tunesmith.data.curate.base import Drop, Item, RowStep, SetStep, Step
from tunesmith.data.curate.stream import Chunk, Items, Line, Reading, RowJob, lines_of, read_lines
from tunesmith.data.curate.texts import PLACED
from tunesmith.data.ledger import CURATED, Entry, Example, Ledger, SourceCount, short
from tunesmith.data.look import recognised
from tunesmith.data.pool import cores, run_chunks
from tunesmith.data.sources import CURATED_FILE, Source, open_source
from tunesmith.errors import UserError
from tunesmith.files import one_at_a_time, recover, whole_folder, write_json
from tunesmith.recipe.schema import SourceConfig

CHUNK = 1000
Told = Callable[[str], None]


@dataclass(frozen=True)
class Curated:
    """Curated rows in ``folder``: a file a source (``data.sources`` reads it) and the ledger."""

    key: str
    folder: Path
    readings: tuple[Reading, ...]
    hit: bool
    """Whether they were there before."""

    @property
    def files(self) -> list[Path]:
        """A file a source, in their order."""
        return [self.folder / f"source-{number:03d}{CURATED_FILE}" for number in range(len(self.readings))]

    @property
    def ledger(self) -> Ledger:
        """What became of every row."""
        return Ledger.from_json(json.loads((self.folder / "ledger.json").read_text(encoding="utf-8")))


def curate(
    sources: Sequence[SourceConfig],
    steps: Sequence[Step],
    *,
    cache: Path,
    workers: int | None = None,
    told: Told = lambda _: None,
) -> Curated:
    """Run ``steps`` over ``sources``, or take the result from ``cache``; ``told`` hears how it goes.

    Raises ``UserError`` for files that cannot be read, and for steps that lack something or do not suit a format.
    """
    opened = tuple(open_source(one.path, split=one.split, unit=_unit(one), forgiving=True) for one in sources)
    readings = tuple(_reading(one, source) for one, source in zip(sources, opened, strict=True))
    _check(steps, readings)
    key = _key(steps, opened, readings)
    found = Curated(key, cache / key, readings, hit=(cache / key).is_dir())
    if found.hit:
        return found
    work = cache / f"{key}.work"
    with one_at_a_time(work):
        recover(found.folder)
        if not found.folder.is_dir():
            rows = _Passes(opened, readings, work, workers or cores(), told).run(steps)
            _finish(rows, readings, found.folder)
        shutil.rmtree(work, ignore_errors=True)
    return found


def _unit(source: SourceConfig) -> str:
    return source.format if source.format in ("paragraphs", "lines") else "text"


def _reading(config: SourceConfig, source: Source) -> Reading:
    found = recognised(config, source)
    return Reading(source.path, found.format.name, found.reason, config.columns)


def _check(steps: Sequence[Step], readings: Sequence[Reading]) -> None:
    for step in steps:
        step.ready()
        changes = isinstance(step, RowStep) and step.changes
        placed = next((one for one in readings if one.format in PLACED), None)
        if changes and placed is not None:
            raise UserError(
                f"the step {step.NAME} changes texts, and {placed.path} says by characters where answers stand",
                got=f"format {placed.format}",
                allowed="steps that only drop rows",
                code="cannot-combine",
            )


def _key(steps: Sequence[Step], opened: Sequence[Source], readings: Sequence[Reading]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for source, reading in zip(opened, readings, strict=True):
        digest.update(source.fingerprint())
        digest.update(repr((reading.path, reading.format, sorted(reading.columns.items()))).encode())
    code = {Path(inspect.getfile(type(step))) for step in steps}
    for step in steps:
        digest.update(step.NAME.encode() + step.model_dump_json().encode() + step.fingerprint() + b"\0")
    here = Path(__file__).parent
    for file in sorted({*code, *here.glob("*.py"), *here.parent.glob("*.py"), *here.parent.glob("formats/*.py")}):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _grouped(steps: Sequence[Step]) -> Iterator[SetStep | tuple[RowStep, ...]]:
    """The passes: set steps alone, row steps together; the first one is of row steps, be they none."""
    held: list[RowStep] = []
    first = True
    for step in steps:
        if isinstance(step, RowStep):
            held.append(step)
            continue
        if held or first:
            yield tuple(held)
        held, first = [], False
        assert isinstance(step, SetStep)
        yield step
    if held or first:
        yield tuple(held)


@dataclass(frozen=True)
class _Passes:
    """Passes over the rows, each from a file of rows to the next."""

    opened: tuple[Source, ...]
    readings: tuple[Reading, ...]
    folder: Path
    workers: int
    told: Told

    def run(self, steps: Sequence[Step]) -> Path:
        """The file of rows after the last pass; passes that are done are not done again."""
        passes = list(_grouped(steps))
        done = [number for number in range(len(passes)) if self._rows(number).exists()]
        for number in range(max(done, default=-1) + 1, len(passes)):
            one = passes[number]
            names = [one.NAME] if isinstance(one, SetStep) else [step.NAME for step in one]
            self.told(f"curating: {', '.join(names) or 'reading'} (pass {number + 1} of {len(passes)})")
            temporary = self.folder / "rows.tmp"
            if isinstance(one, SetStep):
                self._choose(one, number, temporary)
            else:
                self._look(one, number, temporary)
            temporary.replace(self._rows(number))
            if number:
                self._rows(number - 1).unlink(missing_ok=True)
        return self._rows(len(passes) - 1)

    def _rows(self, number: int) -> Path:
        return self.folder / f"rows-{number:02d}"

    def _lines(self, number: int) -> Iterator[Line]:
        return read_lines(self._rows(number - 1)) if number else lines_of(self.opened)

    def _look(self, steps: tuple[RowStep, ...], number: int, target: Path) -> None:
        parts = self.folder / f"parts-{number:02d}"
        parts.mkdir(exist_ok=True)
        job = RowJob(steps, self.readings, parts)
        numbers: list[int] = []
        done = 0
        for rows in run_chunks(job, self._missing(job, number, numbers), workers=self.workers):
            done += rows
            if done % (20 * CHUNK) == 0:
                self.told(f"  {done:,} rows")
        with target.open("wb") as file:
            for one in numbers:
                file.write(job.part(one).read_bytes())
        shutil.rmtree(parts)

    def _missing(self, job: RowJob, number: int, numbers: list[int]) -> Iterator[Chunk]:
        """Chunks whose part is not there yet; ``numbers`` collects those of all chunks."""
        lines, first = self._lines(number), 0
        while held := list(islice(lines, CHUNK)):
            numbers.append(len(numbers))
            if not job.part(numbers[-1]).exists():
                yield Chunk(numbers[-1], first, held)
            first += len(held)

    def _choose(self, step: SetStep, number: int, target: Path) -> None:
        items, places = Items(self.readings), list[str]()
        drops = step.choose(self._items(items, number, places), self.folder)
        with target.open("wb") as file:
            for at, line in enumerate(self._lines(number)):
                drop = drops.get(at)
                file.write((line if drop is None else _without(line, step, drop, places)).to_json())

    def _items(self, items: Items, number: int, places: list[str]) -> Iterator[Item]:
        for at, line in enumerate(self._lines(number)):
            places.append(f"{Path(line.file).name} line {line.line}")
            if line.value is not None:
                yield items.of(at, line)
            if (at + 1) % (20 * CHUNK) == 0:
                self.told(f"  {at + 1:,} rows")


def _without(line: Line, step: SetStep, drop: Drop, places: Sequence[str]) -> Line:
    like = f"like {places[drop.like]}" if drop.like is not None else ""
    return line.dropped(f"{CURATED}{step.NAME}: {drop.why}", ", ".join(filter(None, (drop.shown, like))))


def _finish(rows: Path, readings: Sequence[Reading], folder: Path) -> None:
    """One curated file a source, and the ledger."""
    ledger = Ledger([SourceCount(one.path, one.format, one.why) for one in readings])
    with whole_folder(folder) as temporary:
        found = Curated("", temporary, tuple(readings), hit=False)
        files = [path.open("wb") for path in found.files]
        for file, reading in zip(files, readings, strict=True):
            file.write(json.dumps({"path": reading.path, "why": reading.why}).encode() + b"\n")
        for number, line in enumerate(read_lines(rows)):
            _count(ledger, number, line)
            files[line.source].write(_kept_line(line))
        for file in files:
            file.close()
        write_json(temporary / "ledger.json", ledger.to_json())


def _count(ledger: Ledger, number: int, line: Line) -> None:
    if line.value is None:
        ledger.add(
            Entry(number, line.source, line.line, "dropped", line.reason), Example(line.file, line.line, line.shown)
        )
        return
    ledger.sources[line.source].count("kept")
    for note in line.notes:
        ledger.note(note, Example(line.file, line.line, short(line.value)))


def _kept_line(line: Line) -> bytes:
    fields: list[object] = [line.file, line.line, line.value, line.notes, line.reason, line.shown]
    return json.dumps(fields, ensure_ascii=False, default=str).encode(errors="backslashreplace") + b"\n"


def step_counts(ledger: Ledger, steps: Sequence[Step]) -> Mapping[str, int]:
    """Rows that each step dropped, in the order of the steps; what no format could read first."""
    found = {"reading": 0, **{step.NAME: 0 for step in steps}}
    for entry in ledger.entries:
        name, _, _ = entry.reason.removeprefix(CURATED).partition(":")
        found[name if entry.reason.startswith(CURATED) and name in found else "reading"] += 1
    return found
