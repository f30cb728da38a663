"""Instruction sets about Seedling's world, by seed: questions with exact, computed answers and a difficulty of 1 to 3.

The train split never mentions a held-out person, word or operand pair (`World.held_out`); every row of the held-out
split is about at least one. Both splits ask in the same ways, so that the difference between them is knowledge used,
not format.

Rows: `{"messages", "task", "answer", "difficulty", "about"}`; `answer` is the last assistant message without its final
stop, or the bare value where a sentence carries it (`42` in "12 plus 30 is 42."), and `about` names the keys of the
split.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tunesmith.errors import UserError
from tunesmith.models.seedling import asking
from tunesmith.models.seedling.asking import Asked, Side
from tunesmith.models.seedling.world import grow

_MAKERS: dict[str, Callable[[Side], Asked]] = {
    "facts": asking.facts,
    "arithmetic": asking.arithmetic,
    "words": asking.words,
    "sentiment": asking.sentiment,
    "translation": asking.translation,
    "style": asking.style,
    "safety": asking.safety,
}
TASKS = tuple(_MAKERS)
SPLITS = ("train", "held-out")
_SYSTEM = [
    "You are a helpful assistant.",
    "Answer briefly.",
    "You know the land of Lumari well.",
    "Be friendly and exact.",
]
_TRIES = 200


def instruction_set(kind: str = "all", *, seed: int, split: str = "train", n: int) -> list[dict[str, Any]]:
    """`n` different rows of one of `TASKS`, or of all of them in turn; the same arguments give the same rows.

    One row in eight has a system message, and one in eight is a conversation of two or three questions.
    Raises `UserError` for an unknown kind or split, or when so many different rows do not exist.
    """
    if kind not in (*TASKS, "all"):
        raise UserError("unknown kind of task", got=kind, allowed=[*TASKS, "all"], code="unknown-task")
    if split not in SPLITS:
        raise UserError("unknown split", got=split, allowed=list(SPLITS), code="unknown-split")
    rng = Random(f"tasks:{kind}:{split}:{seed}")
    side = Side(rng, grow(), held_out=split == "held-out")
    kinds = TASKS if kind == "all" else (kind,)
    seen: set[str] = set()
    rows: list[dict[str, Any]] = []
    while len(rows) < n:
        row = _fresh_row(side, kinds[len(rows) % len(kinds)], seen)
        if row is None:
            hint = "Ask for fewer rows, or for kind='all'."
            allowed = f"about {len(rows)}"
            raise UserError("not so many different rows exist", got=n, allowed=allowed, hint=hint, code="too-many-rows")
        rows.append(row)
    return rows


def _fresh_row(side: Side, task: str, seen: set[str]) -> dict[str, Any] | None:
    """A row whose questions nobody has asked yet, or None after `_TRIES` attempts."""
    for _ in range(_TRIES):
        count = side.rng.choice((1, 1, 1, 1, 1, 1, 1, 2))
        turns = [_MAKERS[task](side) for _ in range(count)]
        questions = {turn.question for turn in turns}
        if len(questions) == count and not questions & seen:
            seen |= questions
            return _row(side.rng, task, turns)
    return None


def _row(rng: Random, task: str, turns: list[Asked]) -> dict[str, Any]:
    messages = [{"role": "system", "content": rng.choice(_SYSTEM)}] if rng.random() < 0.125 else []
    for turn in turns:
        messages += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.reply}]
    about = sorted({key for turn in turns for key in turn.about})
    last = turns[-1]
    return {
        "messages": messages,
        "task": task,
        "answer": last.answer,
        "difficulty": last.difficulty,
        "about": about,
    }
