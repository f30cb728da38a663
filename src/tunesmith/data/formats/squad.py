"""Questions with answers that stand in a context (SQuAD; Rajpurkar et al. 2016, version 2 has unanswerable ones).

Every answer is checked to stand in the context where the row says. SQuAD's own json files are unfolded by the sources
into one row a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns, rest, text_of
from tunesmith.data.formats.writing import holds

COLUMNS = {
    "question": "the question",
    "context": "the text that holds the answer",
    "answers": "a list of {text, answer_start}, or {text: [...], answer_start: [...]}; empty where there is no answer",
}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a question, its context and answers."""
    return "the rows have a question, a context and answers" if has_columns(rows, *COLUMNS) else None


def read(row: Row) -> Record:
    """The context as text, the question beside it, and the characters of each accepted answer."""
    context = text_of(row, "context")
    spans = tuple(_placed(context, text, start) for text, start in _answers(row.get("answers")))
    return Record(text=context, pair=text_of(row, "question"), labels=(), spans=spans, meta=rest(row, *COLUMNS))


def _answers(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        value = [
            {"text": text, "answer_start": start}
            for text, start in zip(value.get("text", ()), value.get("answer_start", ()), strict=False)
        ]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise BadRow("column 'answers' is not a list of {text, answer_start}")
    for one in value:
        yield one.get("text"), one.get("answer_start")


def _placed(context: str, text: Any, start: Any) -> tuple[int, int]:
    """The characters of an answer without blanks around it."""
    if not isinstance(text, str) or not text.strip() or not isinstance(start, int):
        raise BadRow("an answer has no text or no answer_start")
    if context[start : start + len(text)] != text:
        raise BadRow(f"the answer does not stand at its answer_start ({start})")
    left = start + len(text) - len(text.lstrip())
    return left, left + len(text.strip())


def write(record: Record) -> dict[str, Any]:
    """The question, its context and where the answers stand in it."""
    holds(record, "text", "pair", "labels", "spans")
    text = record.text or ""
    if record.pair is None or record.labels != ():
        raise BadRow("the row is no question about a context")
    answers = [{"text": text[start:end], "answer_start": start} for start, end in record.spans]
    return {"question": record.pair, "context": text, "answers": answers}


SAMPLES: tuple[Row, ...] = (
    {
        "question": "Where do pears grow?",
        "context": "Pears grow on trees.",
        "answers": [{"text": "on trees", "answer_start": 11}],
    },
    {"question": "Who sings?", "context": "Pears grow on trees.", "answers": []},
)
FORMAT = Format("squad", "questions answered by a span of a context", COLUMNS, recognise, read, write, SAMPLES)
