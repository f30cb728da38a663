"""Entities out of labels of words: right where span and kind are exact, as the CoNLL-2003 evaluation counts (Tjong Kim
Sang & De Meulder 2003, section 2.3).

Labels are ``B-PER``, ``I-PER``, ``O`` (BIO), with ``L-`` or ``E-`` for a last word and ``U-`` or ``S-`` for a lone one
in BILOU and BIOES. Models also say what no scheme allows; as in CoNLL's script an entity then begins where

    the word begins one (B, U, S), or the word before is outside, ended one (L, E, U, S), or is of another kind.

So ``I-PER`` after ``O`` begins an entity, which also reads the older IOB1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BEGIN, INSIDE, END = frozenset("BUS"), frozenset("IBLEUS"), frozenset("LEUS")
OUTSIDE = "O"


@dataclass(frozen=True)
class Entity:
    """Words ``first`` to ``last`` (not included) that are a ``kind``."""

    kind: str
    first: int
    last: int


@dataclass(frozen=True)
class Matches:
    """How many entities are ``wanted``, how many are ``said``, and how many are both."""

    wanted: int
    said: int
    right: int


def names_entities(labels: Sequence[str]) -> bool:
    """Whether ``labels`` are those of a scheme: every one ``O`` or ``B-…``, ``I-…`` and so on, and some that begin."""
    parts = [_parts(label) for label in labels if label != OUTSIDE]
    return OUTSIDE in labels and bool(parts) and all(letter in INSIDE and kind for letter, kind in parts)


def entities(labels: Sequence[str]) -> Iterator[Entity]:
    """The entities of one text, in their order."""
    first, before, last_kind = 0, OUTSIDE, ""
    for at, label in enumerate([*labels, OUTSIDE]):
        letter, kind = _parts(label)
        begins = letter != OUTSIDE and (letter in BEGIN or before in END or before == OUTSIDE or kind != last_kind)
        if before != OUTSIDE and (begins or letter == OUTSIDE):
            yield Entity(last_kind, first, at)
        if begins:
            first = at
        before, last_kind = letter, kind


def matches(wanted: Sequence[str], said: Sequence[str]) -> Matches:
    """What the labels of one text come to. F1 of many texts is ``2 Σ right / (Σ wanted + Σ said)``."""
    one, other = set(entities(wanted)), set(entities(said))
    return Matches(len(one), len(other), len(one & other))


def _parts(label: str) -> tuple[str, str]:
    letter, _, kind = label.partition("-")
    return letter, kind
