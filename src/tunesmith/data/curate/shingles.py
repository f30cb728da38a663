"""Sets of word groups (shingles), as sorted numbers, and how alike two sets are.

    J(A, B) = |A ∩ B| / |A ∪ B|        (Broder 1997)

A shingle is ``group`` words in a row; a text with fewer words is one shingle. Words are those of ``texts.words``. They
are found and hashed for many texts at once: with c_i the bytes of all texts and B odd,

    hash(word) = mix(B^-start · Σ_{start ≤ i < end} c_i · B^i  mod 2^64),

which is a difference of two places in one running sum. Shingles are 64-bit hashes of those, so two of a million
different ones are taken for one with probability under 1e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.curate.texts import words

Hashes = NDArray[np.uint64]
_BASE = 0x5851F42D4C957F2D
_BACK = pow(_BASE, -1, 2**64)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
TOGETHER = 1 << 17
"""Characters hashed at once: their arrays stay in the cache of a core."""
_SHORTEST = 1 << 18
_OTHER, _LETTER, _APOSTROPHE = 0, 1, 2
_KIND = np.full(256, _OTHER, dtype=np.uint8)
_KIND[[*range(ord("0"), ord("9") + 1), *range(ord("a"), ord("z") + 1), *range(128, 256)]] = _LETTER
_KIND[ord("'")] = _APOSTROPHE


def shingle_sets(texts: Sequence[str], group: int) -> list[Hashes]:
    """One sorted uint64 array a text; empty for a text without words."""
    return [np.unique(one) for one in shingles(texts, group)]


def shingles(texts: Sequence[str], group: int) -> list[Hashes]:
    """The same in the order of each text, every shingle as often as it stands there."""
    return [made[0] for made in several_shingles(texts, (group,))]


def several_shingles(texts: Sequence[str], groups: Sequence[int]) -> list[list[Hashes]]:
    """``shingles`` of every text for each of ``groups``; the words are found once."""
    made: list[list[Hashes]] = []
    held: list[str] = []
    characters = 0
    for text in texts:
        held.append(text)
        characters += len(text)
        if characters > TOGETHER:
            made += _shingles(held, groups)
            held, characters = [], 0
    return made + _shingles(held, groups)


def _shingles(texts: Sequence[str], groups: Sequence[int]) -> list[list[Hashes]]:
    found = _Words.of(texts)
    mixed = [_mixed(found.hashes, group) for group in groups]
    bounds = zip(found.ends[:-1], found.ends[1:], strict=True)
    return [
        [_of(one, found.hashes, start, end, group) for one, group in zip(mixed, groups, strict=True)]
        for start, end in bounds
    ]


def _mixed(flat: Hashes, group: int) -> Hashes:
    """A hash of ``group`` words from each place of ``flat`` on."""
    mixed = np.zeros_like(flat)
    with np.errstate(over="ignore"):
        for place in range(group):
            later = np.concatenate([flat[place:], np.zeros(min(place, len(flat)), dtype=np.uint64)])
            mixed = _mix((mixed ^ later) + _FACTOR)
    return mixed


def jaccard(first: Hashes, second: Hashes) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets; 0 where one is empty."""
    if not len(first) or not len(second):
        return 0.0
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


@dataclass(frozen=True)
class _Words:
    """Hashes of the words of all texts; those of text n are ``hashes[ends[n]:ends[n + 1]]``."""

    hashes: Hashes
    ends: list[int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Words:
        plain = [text.lower() if text.isascii() else " ".join(words(text)) for text in texts]
        encoded = [text.encode(errors="surrogatepass") for text in plain]
        signs = np.frombuffer(b"\n".join([b"", *encoded, b""]), dtype=np.uint8)
        kind = _KIND[signs]
        letter = kind == _LETTER
        # an apostrophe belongs to a word between two of its letters; the first and last sign are line ends
        inside = letter.copy()
        inside[1:-1] |= (kind[1:-1] == _APOSTROPHE) & letter[:-2] & letter[2:]
        edges = np.diff(inside.astype(np.int8))
        starts, stops = np.flatnonzero(edges == 1) + 1, np.flatnonzero(edges == -1) + 1
        with np.errstate(over="ignore"):
            sums = np.cumsum((signs.astype(np.uint64) + np.uint64(1)) * _powers(_BASE, len(signs)))
            hashes = _mix((sums[stops - 1] - sums[starts - 1]) * _powers(_BACK, len(signs))[starts])
        text_ends = np.cumsum([0, *(len(one) + 1 for one in encoded)])
        return cls(hashes, np.searchsorted(starts, text_ends, side="right").tolist())


def _powers(base: int, count: int) -> Hashes:
    """base^0 … base^(count-1) modulo 2^64."""
    return _table(base, max(1 << (count - 1).bit_length(), _SHORTEST))[:count]


@lru_cache(4)
def _table(base: int, count: int) -> Hashes:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    with np.errstate(over="ignore"):
        return np.cumprod(factors)


def _of(mixed: Hashes, flat: Hashes, start: int, end: int, group: int) -> Hashes:
    if end - start >= group:
        return mixed[start : end - group + 1]
    value = np.full(min(end - start, 1), end - start, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for word in flat[start:end]:
            value = _mix((value ^ word) + _FACTOR)
    return value


def _mix(values: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
