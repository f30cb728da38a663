"""The same rows asked in other forms, made by fixed rules: what a model knows should not hang on how it is asked.

    typos       every fourth word of five letters or more has two inner letters swapped
    lower       no capital letters        upper   nothing but capital letters
    blanks      stray blanks and line ends between words
    paraphrase  the question inside another polite sentence
    order       the choices of a multiple choice in another order
    template    asked without a chat template, or in plain `Instruction:` words where the model has none of its own

Everything is decided by the text itself, so that two models are asked the same and runs compare. What is varied is the
question; right answers stay as they are.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Literal, get_args

Variation = Literal["typos", "lower", "upper", "blanks", "paraphrase", "order", "template"]
NAMES: tuple[Variation, ...] = get_args(Variation)
TEMPLATE: Variation = "template"
"""Changes how rows are asked, not the rows."""
FRAMES = (
    "Could you help me with this, please? {prompt}",
    "I have a question. {prompt} Thank you!",
    "Please answer the following. {prompt}",
)
_WORD = re.compile(r"[A-Za-z]{5,}")


def varied(row: Mapping[str, Any], variation: Variation, *, column: str = "prompt") -> dict[str, Any] | None:
    """``row`` with the question in ``column`` in another form; None where this variation changes nothing about it."""
    if variation == "order":
        return _reordered(row)
    change = _CHANGES.get(variation)
    found = None if change is None else _questions_changed(row, change, column)
    return None if found == dict(row) else found


def _questions_changed(row: Mapping[str, Any], change: Callable[[str], str], column: str) -> dict[str, Any] | None:
    """The row with its question, or the last user turn of its messages, changed."""
    if isinstance(row.get(column), str):
        return {**row, column: change(row[column])}
    messages = row.get("messages")
    asked = [at for at, turn in enumerate(messages or ()) if turn.get("role") == "user"]
    if not asked:
        return None
    turns = [dict(turn) for turn in row["messages"]]
    turns[asked[-1]]["content"] = change(str(turns[asked[-1]]["content"]))
    return {**row, "messages": turns}


def _reordered(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row with its choices moved round by one to three places."""
    choices = row.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        return None
    by = 1 + _random("".join(map(str, choices))).randrange(min(3, len(choices) - 1))
    moved: dict[str, Any] = {**row, "choices": choices[by:] + choices[:by]}
    if isinstance(row.get("answer"), int):
        moved["answer"] = (row["answer"] - by) % len(choices)
    if isinstance(row.get("labels"), list):
        moved["labels"] = row["labels"][by:] + row["labels"][:by]
    return moved


def _typos(text: str) -> str:
    rng, seen = _random(text), 0

    def swapped(word: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        letters = list(word[0])
        at = rng.randrange(1, len(letters) - 2)
        if seen % 4 == 1:
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
        return "".join(letters)

    return _WORD.sub(swapped, text)


def _blanks(text: str) -> str:
    rng = _random(text)
    return re.sub(r"(?<=\S) (?=\S)", lambda _: rng.choice((" ", " ", "  ", "   ", " \n")), text)


def _paraphrased(text: str) -> str:
    return _random(text).choice(FRAMES).replace("{prompt}", text)


def _random(text: str) -> Random:
    """A source of chance that the text alone decides."""
    return Random(zlib.crc32(text.encode()))


_CHANGES: Mapping[Variation, Callable[[str], str]] = {
    "typos": _typos,
    "lower": str.lower,
    "upper": str.upper,
    "blanks": _blanks,
    "paraphrase": _paraphrased,
}
