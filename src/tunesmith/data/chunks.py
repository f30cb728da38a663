"""One chunk of rows to one part of the token store: what a worker does, in its own process or in this one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.fit import Overlong, fit
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow, Format
from tunesmith.data.ledger import (
    IMAGES,
    JOINED,
    LOST,
    SPELLED,
    UNWRITTEN,
    Entry,
    Example,
    Ledger,
    SourceCount,
    empty_like,
    short,
)
from tunesmith.data.recognise import rename
from tunesmith.data.sources import Broken, Row
from tunesmith.data.store import Encoded, part_path, write_part
from tunesmith.data.tags import Tags, tagged

Encode = Callable[[Record, Encoder], list[Encoding]]
"""An objective's: a record to its sequences; raises ``BadRow`` for a record that it cannot train on."""
THOUGHTS = ("reasoning_content", "thinking")
"""Keys of a turn under which templates find what was thought before it."""
_COUNTER = re.compile(r" \d+ of \d+$")


@dataclass(frozen=True)
class Chunk:
    """Rows of one source; ``first`` is the number of its first row over all sources."""

    number: int
    first: int
    source: int
    rows: list[Row]


@dataclass(frozen=True)
class Job:
    """All that turning rows into tokens needs; picklable."""

    encode: Encode
    encoder: ChatEncoder
    sources: tuple[SourceCount, ...]
    columns: tuple[Mapping[str, str], ...]
    max_tokens: int
    overlong: Overlong
    marker: str | None
    folder: Path
    tags: Tags = field(default_factory=Tags)

    @cached_property
    def formats(self) -> list[Format]:
        """The format of each source."""
        return [FORMATS.load(source.format) for source in self.sources]

    def run(self, chunk: Chunk) -> None:
        """Encode ``chunk`` and write its part."""
        _run(self, chunk)


def _run(job: Job, chunk: Chunk) -> None:
    ledger = empty_like(job.sources)
    sequences: list[Encoded] = []
    records = [_record_or_reason(job, row, chunk.source) for row in chunk.rows]
    job.encoder.read_ahead([record for record in records if isinstance(record, Record)])
    for number, (row, record) in enumerate(zip(chunk.rows, records, strict=True), start=chunk.first):
        sequences += _run_row(job, ledger, row, record, number=number, source=chunk.source)
    write_part(part_path(job.folder, chunk.number), sequences, ledger=ledger, vocabulary=job.encoder.tokens.size)


def read_record(job: Job, row: Row, source: int) -> Record:
    """The record of a row; ``BadRow`` where it has none."""
    if isinstance(row.value, Broken):
        raise BadRow(row.value.reason)
    record = tagged(job.formats[source].read(rename(row.value, job.columns[source])), job.tags)
    if record.images:
        raise BadRow(IMAGES)
    return record


def _record_or_reason(job: Job, row: Row, source: int) -> Record | BadRow:
    try:
        return read_record(job, row, source)
    except BadRow as bad:
        return bad


def _run_row(job: Job, ledger: Ledger, row: Row, record: Record | BadRow, *, number: int, source: int) -> list[Encoded]:
    try:
        if isinstance(record, BadRow):
            raise record
        encodings = job.encode(record, job.encoder)
    except BadRow as bad:
        ledger.add(Entry(number, source, row.line, "dropped", str(bad)), _example(row))
        return []
    fitted = fit(encodings, max_tokens=job.max_tokens, overlong=job.overlong)
    if fitted.status == "kept":
        ledger.sources[source].count("kept")
    else:
        ledger.add(Entry(number, source, row.line, fitted.status, fitted.reason), _example(row))
    for note in row.notes:
        ledger.note(note, _example(row))
    _note(job, ledger, row, record, fitted.encodings)
    group = group_of(record, job.marker)
    divisible = record.text is not None and record.labels is None
    return [
        Encoded(one, number, source, row.line, group, at if divisible else 0) for at, one in enumerate(fitted.encodings)
    ]


def _note(job: Job, ledger: Ledger, row: Row, record: Record, encodings: Sequence[Encoding]) -> None:
    for note in {_COUNTER.sub("", encoding.note) for encoding in encodings}:
        if note and note not in ("cut", "split"):
            ledger.notes[note] += 1
    if job.encoder.joined(record):
        ledger.notes[JOINED] += 1
    unwritten = _unwritten(record, job.encoder.template or "")
    if unwritten:
        ledger.note(UNWRITTEN, Example(row.file, row.line, short(unwritten)))
    text = _text_of(record)
    lost = job.encoder.tokens.lost(text)
    if lost:
        ledger.notes[LOST] += 1
        ledger.lost_characters.update(lost)
    special = job.encoder.tokens.spelled(text)
    if special:
        ledger.note(SPELLED, Example(row.file, row.line, f"{special} in: {short(text, around=special)}"))


def _unwritten(record: Record, template: str) -> str:
    """What is thought before an answer, where the chat template has no place for it."""
    turns = [*(record.messages or ()), *chain.from_iterable(one.messages for one in record.candidates)]
    thoughts = ((key, turn.extra.get(key)) for turn in turns for key in THOUGHTS)
    return next((str(thought) for key, thought in thoughts if thought and key not in template), "")


def _text_of(record: Record) -> str:
    """All that a record says."""
    if record.text is not None:
        return record.text + (record.pair or "")
    turns = [*(record.messages or ()), *chain.from_iterable(one.messages for one in record.candidates)]
    return "".join(one.content for one in turns)


def _example(row: Row) -> Example:
    return Example(row.file, row.line, row.value.text if isinstance(row.value, Broken) else short(row.value))


def group_of(record: Record, marker: str | None) -> int:
    """64-bit hash of the normalised first question (text before ``marker``, or a whole text)."""
    if record.text is not None:
        at = record.text.rfind(marker) if marker else -1
        prompt = record.text[:at] if at >= 0 else record.text
    else:
        messages = record.messages or ()
        prompt = next((one.content for one in messages if one.role == "user"), messages[0].content)
    content = " ".join(prompt.split()).casefold().encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
