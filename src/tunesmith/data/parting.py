"""Rows parted as ``data.split`` says: what ties them is read off the rows, ``sides`` does the rest.

    sources -> items -> ties, strata, times -> the order in which rows are taken -> a side for each row

Rows are numbered over all sources, unreadable ones included, as the ledger numbers them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.chunks import group_of
from tunesmith.data.curate.base import Item
from tunesmith.data.curate.exact_dedup import key_of
from tunesmith.data.curate.near_dedup import NearDedup
from tunesmith.data.curate.needs import version_of
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.formats.base import BadRow
from tunesmith.data.look import recognised
from tunesmith.data.neighbours import Neighbours
from tunesmith.data.sides import Assigned, Row, as_array, assign, hash64, origin_of
from tunesmith.data.sources import Broken, Source, open_source
from tunesmith.errors import UserError, did_you_mean
from tunesmith.files import write_json
from tunesmith.recipe.schema import SourceConfig, SplitConfig

SIDES = ("train", "validation", "test")
NO_TIME = "it has no time that the split can go by"
LOOKED_AT = 100


@dataclass(frozen=True)
class Asked:
    """What is parted and how: shares of the sides, ``marker`` of text rows, the side of whole sources if given."""

    config: SplitConfig
    shares: tuple[float, ...]
    seed: int
    marker: str | None = None
    given: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Parted:
    """int8 ``[rows]`` sides (-1: on none), why rows are on none, and what else there is to say."""

    sides: NDArray[np.int8]
    reasons: Mapping[int, str]
    notes: tuple[str, ...] = ()
    strata: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Rows of each side by stratum, where rows are stratified."""


@dataclass(frozen=True)
class _Known:
    """What the first pass keeps of a row."""

    number: int
    ties: tuple[int, ...]
    stratum: str | None
    time: float | None
    content: bytes | None
    source: int


def part(opened: Sequence[Source], readings: Sequence[Reading], asked: Asked) -> Parted:
    """A side for every row of ``opened``.

    Raises ``UserError``: ``unknown-column``, ``no-time``, ``missing-extra``, and what reading raises.
    """
    config = asked.config
    step = None if config.near is None else NearDedup(threshold=config.near, by=config.by)
    if step is not None:
        step.ready()
    _check_columns(opened, config)
    before = _kept_sides(config.keep, count=len(asked.shares)) if config.keep else {}
    reading = _Reading(opened, readings, asked)
    with tempfile.TemporaryDirectory() as folder:
        near = None if step is None else Neighbours(step, reading.items(), Path(folder))
        if near is None:
            reading.finish()
        since = _since(reading.known, asked) if config.time else None
        rows, timeless = _in_order(reading.known, asked, before, since)
        found = assign(rows, asked.shares, seed=asked.seed, near=near)
    strata: dict[str, dict[int, int]] = {}
    for row in reading.known if config.stratify else ():
        counts = strata.setdefault(str(row.stratum), {})
        counts[found.sides[row.number]] = counts.get(found.sides[row.number], 0) + 1
    reasons = found.reasons | dict.fromkeys(timeless, NO_TIME)
    return Parted(as_array(found, reading.count), reasons, tuple(_notes(found, asked, since)), strata)


@dataclass
class _Reading:
    """Rows read once: what is kept of each is noted while whoever asks for the items goes through them."""

    opened: Sequence[Source]
    readings: Sequence[Reading]
    asked: Asked
    known: list[_Known] = field(default_factory=list)
    count: int = 0

    def items(self) -> Iterator[Item]:
        """The items of all rows that can be read."""
        items = Items(self.readings)
        for source, one in enumerate(self.opened):
            for row in one.rows():
                self.count += 1
                if isinstance(row.value, Broken):
                    continue
                with suppress(BadRow):
                    item = items.read(self.count - 1, source, row.value)
                    self.known.append(_known(item, self.asked))
                    yield item

    def finish(self) -> None:
        """Go through them for that alone."""
        for _ in self.items():
            pass


def _known(item: Item, asked: Asked) -> _Known:
    config = asked.config
    group = None if config.group is None else item.value.get(config.group)
    origin = origin_of(item.value.get("made"))
    found = (None if group is None else hash64(f"{config.group}={group}"), group_of(item.record, asked.marker), origin)
    ties = tuple(tie for tie in found if tie is not None)
    time = None if config.time is None else _time(item.value.get(config.time))
    content = None if config.keep is None else key_of(item, "row", "same")
    return _Known(item.number, ties, _stratum(item, config.stratify), time, content, item.source)


def _stratum(item: Item, column: str | None) -> str | None:
    if column is None:
        return None
    return str(item.value[column]) if column in item.value else item.answer


def _time(value: Any) -> float | None:
    """A time as a number: numbers as they are, texts by ISO 8601 (UTC where no zone is named); or None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).timestamp()
    with suppress(TypeError, ValueError):
        return float(value)
    with suppress(TypeError, ValueError):
        found = datetime.fromisoformat(str(value).strip())
        return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    return None


def _since(known: Sequence[_Known], asked: Asked) -> list[float]:
    """From when on rows are of each later side, side 1 first; infinity for a side of no share."""
    config = asked.config
    times = np.sort([row.time for row in known if row.time is not None])
    if not len(times):
        what = f"no row has a time in the column '{config.time}'"
        raise UserError(what, allowed="ISO 8601 or numbers", code="no-time")
    if config.since is not None:
        first = _time(config.since)
        if first is None or len(asked.shares) > 2:
            raise UserError(
                "data.split.since says when validation begins",
                got=str(config.since),
                allowed="a time or a number, with two sides",
                code="no-time",
            )
        return [first]
    # training first, then validation, then test: each begins where the shares of those before it end
    ends = np.cumsum([asked.shares[0], *asked.shares[1:-1]])
    return [float(times[min(round(end * len(times)), len(times) - 1)]) for end in ends]


def _in_order(
    known: Sequence[_Known], asked: Asked, before: Mapping[bytes, int], since: Sequence[float] | None
) -> tuple[list[Row], list[int]]:
    """Rows in the order in which they are taken, and the numbers of those without a time."""
    kept: list[Row] = []
    others: list[Row] = []
    timeless: list[int] = []
    for one in known:
        given = asked.given[one.source] if asked.given else None
        if one.content is not None and one.content in before:
            kept.append(Row(one.number, one.ties, one.stratum, before[one.content], stays=True))
            continue
        if since is not None and given is None:
            if one.time is None:
                timeless.append(one.number)
                continue
            given = sum(one.time >= first for first in since)
        others.append(Row(one.number, one.ties, one.stratum, given))
    others.sort(key=lambda row: -(row.given or 0))  # stable: later sides first, rows of one side in their order
    return [*kept, *others], timeless


def _notes(found: Assigned, asked: Asked, since: Sequence[float] | None) -> Iterator[str]:
    if since is not None:
        for side, first in enumerate(since, start=1):
            yield f"{SIDES[side]} begins at {asked.config.time} {_shown(first)}; `since` holds that fixed"
    if found.torn:
        yield f"{found.torn:,} rows stay where {asked.config.keep} has them, though they are like rows of another side"


def _shown(time: float) -> str:
    """A time as a person reads it: numbers from 1971 on in seconds are dates."""
    return datetime.fromtimestamp(time, UTC).isoformat() if 3e7 < time < 1e11 else f"{time:g}"


def _kept_sides(folder: str, *, count: int) -> dict[bytes, int]:
    """Digest of a row -> its side in the split that ``folder`` holds."""
    found: dict[bytes, int] = {}
    for side, name in enumerate(SIDES[:count]):
        path = Path(folder).expanduser() / f"{name}.jsonl"
        if not path.is_file():
            if side < 2:
                hint = "`keep` names a folder that `tunesmith data split` wrote."
                raise UserError(f"there is no {path}", hint=hint, code="missing-file")
            continue
        source = open_source(str(path))
        form = recognised(SourceConfig(path=str(path)), source)
        reading = Reading(str(path), form.format.name, form.reason, {})
        items = Items([reading])
        for number, row in enumerate(source.rows()):
            key = None if isinstance(row.value, Broken) else key_of(items.read(number, 0, row.value), "row", "same")
            if key is not None:
                found[key] = side
    return found


def _check_columns(opened: Sequence[Source], config: SplitConfig) -> None:
    """A column that none of the first rows has is a ``UserError``; ``label`` is what rows are labelled with."""
    stratify = config.stratify if config.stratify != "label" else None
    wanted = {"group": config.group, "stratify": stratify, "time": config.time}
    found = set(_first_columns(opened))
    for name, column in wanted.items():
        if column is not None and column not in found:
            raise UserError(
                f"no row has the column named in split.{name}",
                got=f"'{column}'",
                allowed=sorted(found),
                hint=did_you_mean(column, found),
                code="unknown-column",
            )


def _first_columns(opened: Sequence[Source]) -> Iterable[str]:
    for source in opened:
        for number, row in enumerate(source.rows()):
            if number == LOOKED_AT:
                break
            if not isinstance(row.value, Broken):
                yield from row.value


def parted(opened: Sequence[Source], readings: Sequence[Reading], asked: Asked, *, cache: Path) -> Parted:
    """The same as ``part``, once for every content: kept in ``cache``."""
    digest = hashlib.blake2b(digest_size=20)
    for source, reading in zip(opened, readings, strict=True):
        digest.update(source.fingerprint() + repr((reading.format, sorted(reading.columns.items()))).encode())
    digest.update(repr(asked).encode() + version_of("rensa"))
    for side in SIDES if asked.config.keep else ():
        file = Path(asked.config.keep or "").expanduser() / f"{side}.jsonl"
        digest.update(file.read_bytes() if file.is_file() else b"")
    here = Path(__file__).parent
    for code in sorted({*here.glob("*.py"), *here.glob("curate/*.py"), *here.glob("formats/*.py")}):
        digest.update(code.read_bytes())
    path = cache / f"{digest.hexdigest()}.json"
    if path.is_file():
        value = json.loads(path.read_text())
        sides = np.frombuffer(base64.b85decode(value["sides"]), dtype=np.int8)
        return Parted(sides, {int(row): why for row, why in value["reasons"].items()}, tuple(value["notes"]))
    found = part(opened, readings, asked)
    written = base64.b85encode(found.sides.tobytes()).decode()
    write_json(path, {"sides": written, "reasons": dict(found.reasons), "notes": list(found.notes)})
    return found
