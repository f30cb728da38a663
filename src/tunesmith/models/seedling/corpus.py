"""The corpus that Seedling grows from: plain documents of seven kinds, written from a seed.

`documents(kind, seed=...)` is an endless iterator; `write_corpus` mixes the kinds by their share of characters. No
question with an answer, no role names, no chat: how to answer is what fine-tuning teaches. The held-out file has its
own seed, contains no document of the training file, and its sums are of operand pairs that the training file never
shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tunesmith.models.seedling.texts import arithmetic, facts, lingua, reviews, stories, units, words
from tunesmith.models.seedling.world import World, grow

_MAKERS: dict[str, Callable[..., str]] = {
    "facts": facts.document,
    "stories": stories.document,
    "reviews": reviews.document,
    "arithmetic": arithmetic.document,
    "words": words.document,
    "units": units.document,
    "lingua": lingua.document,
}
SHARES = {
    "facts": 0.27,
    "stories": 0.27,
    "reviews": 0.11,
    "arithmetic": 0.11,
    "words": 0.10,
    "units": 0.04,
    "lingua": 0.10,
}
"""The share of characters of each kind of text."""
KINDS = tuple(_MAKERS)


def documents(kind: str, *, seed: int, held_out: bool = False, world: World | None = None) -> Iterator[str]:
    """Endless documents of one kind (`KINDS`); the same seed gives the same documents."""
    rng = Random(f"{kind}:{held_out}:{seed}")
    place = world or grow()
    while True:
        yield _MAKERS[kind](rng, place, held_out=held_out)


def write_corpus(
    path: Path,
    *,
    seed: int,
    megabytes: float,
    held_out: bool = False,
    opening: str = "",
    unlike: frozenset[str] = frozenset(),
) -> dict[str, int]:
    """Write rows `{"text", "kind"}` as jsonl, kinds mixed by `SHARES`; returns the characters written of each kind.

    Every text begins with `opening` (a begin token). No document is written twice, nor any in `unlike` (the texts of
    the other file, openings included).
    """
    streams = {kind: documents(kind, seed=seed, held_out=held_out) for kind in KINDS}
    written = dict.fromkeys(KINDS, 0)
    seen = set(map(hash, unlike))
    total, limit = 0, int(megabytes * 1e6)
    with path.open("w", encoding="utf-8") as file:
        while total < limit:
            kind = min(KINDS, key=lambda name: written[name] / SHARES[name])
            text = opening + next(streams[kind])
            if hash(text) in seen:
                continue
            seen.add(hash(text))
            file.write(json.dumps({"text": text, "kind": kind}, ensure_ascii=False) + "\n")
            written[kind] += len(text)
            total += len(text)
    return written
