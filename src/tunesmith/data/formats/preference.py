"""Pairs of answers to one question, one of them better: ``chosen`` and ``rejected``.

The question stands in a column of its own, or ``chosen`` and ``rejected`` are whole conversations and it is what both
begin with. Conversations may be one text each with turns ``Human:`` and ``Assistant:``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.data.formats.asking import COLUMNS as ASKING
from tunesmith.data.formats.asking import Question, answer_of, asks, number_in, question_of, rated
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns
from tunesmith.data.formats.writing import answer_value, holds, question_row

COLUMNS = {
    **ASKING,
    "chosen": "the better answer: text, a message, or messages; or a whole conversation where no column holds a prompt",
    "rejected": "the worse answer, of the same kind",
    "margin": "by how much it is better (may be missing; also `score_chosen` and `score_rejected`)",
}
SCORES = ("margin", "score_chosen", "score_rejected", "chosen_score", "rejected_score")
_TURN = re.compile(r"\n\n(Human|Assistant):")


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a chosen and a rejected answer, and no other answer beside them."""
    if not has_columns(rows, "chosen", "rejected") or has_columns(rows, "output"):
        return None
    column = asks(rows)
    where = f"and '{column}'" if column else "of whole conversations with a common beginning"
    return f"the rows have the columns 'chosen' and 'rejected' {where}"


def read(row: Row) -> Record:
    """The question with its two answers, the better one first; their scores differ by the margin."""
    question = question_of(row)
    if question is None:
        whole = [_whole(row.get(column), column) for column in ("chosen", "rejected")]
        question, chosen, rejected = _parted(*whole)
    else:
        chosen, rejected = answer_of(row.get("chosen"), "chosen"), answer_of(row.get("rejected"), "rejected")
        chosen, rejected = (_after(question, answer) for answer in (chosen, rejected))
        question = question.answered_by(row["chosen"], row["rejected"])
    better, worse = _scores(row)
    pair = (Candidate(chosen, better), Candidate(rejected, worse))
    return rated(row, question, pair, "chosen", "rejected", *SCORES)


def _after(question: Question, answer: tuple[Message, ...]) -> tuple[Message, ...]:
    """An answer without the question, where the column repeats it."""
    asked = [(turn.role, turn.content) for turn in question.messages]
    begins = [(turn.role, turn.content) for turn in answer[: len(asked)]] == asked
    return answer[len(asked) :] if begins and len(answer) > len(asked) else answer


def _whole(value: Any, column: str) -> tuple[Message, ...]:
    if isinstance(value, str):
        parts = _TURN.split("\n\n" + value.strip())
        roles, texts = parts[1::2], parts[2::2]
        if parts[0].strip() or not roles:
            raise BadRow(f"no column holds the prompt, and '{column}' is no conversation")
        return answer_of(
            [
                {"role": "user" if role == "Human" else "assistant", "content": text.strip()}
                for role, text in zip(roles, texts, strict=True)
            ],
            column,
        )
    return answer_of(value, column)


def _parted(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[Question, tuple[Message, ...], tuple[Message, ...]]:
    """Two conversations as what they begin with and how each goes on."""
    same = len(list(takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))))
    same = min(same, len(chosen) - 1, len(rejected) - 1)
    while same and (chosen[same - 1].role == "assistant" or chosen[same].role != "assistant"):
        same -= 1
    if not same:
        raise BadRow("chosen and rejected share no prompt")
    return Question(chosen[:same]), chosen[same:], rejected[same:]


def _scores(row: Row) -> tuple[float | None, float | None]:
    margin = number_in(row, "margin")
    if margin is not None:
        return margin, 0.0
    return number_in(row, "score_chosen", "chosen_score"), number_in(row, "score_rejected", "rejected_score")


def write(record: Record) -> dict[str, Any]:
    """The question and its two answers, with their scores."""
    holds(record, "messages", "tools", "candidates")
    if len(record.candidates) != 2:
        raise BadRow(f"the row has {len(record.candidates)} rated answers, and a pair has two")
    better, worse = record.candidates
    raw = record.raw_prompt
    answers = {"chosen": answer_value(better.messages, raw=raw), "rejected": answer_value(worse.messages, raw=raw)}
    scores = {"score_chosen": better.score, "score_rejected": worse.score}
    return {**question_row(record), **answers, **{name: one for name, one in scores.items() if one is not None}}


_ASKED, _GOOD, _BAD = (
    {"role": role, "content": text}
    for role, text in (("user", "Name a color."), ("assistant", "Blue."), ("assistant", "Seven."))
)
SAMPLES: tuple[Row, ...] = (
    {"prompt": "Name a color.", "chosen": " Blue.", "rejected": " Seven."},
    {"chosen": [_ASKED, _GOOD], "rejected": [_ASKED, _BAD]},
    {"prompt": [_ASKED], "chosen": [_GOOD], "rejected": [_BAD], "score_chosen": 8, "score_rejected": 1},
)
FORMAT = Format("preference", "pairs of answers: chosen and rejected", COLUMNS, recognise, read, write, SAMPLES)
