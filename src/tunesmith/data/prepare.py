"""Rows to a token store: read, recognise, render, tokenise, fit, count, split; once for every content.

    sources -> chunks of rows -> parts (by several processes, resumable) -> one store -> train and validation views

The store is named by a digest of everything that decides its content: the bytes of the data, how they are read, the
tokenizer and template, the options, and the code of this folder. Seed, validation share and ``max_lost`` are applied to
the store afterwards and change nothing in it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np

from tunesmith.contracts.data import Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.chunks import Chunk, Encode, Job, read_record
from tunesmith.data.curate.stream import Reading
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import LEAK, Entry, Ledger, SourceCount, empty_like
from tunesmith.data.look import recognised, sources_of
from tunesmith.data.parting import Asked, Parted, parted
from tunesmith.data.pool import cores, run_chunks
from tunesmith.data.recognise import rename
from tunesmith.data.refusal import refusal
from tunesmith.data.sources import Broken, Row, Source, open_source, unit_of
from tunesmith.data.split import by_share
from tunesmith.data.store import TokenStore, join_parts, part_path, read_ledger
from tunesmith.data.tags import tags_of
from tunesmith.errors import UserError
from tunesmith.files import one_at_a_time
from tunesmith.recipe.schema import DataConfig

CHUNK = 500


@dataclass(frozen=True)
class Prepared:
    """Tokenised rows, split, with their ledger."""

    train: TokenStore
    validation: TokenStore
    ledger: Ledger
    encoder: ChatEncoder
    hit: bool
    """Whether the tokens were found in the cache."""
    key: str
    job: Job
    opened: tuple[Source, ...]
    refusal: UserError | None = None
    """Why these rows may not be trained on: nothing is left, or more is lost than the recipe allows."""

    def accepted(self) -> Prepared:
        """These rows, where they may be trained on; else the ``refusal`` is raised."""
        if self.refusal is not None:
            raise self.refusal
        return self

    @property
    def words(self) -> str:
        """Where the tokens came from, for the user."""
        how = "read from the cache" if self.hit else "made now"
        return f"tokens {how} (key {self.key[:12]})"

    def records(self, rows: Collection[int]) -> dict[int, Record]:
        """The records of ledger rows, read again from their sources."""
        wanted, number = set(rows), -1
        found: dict[int, Record] = {}
        for source, opened in enumerate(self.opened):
            for row in opened.rows():
                number += 1
                record = _record(self.job, row, source) if number in wanted else None
                if record is not None:
                    found[number] = record
        return found

    @cached_property
    def validation_records(self) -> list[Record]:
        """The records of the validation rows."""
        return list(self.records([int(row) for row in self.validation.rows]).values())


def prepare(
    config: DataConfig,
    encode: Encode,
    encoder: ChatEncoder,
    *,
    seed: int,
    cache: Path,
    options_key: str,
    marker: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Tokenise the rows of ``config`` with ``encode`` (an objective's), or take them from ``cache``.

    ``options_key`` says everything about ``encode`` that decides its result; ``marker`` is where text rows turn from
    prompt to answer; ``progress`` is told the number of rows done so far. A row for which ``encode`` raises ``BadRow``
    (such as a text without the marker) is dropped for that reason. Raises ``UserError`` for files that cannot be
    read. Rows that training would refuse are prepared as well, so that they can be looked at: ``accepted`` refuses.
    """
    job, opened = _job(config, encode, encoder, marker=marker, cache=cache)
    key = _key(job, opened, options_key)
    folder = cache / key
    hit = (folder / "store.json").exists()
    if not hit:
        parts = cache / f"{key}.parts"
        with one_at_a_time(parts):
            if not (folder / "store.json").exists():
                _make(replace(job, folder=parts), opened, folder, config.workers, progress)
            shutil.rmtree(parts, ignore_errors=True)
    ledger = Ledger.from_json(json.loads((folder / "ledger.json").read_text()))
    store = TokenStore(folder)
    sides = partial(_parted, config, job, opened, seed=seed, cache=cache / "splits")
    train, validation = _sides(store, config, ledger, sides, seed=seed)
    _count_tokens(ledger, train, validation)
    return Prepared(train, validation, ledger, encoder, hit, key, job, opened, refusal(ledger, config))


def training_records(config: DataConfig) -> Iterator[Record]:
    """Every training row that can be read, as a record; files are opened when the first one is asked for."""
    for one in config.train:
        source = open_source(one.path, split=one.split, unit=unit_of(one.format))
        form = recognised(one, source).format
        for row in source.rows():
            with suppress(BadRow):
                if not isinstance(row.value, Broken):
                    yield form.read(rename(row.value, one.columns))


def _job(
    config: DataConfig, encode: Encode, encoder: ChatEncoder, *, marker: str | None, cache: Path
) -> tuple[Job, tuple[Source, ...]]:
    if not config.train:
        raise UserError("no training data", hint="Name a file in data.train.", code="no-data")
    both = sources_of(config)
    opened = tuple(open_source(one.path, split=one.split, unit=unit_of(one.format)) for one in both)
    counts = []
    for number, (one, source) in enumerate(zip(both, opened, strict=True)):
        found = recognised(one, source)
        held_out = number >= len(config.train)
        counts.append(SourceCount(source.path, found.format.name, source.why or found.reason, validation=held_out))
    job = Job(
        encode=encode,
        encoder=encoder,
        sources=tuple(counts),
        columns=tuple(one.columns for one in both),
        max_tokens=config.max_tokens,
        overlong=config.overlong,
        marker=marker,
        folder=cache,
        tags=tags_of(config.tags, opened),
    )
    return job, opened


def _key(job: Job, opened: tuple[Source, ...], options_key: str) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for count, columns, source in zip(job.sources, job.columns, opened, strict=True):
        digest.update(source.fingerprint())
        digest.update(repr((count.format, sorted(columns.items()), count.validation)).encode())
    digest.update(job.encoder.fingerprint())
    digest.update(repr((job.max_tokens, job.overlong, job.marker, job.tags, CHUNK, options_key)).encode())
    digest.update(version("tokenizers").encode() + version("jinja2").encode())
    here = Path(__file__).parent
    for file in sorted([*here.rglob("*.py"), *here.rglob("*.jinja")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _make(
    job: Job, opened: tuple[Source, ...], folder: Path, workers: int | None, progress: Callable[[int], None] | None
) -> None:
    """Write all parts that are not there yet, then join them."""
    numbers: list[int] = []
    done = 0
    for rows in run_chunks(job, _missing_chunks(job, opened, numbers), workers=workers or cores()):
        done += rows
        if progress is not None:
            progress(done)
    parts = [part_path(job.folder, number) for number in numbers]
    ledger = read_ledger(parts, empty_like(job.sources))
    join_parts(parts, folder, ledger=ledger)


def _missing_chunks(job: Job, opened: tuple[Source, ...], numbers: list[int]) -> Iterator[Chunk]:
    """Chunks whose part is not there yet; ``numbers`` collects those of all chunks."""
    number, first = 0, 0
    for source, one in enumerate(opened):
        rows = one.rows()
        while held := list(islice(rows, CHUNK)):
            numbers.append(number)
            if not part_path(job.folder, number).exists():
                yield Chunk(number, first, source, held)
            number, first = number + 1, first + len(held)


def _sides(
    store: TokenStore, config: DataConfig, ledger: Ledger, parted: Callable[[], Parted], *, seed: int
) -> tuple[TokenStore, TokenStore]:
    """The sequences of training and those of validation; what stands on neither is held back."""
    if config.split is not None and not _by_pieces(store, config):
        found = parted()
        ledger.notes.update(found.notes)
        sides = found.sides[store.rows]
        _hold_back(ledger, store.only(sides < 0), found.reasons)
        return store.only(sides == 0), store.only(sides == 1)
    if not isinstance(config.validation, list):
        chosen = by_share(store.groups, config.validation, seed=seed, pieces=store.pieces)
        return store.only(~chosen), store.only(chosen)
    chosen = store.sources >= len(config.train)
    leaked = ~chosen & np.isin(store.groups, store.groups[chosen])
    _hold_back(ledger, store.only(leaked), {})
    return store.only(~chosen & ~leaked), store.only(chosen)


def _by_pieces(store: TokenStore, config: DataConfig) -> bool:
    """Whether there is nothing to part, or nothing but the pieces of too few long texts."""
    if isinstance(config.validation, list):
        return False
    few = len(np.unique(store.groups)) * min(config.validation, 1.0 - config.validation) < 1.0
    return config.validation == 0.0 or (few and bool(store.pieces.any()))


def _hold_back(ledger: Ledger, held: TokenStore, reasons: Mapping[int, str]) -> None:
    places = zip(*(part.tolist() for part in (held.rows, held.sources, held.lines)), strict=True)
    entries = [Entry(row, source, line, "dropped", reasons.get(row, LEAK)) for row, source, line in places]
    ledger.hold_back(entries)


def _parted(config: DataConfig, job: Job, opened: tuple[Source, ...], *, seed: int, cache: Path) -> Parted:
    """The sides that ``data.split`` gives the rows; validation files of their own are given theirs."""
    assert config.split is not None
    listed = isinstance(config.validation, list)
    share = 0.0 if isinstance(config.validation, list) else config.validation
    given = tuple(int(number >= len(config.train)) for number in range(len(opened))) if listed else ()
    readings = [
        Reading(one.path, one.format, one.why, dict(columns))
        for one, columns in zip(job.sources, job.columns, strict=True)
    ]
    asked = Asked(config.split, (1.0 - share, share), seed, job.marker, given)
    return parted(opened, readings, asked, cache=cache)


def _count_tokens(ledger: Ledger, train: TokenStore, validation: TokenStore) -> None:
    for side, store in (("train", train), ("validation", validation)):
        ledger.sequences[side] = len(store)
        ledger.tokens[side] = int(store.lengths.sum())
        ledger.trained_tokens[side] = int(store.trained_counts.sum())


def _record(job: Job, row: Row, source: int) -> Record | None:
    try:
        return read_record(job, row, source)
    except BadRow:
        return None
