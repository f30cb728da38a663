"""Steps over files: streaming, by several processes, killed and resumed to the same bytes.

    sources -> pass 1 -> rows-1 -> pass 2 -> rows-2 … -> one curated file a source, ledger.json

A pass is one set or batch step, or all row steps that stand together; the first pass reads the sources, and its rows
are checked by their format. Passes are cut into parts, which several processes make and a resumed pass finds again;
only what a set step does beside its sketches is begun again. The result is named by a digest of everything that decides
it: the bytes of the data and how they are read, the steps with their options, the files, libraries and models they use,
and the code.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tunesmith.data.curate.base import BatchStep, RowStep, Step
from tunesmith.data.curate.models import Models
from tunesmith.data.curate.passes import Passes, Told
from tunesmith.data.curate.stream import Reading
from tunesmith.data.curate.texts import PLACED
from tunesmith.data.ledger import CURATED, Entry, Example, Ledger, SourceCount, short
from tunesmith.data.lines import Line, is_plain, raw_lines, source_of, value_of
from tunesmith.data.look import recognised
from tunesmith.data.pool import cores
from tunesmith.data.sources import CURATED_FILE, Source, open_source, unit_of
from tunesmith.errors import UserError
from tunesmith.files import one_at_a_time, recover, whole_folder, write_json
from tunesmith.recipe.schema import SourceConfig


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

    def kept(self) -> Iterator[bytes]:
        """The rows that stay, each as a line of JSON."""
        for file in self.files:
            values = map(value_of, islice(raw_lines(file), 1, None))
            yield from (value for value in values if value is not None)


def curate(
    sources: Sequence[SourceConfig],
    steps: Sequence[Step],
    *,
    cache: Path,
    workers: int | None = None,
    models: Models | None = None,
    told: Told = lambda _: None,
) -> Curated:
    """Run ``steps`` over ``sources``, or take the result from ``cache``; ``told`` hears how it goes.

    ``models`` opens the models that steps ask.

    Raises ``UserError`` for files that cannot be read, and for steps that lack something or do not suit a format.
    """
    opened = tuple(open_source(one.path, split=one.split, unit=unit_of(one.format), forgiving=True) for one in sources)
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
            ready = [step.with_models(models) if step.asks_model else step for step in steps]
            rows = Passes(opened, readings, work, workers or cores(), told).run(ready)
            _finish(rows, readings, found.folder)
        shutil.rmtree(work, ignore_errors=True)
    return found


def _reading(config: SourceConfig, source: Source) -> Reading:
    found = recognised(config, source)
    return Reading(source.path, found.format.name, found.reason, config.columns)


def _check(steps: Sequence[Step], readings: Sequence[Reading]) -> None:
    for step in steps:
        step.ready()
        changes = isinstance(step, RowStep | BatchStep) and step.changes
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


def _finish(rows: Path, readings: Sequence[Reading], folder: Path) -> None:
    """One curated file a source, and the ledger."""
    ledger = Ledger([SourceCount(one.path, one.format, one.why) for one in readings])
    with whole_folder(folder) as temporary:
        found = Curated("", temporary, tuple(readings), hit=False)
        files = [path.open("wb") for path in found.files]
        for file, reading in zip(files, readings, strict=True):
            file.write(json.dumps({"path": reading.path, "why": reading.why}).encode() + b"\n")
        for number, raw in enumerate(raw_lines(rows)):
            source = source_of(raw)
            files[source].write(raw)
            if is_plain(raw):
                ledger.sources[source].count("kept")
            else:
                _count(ledger, number, Line.from_bytes(raw))
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


def step_counts(ledger: Ledger, steps: Sequence[Step]) -> Mapping[str, int]:
    """Rows that each step dropped, in the order of the steps; what no format could read first."""
    found = {"reading": 0, **{step.NAME: 0 for step in steps}}
    for entry in ledger.entries:
        name, _, _ = entry.reason.removeprefix(CURATED).partition(":")
        found[name if entry.reason.startswith(CURATED) and name in found else "reading"] += 1
    return found
