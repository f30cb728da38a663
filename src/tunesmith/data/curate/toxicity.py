"""Toxicity by words: insults, obscenities and threats from a short English list.

Letters written as signs (``sh1t``, ``f*ck``) and stretched letters are seen through.

The trap, and it is a large one: a list of words finds words. It misses everything hateful that is said politely, in
other languages or in slang that is not listed, and it drops quotations, dictionaries and warnings that name a word.
Names for groups of people are not on the shipped list: bring your own with ``words``. Use it to take out the plainly
foul, and never as the only guard of anything.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.data.curate.base import Drop, Item, Part, RowStep
from tunesmith.errors import UserError

STEMS = """fuck motherfuck shit bullshit bitch asshole arsehole bastard cunt whore slut dickhead cocksuck wank twat
    jackass dumbass douchebag scumbag dipshit"""
ENDINGS = ("", "s", "es", "ed", "er", "ers", "ing", "in", "y", "ty", "ting", "head", "face", "hole", "holes", "ish")
_SELF = r"(?:you|u|they)(?:\s+are|['’]?re|\s+r)?\s+(?:all\s+)?(?:an?\s+|such\s+an?\s+)?"
_DOER = r"\b(?:i|we)(?:\s+am|['’]m|['’]re|['’]ll|\s+will|\s+are)?\s+(?:going\s+to\s+|gonna\s+)?"
_THREAT = re.compile(
    "|".join(
        (
            r"\bkill\s+your\s?self\b",
            r"\bkys\b",
            _DOER + r"(?:kill|murder|rape|stab|shoot)\s+(?:you|u|her|him|them)\b",
            r"\b(?:you|u|they)\s+(?:all\s+)?(?:should|deserve\s+to|need\s+to|must)\s+(?:just\s+)?die\b",
            r"\bgo\s+(?:and\s+)?die\b",
            r"\bdie\s+in\s+a\s+fire\b",
            r"\bhope\s+(?:you|they)\s+(?:all\s+)?die\b",
            rf"\b{_SELF}(?:worthless|subhuman|vermin|retarded|retards?|pathetic\s+loser)\b",
        )
    )
)
_MAY_THREATEN = re.compile("kill|kys|die|murder|rape|stab|shoot|worthless|subhuman|vermin|retard|pathetic")
_LETTERS = str.maketrans("@43!10$57", "aaeiiosst")
_WORD = re.compile(r"[a-z*]+")
_STRETCHED = re.compile(r"(.)\1+")


class Toxicity(RowStep):
    """Drops rows with insults, obscenities or threats, by a short list of English words."""

    NAME: ClassVar[str] = "toxicity"

    of: Part = "row"
    """What is looked at: the whole `row`, its `prompt` or its `answer`."""
    hits: Annotated[int, Field(ge=1)] = 1
    """How many hits drop a row."""
    words: str | None = None
    """A file of further words or phrases, one a line."""
    shipped: bool = True
    """Whether the shipped list is used."""

    def ready(self) -> None:
        """The file of words can be read."""
        assert self._given is not None

    def fingerprint(self) -> bytes:
        """The words of the file."""
        return hashlib.sha256("\n".join(self._given).encode()).digest()

    def look(self, item: Item) -> Drop | None:
        """Dropped with as many hits as are too many; the ledger shows the first."""
        text = item.of(self.of).lower()
        found = _foul(text) if self.shipped else []
        if self._given:
            found += self._further.findall(text)
        return Drop("foul words or threats", shown=found[0]) if len(found) >= self.hits else None

    @cached_property
    def _given(self) -> list[str]:
        if self.words is None:
            return []
        try:
            lines = Path(self.words).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the words of toxicity: {error}", got=self.words, code="no-words") from None
        return [line.strip() for line in lines if line.strip()]

    @cached_property
    def _further(self) -> re.Pattern[str]:
        spaced = (r"\s+".join(map(re.escape, phrase.lower().split())) for phrase in self._given)
        return re.compile(rf"(?<!\w)(?:{'|'.join(spaced)})(?!\w)")


def _foul(text: str) -> list[str]:
    """Foul words and threats in a text in lower case."""
    found = [word for word in _WORD.findall(_plain(text)) if word in _FOUL]
    if _MAY_THREATEN.search(text):
        found += [threat[0] for threat in _THREAT.finditer(text)]
    return found


def _plain(text: str) -> str:
    """Signs as the letters they stand for, and no letter stretched."""
    return _STRETCHED.sub(r"\1", text.translate(_LETTERS))


def _starred(word: str) -> set[str]:
    """``word``, and the same with one vowel starred out."""
    return {word, *(word[:at] + "*" + word[at + 1 :] for at, sign in enumerate(word) if at and sign in "aeiou")}


_FOUL = frozenset(one for stem in STEMS.split() for end in ENDINGS for one in _starred(_plain(stem + end)))
