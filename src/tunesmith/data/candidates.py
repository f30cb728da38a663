"""Rows with several answers to one question: which part is asked, what is imitated, and answers with one beginning.

    answer 1:  q q q q | a a a          shared beginning:  q q q q
    answer 2:  q q q q | b b      ->    one encoding:      q q q q | a a a | b b        branches (4, 7)

The beginning is the longest that all answers have in common, token by token, and never reaches a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from tunesmith.contracts.data import Encoding, Message, Record
from tunesmith.data.formats.base import BadRow


def asked(record: Record) -> tuple[Message, ...]:
    """The conversation that the candidates answer: without the answer that a row may have besides."""
    messages = record.messages or ()
    return messages[:-1] if messages and messages[-1].role == "assistant" else messages


def compared(record: Record, *, at_least: int = 2) -> None:
    """``BadRow`` where a row has fewer than ``at_least`` answers, an empty one, or the same one twice."""
    count = len(record.candidates)
    if record.messages is None or count < at_least:
        wanted = "an answer marked as wanted or not" if at_least == 1 else "two"
        raise BadRow(f"the row has {count or 'no'} rated answer, and the objective needs {wanted}")
    said = [
        tuple((turn.role, turn.content.strip(), repr(turn.extra)) for turn in one.messages) for one in record.candidates
    ]
    if any(not text and extra == "{}" for turns in said for role, text, extra in turns if role == "assistant"):
        raise BadRow("an answer is empty")
    if len(set(said)) < count:
        raise BadRow("chosen and rejected are the same answer" if count == 2 else "two of the answers are the same")


def imitated(record: Record) -> Record:
    """The row as a conversation to imitate: its own answer, or the best of its candidates."""
    messages = record.messages or ()
    if not record.candidates or (messages and messages[-1].role == "assistant"):
        return record
    best = record.candidates[0]
    if len(record.candidates) == 1 and best.score == 0.0:
        raise BadRow("the answer is marked as not wanted (format: messages, or prompt-completion, ignores the mark)")
    return replace(record, messages=(*messages, *best.messages), candidates=(), spans=(), labels=None)


def branched(answers: Sequence[Encoding], *, extras: Mapping[str, Sequence[float]] | None = None) -> Encoding:
    """One encoding of several ``answers`` (each with its beginning, a label a target); equal ones are a ``BadRow``."""
    if any(True not in one.trained for one in answers):
        raise BadRow("an answer has no token to learn")
    if len({tuple(one.ids) for one in answers}) < len(answers):
        raise BadRow("two answers are the same tokens")
    rows = [one.ids for one in answers]
    shared = len(list(takewhile(lambda tokens: len(set(tokens)) == 1, zip(*rows, strict=False))))
    shared = min(shared, *(one.trained.index(True) for one in answers))
    ids, trained, branches = list(rows[0][:shared]), [False] * shared, []
    for one in answers:
        branches.append(len(ids))
        ids += one.ids[shared:]
        trained += one.trained[shared:]
    labelled = [one.labels for one in answers if one.labels is not None]
    return Encoding(
        ids,
        trained,
        next((one.note for one in answers if one.note), ""),
        labels=[label for labels in labelled for label in labels] if labelled else None,
        branches=tuple(branches),
        extras=extras or {},
    )
