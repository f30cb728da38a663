"""Rows of what a run was trained on, to see what it memorised: their beginnings as prompts, what followed as answers.

    training   from the middle of what was learned of a row: would the model go on as the row did?
    held-out   the same of rows that were not learned, which is what can be guessed
    personal   training rows up to where an address, a number of a person or a card begins

Rows are drawn by a seed and given as the very tokens that were trained on (``ids``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from tunesmith.contracts.batch import Example
from tunesmith.run.rows import prepare_with
from tunesmith.run.session import Session
from tunesmith.seed import derive

ROWS = 64
"""How many rows are drawn at most."""
LOOKED = 2000
"""Training rows that are searched for personal data."""
LONGEST = 32
SHORTEST = 6
"""Tokens of a continuation: shorter ones are guessed."""
PERSONAL = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.-]*\w"  # an e-mail address
    r"|\b\d{3}-\d{2}-\d{4}\b"  # a social security number
    r"|\b(?:\d[ -]?){13,16}\b"  # a card
    r"|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"  # an account (IBAN)
    r"|(?<![\w.])\+?\d{1,3}[ -]?\(?\d{2,4}\)?(?:[ -]\d{2,4}){2,3}\b"  # a telephone
    r"|\b(?:\d{1,3}\.){3}\d{1,3}\b"  # an address of a machine
)


def drawn(session: Session, which: str) -> Sequence[dict[str, Any]] | str:
    """Rows ``{ids, prompt, answer}`` (see the module's docstring), or why there are none."""
    if not session.recipe.data.train:
        return "the model is no run that was trained on rows"
    prepared = prepare_with(session.recipe, session.encoder)
    store = prepared.validation if which == "held-out" else prepared.train
    order = Random(derive(session.recipe.seed, "drawn", which)).sample(range(len(store)), len(store))
    decode = session.encoder.decode
    if which == "personal":
        rows = _first((_personal(store[at], decode) for at in order[:LOOKED]), ROWS)
        return rows or f"no personal data was found in {min(len(order), LOOKED)} training rows"
    rows = _first((_continued(store[at], decode) for at in order), ROWS)
    return rows or (f"the {which} rows are too short" if order else "no row was held out")


def _first(found: Iterable[dict[str, Any] | None], count: int) -> list[dict[str, Any]]:
    rows = []
    for row in found:
        if row is not None:
            rows.append(row)
        if len(rows) == count:
            break
    return rows


def _continued(example: Example, decode: Callable[..., str]) -> dict[str, Any] | None:
    """What was learned of a row, parted in its middle; None where too little follows."""
    learned = [at for at in range(1, len(example)) if example.trained[at]]
    if not learned or example.branches:
        return None
    middle = learned[len(learned) // 2]
    end = middle
    while end < len(example) and example.trained[end] and end - middle < LONGEST:
        end += 1
    if end - middle < SHORTEST:
        return None
    return _row(example.ids[:middle].tolist(), decode(example.ids[middle:end].tolist()), decode)


def _personal(example: Example, decode: Callable[..., str]) -> dict[str, Any] | None:
    """The row up to its first personal data, which is the answer; None where it has none."""
    ids = example.ids.tolist()
    found = PERSONAL.search(decode(ids, special=True))
    if found is None:
        return None
    low, high = 0, len(ids)
    while low < high:  # the most tokens whose text ends before it
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(decode(ids[:middle], special=True)) <= found.start() else (low, middle - 1)
    return _row(ids[:low], found[0], decode) if low else None


def _row(ids: list[int], answer: str, decode: Callable[..., str]) -> dict[str, Any] | None:
    if not answer.strip():
        return None
    return {"ids": ids, "prompt": decode(ids, special=True), "answer": answer.strip()}
