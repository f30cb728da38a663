"""Single answers, each marked as wanted or not: ``label`` (KTO's rows; also ``kto_tag``).

The answer is the last turn of a conversation, or stands in ``completion``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.contracts.data import Candidate, Record
from tunesmith.data.formats.asking import COLUMNS as ASKING
from tunesmith.data.formats.asking import Question, answer_of, asks, question_of, rated
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns
from tunesmith.data.formats.writing import answer_value, holds, question_row

COLUMNS = {
    **ASKING,
    "completion": "the answer: text, a message, or messages (may be missing where the conversation ends with it)",
    "label": "true where the answer is wanted (also `kto_tag`)",
}
MARKS = ("kto_tag", "label")
_SPELLED = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with an answer and whether it is wanted, true or false."""
    column = asks(rows)
    if column is None or not (has_columns(rows, "completion") or column in ("messages", "conversations")):
        return None
    for name in MARKS:
        if rows and sum(isinstance(row.get(name), bool) for row in rows) * 2 > len(rows):
            return f"the rows have the column '{column}', and '{name}' is true or false"
    return None


def read(row: Row) -> Record:
    """The question with one answer, whose score is 1 or 0."""
    question = question_of(row)
    if question is None:
        raise BadRow("column 'prompt' is missing")
    answer = row.get("completion")
    if answer is not None:
        turns, question = answer_of(answer, "completion"), question.answered_by(answer)
    elif question.raw:
        raise BadRow("column 'completion' is missing")
    else:
        question, turns = _parted(question)
    return rated(row, question, [Candidate(turns, _mark(row))], "completion", *MARKS)


def _parted(question: Question) -> tuple[Question, tuple[Any, ...]]:
    last = question.messages[-1:]
    if not last or last[0].role != "assistant":
        raise BadRow("the conversation does not end with an answer")
    if not last[0].content.strip() and not last[0].extra:
        raise BadRow("the answer is empty")
    return Question(question.messages[:-1]), last


def _mark(row: Row) -> float:
    value = next((row[name] for name in MARKS if row.get(name) is not None), None)
    if value is None:
        raise BadRow("column 'label' is missing")
    mark = _SPELLED.get(str(value).strip().lower())
    if mark is None:
        raise BadRow(f"the label is {value!r}, not true or false")
    return mark


def write(record: Record) -> dict[str, Any]:
    """The question, its answer, and whether it is wanted."""
    holds(record, "messages", "tools", "candidates")
    if len(record.candidates) != 1 or record.candidates[0].score not in (0.0, 1.0):
        raise BadRow("the row has no single answer that is wanted or not")
    one = record.candidates[0]
    answer = answer_value(one.messages, raw=record.raw_prompt)
    return {**question_row(record), "completion": answer, "label": one.score == 1.0}


SAMPLES: tuple[Row, ...] = (
    {"prompt": "Name a color.", "completion": " Blue.", "label": True},
    {
        "messages": [{"role": "user", "content": "Name a color."}, {"role": "assistant", "content": "Seven."}],
        "label": False,
    },
)
FORMAT = Format("unpaired", "single answers marked as wanted or not (KTO)", COLUMNS, recognise, read, write, SAMPLES)
