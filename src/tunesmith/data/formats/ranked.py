"""Several answers to one question, in order or with scores: ``responses`` (best first), ``scores`` or ``ranks``.

A response is a text, or an object with its text (``text``, ``response``, ``content``) and its ``score``. Scores are
better high, ranks better low; answers of equal rank are no pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Candidate, Record
from tunesmith.data.formats.asking import COLUMNS as ASKING
from tunesmith.data.formats.asking import answer_of, asks, number_in, question_of, rated
from tunesmith.data.formats.base import BadRow, Format, Row
from tunesmith.data.formats.writing import answer_value, holds, question_row

COLUMNS = {
    **ASKING,
    "responses": "a list of answers, best first; texts, or objects with `text` and `score` (also `candidates`)",
    "scores": "one number an answer, better high (may be missing)",
    "ranks": "one number an answer, better low (may be missing)",
}
NAMES = ("responses", "candidates")
TEXT = ("text", "response", "content", "value")


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a question and a list of answers."""
    column = asks(rows)
    for name in NAMES:
        lists = sum(isinstance(row.get(name), list) for row in rows)
        if column and rows and lists * 2 > len(rows):
            return f"the rows have the column '{column}' and lists of answers in '{name}'"
    return None


def read(row: Row) -> Record:
    """The question with its answers, best first."""
    question = question_of(row)
    if question is None:
        raise BadRow("column 'prompt' is missing")
    answers = next((row[name] for name in NAMES if row.get(name) is not None), None)
    if not isinstance(answers, list) or len(answers) < 2:
        raise BadRow("column 'responses' is not a list of at least two answers")
    scores = _scores(row, answers)
    found = [Candidate(answer_of(_text(one), "responses"), score) for one, score in zip(answers, scores, strict=True)]
    ordered = sorted(found, key=lambda one: 0.0 if one.score is None else -one.score)
    question = question.answered_by(*map(_text, answers))
    return rated(row, question, ordered, *NAMES, "scores", "ranks")


def _text(answer: Any) -> Any:
    if isinstance(answer, Mapping) and not ("role" in answer or "from" in answer):
        return next((answer[name] for name in TEXT if answer.get(name) is not None), None)
    return answer


def _scores(row: Row, answers: Sequence[Any]) -> list[float | None]:
    for column, sign in (("scores", 1.0), ("ranks", -1.0)):
        values = row.get(column)
        if values is None:
            continue
        if not isinstance(values, list) or len(values) != len(answers):
            raise BadRow(f"column '{column}' does not have one number an answer")
        numbers = [number_in({column: value}, column) for value in values]
        return [None if number is None else sign * number for number in numbers]
    own = [number_in(one, "score", "overall_score") if isinstance(one, Mapping) else None for one in answers]
    if None in own and any(score is not None for score in own):
        raise BadRow("some answers have a score and others have none")
    return own


def write(record: Record) -> dict[str, Any]:
    """The question and its answers, best first, with their scores."""
    holds(record, "messages", "tools", "candidates")
    if len(record.candidates) < 2:
        raise BadRow("the row has no two rated answers")
    answers = [answer_value(one.messages, raw=record.raw_prompt) for one in record.candidates]
    scores = [one.score for one in record.candidates]
    rated = {} if None in scores else {"scores": scores}
    return {**question_row(record), "responses": answers, **rated}


SAMPLES: tuple[Row, ...] = (
    {"prompt": "Name a color.", "responses": [" Blue.", " Maybe red.", " Seven."]},
    {"prompt": "Name a color.", "responses": [" Blue.", " Maybe red.", " Seven."], "scores": [9, 6, 1]},
    {"instruction": "Name a color.", "responses": [{"text": "Seven.", "score": 1}, {"text": "Blue.", "score": 9}]},
)
FORMAT = Format("ranked", "several answers to a question, ranked or scored", COLUMNS, recognise, read, write, SAMPLES)
