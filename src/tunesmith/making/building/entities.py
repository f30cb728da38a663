"""Names exchanged for others of their kind: Ada for Bob, Rome for Oslo, everywhere in a row alike.

Where words are tagged (CoNLL rows, labelled places) kinds and names are those of the rows themselves, and tags move
along (mention replacement: Dai & Adel 2020, arXiv 2010.11683, section 3). In other rows names are found by lists of
one's own: a name that stands in question and answer is exchanged in both.

The trap: "Who wrote Faust? Goethe." with Goethe exchanged teaches what is wrong. Lists are for rows whose names are
anybody's: bookings, letters, made-up people.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats.base import BadRow
from tunesmith.data.formats.spans import WORD as SPAN_WORD
from tunesmith.data.formats.spans import write as write_places
from tunesmith.errors import UserError
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder
from tunesmith.making.rows import same_row
from tunesmith.recipe.yaml12 import read_yaml

TRIES = 5
_BLANKS = re.compile(r"\S+")
Kinds = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Place:
    """A name in a text, and its kind."""

    start: int
    end: int
    kind: str


class Entities(RowBuilder):
    """Exchange names for others of their kind, in tagged words by their tags and elsewhere by lists."""

    NAME: ClassVar[str] = "entities"
    paper: ClassVar[str] = "Dai & Adel 2020 (arXiv 2010.11683)"

    lists: str | None = None
    """A YAML file of names by kind: `{person: [Ada, Bob], city: [Rome, Oslo]}`. Tagged rows need none."""
    copies: Count = 1
    """Copies of each row."""
    keep: bool = True
    """Whether the row itself is written as well, before its copies."""

    def prepared(self, parents: Sequence[Parent]) -> Kinds:
        """Names by kind: of the lists, or of all tagged rows."""
        if self.lists is not None:
            return _lists(Path(self.lists).expanduser())
        found: dict[str, set[str]] = defaultdict(set)
        for parent in parents:
            for place in _tagged(parent.record):
                found[place.kind].add((parent.record.text or "")[place.start : place.end])
        if not found:
            raise UserError(
                "these rows have no tagged names",
                hint="Name a file of names by kind with --lists: {person: [Ada, Bob]}.",
                code="no-names",
            )
        return {kind: sorted(names) for kind, names in sorted(found.items())}

    def build(self, parent: Parent, number: int, prepared: Kinds) -> Made:
        """The row and its copies, each with other names."""
        record, drawn = parent.record, self.random(number)
        if record.spans and self.lists is not None:
            raise BadRow("the row has tags of its own, and lists of names are for rows without")
        found: list[tuple[Record, dict[str, str]]] = []
        for _ in range(self.copies * TRIES):
            if record.spans:
                made, names = _retagged(record, prepared, drawn, word=_word_of(parent))
            else:
                made, names = _renamed(record, prepared, drawn)
            if names and made != record and all(made != other for other, _ in found):
                found.append((made, names))
            if len(found) == self.copies:
                break
        if not found:
            raise BadRow("it has no name that could be another")
        rows = [same_row(parent, record, {**parent.origin(self.NAME), "names": {}})] if self.keep else []
        rows += [same_row(parent, made, {**parent.origin(self.NAME), "names": names}) for made, names in found]
        return Made(rows)


def _lists(file: Path) -> Kinds:
    try:
        value = read_yaml(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}", code="no-names") from None
    fine = isinstance(value, dict) and all(
        isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) and name.strip() for name in names)
        for names in value.values()
    )
    if not fine or not value:
        raise UserError(
            f"{file} is no file of names", allowed="{kind: [name, another name]}, two or more of each", code="no-names"
        )
    return {str(kind): names for kind, names in value.items()}


def _tagged(record: Record) -> list[Place]:
    """The names of tagged words."""
    if not record.spans or not record.labels:
        return []
    try:
        spans = write_places(replace(record, pair=None))["spans"]
    except BadRow:
        return []
    return [Place(one["start"], one["end"], one["label"]) for one in spans]


def _word_of(parent: Parent) -> re.Pattern[str]:
    """What a word is in the parent's format: what stands between blanks, or what reading its texts makes one."""
    return SPAN_WORD if parent.form is not None and parent.form.name == "spans" else _BLANKS


def _retagged(
    record: Record, kinds: Kinds, drawn: random.Random, *, word: re.Pattern[str]
) -> tuple[Record, dict[str, str]]:
    """Every name another one of its kind, with a tag for each ``word`` of it."""
    text, names = record.text or "", dict[str, str]()
    places = {place.start: place for place in _tagged(record)}
    made, at = "", 0
    spans: list[tuple[int, int]] = []
    labels: list[str] = []
    inside_to = -1
    for (start, end), label in zip(record.spans, record.labels or (), strict=True):
        if start < inside_to:
            continue
        place = places.get(start)
        made, at = made + text[at:start], start
        if place is None:
            spans.append((len(made), len(made) + end - start))
            labels.append(label)
            made, at = made + text[start:end], end
            continue
        old = text[place.start : place.end]
        new = names.setdefault(old, drawn.choice(kinds[place.kind]))
        for number, part in enumerate(word.finditer(new)):
            spans.append((len(made) + part.start(), len(made) + part.end()))
            labels.append(f"{'I' if number else 'B'}-{place.kind}")
        made, at, inside_to = made + new, place.end, place.end
    changed = {old: new for old, new in names.items() if old != new}
    return replace(record, text=made + text[at:], spans=tuple(spans), labels=tuple(labels)), changed


def _renamed(record: Record, kinds: Kinds, drawn: random.Random) -> tuple[Record, dict[str, str]]:
    """Every listed name another one of its list, the same in all texts of the row."""
    whole = "\n".join(_texts(record))
    names: dict[str, str] = {}
    for kind in kinds.values():
        here = [name for name in kind if _named([name]).search(whole)]
        free = [name for name in kind if name not in here]
        names |= dict(zip(here, drawn.sample(free, min(len(here), len(free))), strict=False))
    if not names:
        return record, {}
    pattern = _named(list(names))

    def changed(text: str) -> str:
        return pattern.sub(lambda found: names[found[0]], text)

    return _mapped(record, changed), names


def _named(names: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")


def _texts(record: Record) -> list[str]:
    turns = [*(record.messages or ()), *(turn for one in record.candidates for turn in one.messages)]
    return [turn.content for turn in turns] + [text for text in (record.text, record.pair, *record.others) if text]


def _mapped(record: Record, changed: Any) -> Record:
    """``record`` with ``changed`` of every text."""

    def turn(message: Message) -> Message:
        extra = {key: changed(value) if isinstance(value, str) else value for key, value in message.extra.items()}
        return replace(message, content=changed(message.content), extra=extra)

    return replace(
        record,
        messages=None if record.messages is None else tuple(map(turn, record.messages)),
        candidates=tuple(replace(one, messages=tuple(map(turn, one.messages))) for one in record.candidates),
        text=None if record.text is None else changed(record.text),
        pair=None if record.pair is None else changed(record.pair),
        others=tuple(map(changed, record.others)),
    )
