"""Instruction-following lost: answers no longer end, are empty, or hold the marks of the chat itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.diagnosis.history import Evidence, Finding, History

FEWEST = 8
LESS = 0.25
"""How much more often than before it happens."""
MARKS = ("<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<<SYS>>", "<|assistant|>", "<|user|>", "\nuser\n")


def look(history: History) -> Finding | None:
    """Answers that do not end, are empty, or hold chat marks, clearly more often than before training."""
    after, before = history.after.get("answers") or (), history.before.get("answers") or ()
    if len(after) < FEWEST:
        return None
    evidence = [
        *_more(after, before, "do not come to an end", _endless),
        *_more(after, before, "are empty", _empty),
        *_more(after, before, "hold marks of the chat template", _marked),
    ]
    if not evidence:
        return None
    return Finding(
        "instructions-lost",
        "bad",
        "The model follows instructions less well than before training.",
        "Check what is trained with `tunesmith data show` (is the end of each answer marked?) and data.template; lower "
        "train.learning_rate, or mix in instruction rows of the kind the base was made with.",
        evidence,
    )


def _more(
    after: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]],
    words: str,
    bad: Callable[[Mapping[str, Any]], bool],
) -> list[Evidence]:
    now = [place for place, row in enumerate(after) if bad(row)]
    share = len(now) / len(after)
    then = sum(map(bad, before)) / len(before) if before else 0.0
    if share - then < LESS:
        return []
    text = f"{share:.0%} of its answers {words}, {then:.0%} before"
    return [Evidence(text, f"eval/after.json#/answers/{now[0]}/answer")]


def _endless(row: Mapping[str, Any]) -> bool:
    """Cut off by the limit although it is already longer than what was wanted."""
    return not row["stopped"] and len(row["answer"]) > len(row["reference"])


def _empty(row: Mapping[str, Any]) -> bool:
    return not row["answer"].strip() and bool(row["reference"].strip())


def _marked(row: Mapping[str, Any]) -> bool:
    return any(mark in row["answer"] and mark not in row["reference"] for mark in MARKS)
