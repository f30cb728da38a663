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
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np

from tunesmith.contracts.data import Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.chunks import Chunk, Encode, Job, read_record
from tunesmith.data.fit import NO_TARGET, NO_TARGET_LEFT, too_long
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import LEAK, Entry, Ledger, SourceCount, empty_like, top_reasons
from tunesmith.data.pool import cores, run_chunks
from tunesmith.data.recognise import check_columns, recognise, rename
from tunesmith.data.sources import Broken, Row, Source, open_source
from tunesmith.data.split import by_share
from tunesmith.data.store import TokenStore, join_parts, part_path, read_ledger
from tunesmith.errors import UserError
from tunesmith.recipe.schema import DataConfig, SourceConfig

CHUNK = 500
SAMPLE = 20


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
    read, for data of which nothing is left, and where more than ``config.max_lost`` of the rows is dropped.
    """
    job, opened = _job(config, encode, encoder, marker=marker, cache=cache)
    key = _key(job, opened, options_key)
    folder = cache / key
    hit = (folder / "store.json").exists()
    if not hit:
        _make(replace(job, folder=cache / f"{key}.parts"), opened, folder, config.workers, progress)
    ledger = Ledger.from_json(json.loads((folder / "ledger.json").read_text()))
    store = TokenStore(folder)
    train, validation = _sides(store, config, ledger, seed=seed)
    _count_tokens(ledger, train, validation)
    _refuse_losses(ledger, config.max_lost)
    return Prepared(train, validation, ledger, encoder, hit, key, job, opened)


def _job(
    config: DataConfig, encode: Encode, encoder: ChatEncoder, *, marker: str | None, cache: Path
) -> tuple[Job, tuple[Source, ...]]:
    held_out = config.validation if isinstance(config.validation, list) else []
    if not config.train:
        raise UserError("no training data", hint="Name a file in data.train.", code="no-data")
    both = [*config.train, *held_out]
    opened = tuple(open_source(one.path, split=one.split, unit=_unit(one)) for one in both)
    counts = [_recognised(one, source) for one, source in zip(both, opened, strict=True)]
    for count in counts[len(config.train) :]:
        count.validation = True
    job = Job(
        encode=encode,
        encoder=encoder,
        sources=tuple(counts),
        columns=tuple(one.columns for one in both),
        max_tokens=config.max_tokens,
        overlong=config.overlong,
        marker=marker,
        folder=cache,
    )
    return job, opened


def _unit(source: SourceConfig) -> str:
    return source.format if source.format in ("paragraphs", "lines") else "text"


def _recognised(config: SourceConfig, source: Source) -> SourceCount:
    sample = [row.value for row in islice(source.rows(), SAMPLE)]
    objects = [value for value in sample if not isinstance(value, Broken)]
    check_columns(objects, config.columns, path=config.path)
    renamed = [rename(value, config.columns) for value in objects]
    found = recognise(renamed, path=config.path, name=config.format, columns=config.columns)
    return SourceCount(config.path, found.format.name, found.reason)


def _key(job: Job, opened: tuple[Source, ...], options_key: str) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for count, columns, source in zip(job.sources, job.columns, opened, strict=True):
        digest.update(source.fingerprint())
        digest.update(repr((count.format, sorted(columns.items()), count.validation)).encode())
    digest.update(job.encoder.fingerprint())
    digest.update(repr((job.max_tokens, job.overlong, job.marker, CHUNK, options_key)).encode())
    digest.update(version("tokenizers").encode() + version("jinja2").encode())
    here = Path(__file__).parent
    for file in sorted([*here.rglob("*.py"), *here.rglob("*.jinja")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _make(
    job: Job, opened: tuple[Source, ...], folder: Path, workers: int | None, progress: Callable[[int], None] | None
) -> None:
    """Write all parts that are not there yet, then join them."""
    job.folder.mkdir(parents=True, exist_ok=True)
    numbers: list[int] = []
    done = 0
    for rows in run_chunks(job, _missing_chunks(job, opened, numbers), workers=workers or cores()):
        done += rows
        if progress is not None:
            progress(done)
    parts = [part_path(job.folder, number) for number in numbers]
    ledger = read_ledger(parts, empty_like(job.sources))
    _refuse_nothing(ledger, job)
    join_parts(parts, folder, ledger=ledger)
    shutil.rmtree(job.folder, ignore_errors=True)


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


def _sides(store: TokenStore, config: DataConfig, ledger: Ledger, *, seed: int) -> tuple[TokenStore, TokenStore]:
    if not isinstance(config.validation, list):
        chosen = by_share(store.groups, config.validation, seed=seed, pieces=store.pieces)
        return store.only(~chosen), store.only(chosen)
    chosen = store.sources >= len(config.train)
    leaked = ~chosen & np.isin(store.groups, store.groups[chosen])
    places = zip(*(part[leaked].tolist() for part in (store.rows, store.sources, store.lines)), strict=True)
    ledger.hold_back(Entry(row, source, line, "dropped", LEAK) for row, source, line in places)
    return store.only(~chosen & ~leaked), store.only(chosen)


def _count_tokens(ledger: Ledger, train: TokenStore, validation: TokenStore) -> None:
    for side, store in (("train", train), ("validation", validation)):
        ledger.sequences[side] = len(store)
        ledger.tokens[side] = int(store.lengths.sum())
        ledger.trained_tokens[side] = int(store.trained_counts.sum())


def _refuse_nothing(ledger: Ledger, job: Job) -> None:
    if ledger.rows > ledger.total("dropped"):
        return
    reasons = {entry.reason for entry in ledger.entries}
    if reasons <= {NO_TARGET, NO_TARGET_LEFT}:
        raise UserError(
            "no row has a token to train on: every label is masked",
            got=top_reasons(ledger),
            hint="Look at `tunesmith data show`; set objective.train_on, or raise data.max_tokens.",
            code="all-masked",
        )
    if reasons == {too_long(job.max_tokens)}:
        raise UserError(
            f"every row is longer than max_tokens ({job.max_tokens})",
            hint="Raise data.max_tokens, or set data.overlong to cut or split.",
            code="all-overlong",
        )
    raise UserError(
        "no row is left to train on", got=top_reasons(ledger), hint=_first_example(ledger), code="no-rows-left"
    )


def _refuse_losses(ledger: Ledger, max_lost: float) -> None:
    if ledger.lost_share > max_lost:
        raise UserError(
            f"{ledger.total('dropped'):,} of {ledger.rows:,} rows would be dropped ({ledger.lost_share:.0%})",
            got=top_reasons(ledger),
            allowed=f"data.max_lost: {max_lost}",
            hint="`tunesmith data report` lists them with examples. Mend the rows, raise data.max_tokens, set "
            "data.overlong to cut or split, or raise data.max_lost.",
            code="too-many-lost",
        )


def _first_example(ledger: Ledger) -> str | None:
    for shown in ledger.examples.values():
        for one in shown:
            return f"For example {one.file} line {one.line}: {one.text}"
    return None


def _record(job: Job, row: Row, source: int) -> Record | None:
    try:
        return read_record(job, row, source)
    except BadRow:
        return None
