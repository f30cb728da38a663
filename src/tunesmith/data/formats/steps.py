"""Answers in steps, each with its own label (process supervision; Lightman et al. 2023, PRM800K).

The steps are joined by line breaks to one answer; a label says whether its step is right (true, 1) or not (false, 0),
or how good it is as a number from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.data.formats.asking import COLUMNS as ASKING
from tunesmith.data.formats.asking import asks, question_of, rated
from tunesmith.data.formats.base import BadRow, Format, Row
from tunesmith.data.formats.writing import holds, question_row

COLUMNS = {
    **ASKING,
    "steps": "the steps of the answer, a list of texts (also `completions`)",
    "labels": "one label a step: true or false, or a number from 0 to 1",
}
NAMES = ("steps", "completions")
JOINT = "\n"


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a question, a list of steps and a list of labels."""
    column = asks(rows)
    for name in NAMES:
        lists = sum(isinstance(row.get(name), list) and isinstance(row.get("labels"), list) for row in rows)
        if column and rows and lists * 2 > len(rows):
            return f"the rows have the column '{column}' and the lists '{name}' and 'labels'"
    return None


def read(row: Row) -> Record:
    """The question, one answer, the characters of its steps, and their labels as numbers."""
    question = question_of(row)
    if question is None:
        raise BadRow("column 'prompt' is missing")
    steps, labels = next((row[name] for name in NAMES if row.get(name) is not None), None), row.get("labels")
    if not isinstance(steps, list) or not isinstance(labels, list):
        raise BadRow("the row has no list of steps with a list of labels")
    if len(steps) != len(labels):
        raise BadRow(f"{len(steps)} steps have {len(labels)} labels")
    if not steps or not all(isinstance(step, str) and step.strip() for step in steps):
        raise BadRow("a step is empty or no text")
    texts = [step.strip() for step in steps]
    spans, at = [], 0
    for text in texts:
        spans.append((at, at + len(text)))
        at += len(text) + len(JOINT)
    answer = Candidate((Message("assistant", JOINT.join(texts)),))
    record = rated(row, question, [answer], *NAMES, "labels")
    return replace(record, spans=tuple(spans), labels=tuple(map(_label, labels)))


def _label(value: Any) -> str:
    if not isinstance(value, bool | int | float) or not 0.0 <= float(value) <= 1.0:
        raise BadRow(f"a step has the label {value!r}, not true, false, or a number from 0 to 1")
    return str(float(value))


def write(record: Record) -> dict[str, Any]:
    """The question, the steps of its answer, and their labels."""
    holds(record, "messages", "tools", "candidates", "spans", "labels")
    labels = record.labels or ()
    if len(record.candidates) != 1 or not record.spans or len(labels) != len(record.spans):
        raise BadRow("the row has no answer in labelled steps")
    text = record.candidates[0].messages[0].content
    steps = [text[start:end] for start, end in record.spans]
    return {**question_row(record), "steps": steps, "labels": [float(label) for label in labels]}


SAMPLES: tuple[Row, ...] = (
    {"prompt": "What is 2 + 3 + 4?", "steps": ["2 + 3 = 5", "5 + 4 = 8"], "labels": [True, False]},
    {"question": "What is 2 + 3?", "steps": ["2 + 3 = 5"], "labels": [0.9]},
)
FORMAT = Format("steps", "answers in steps, each with its label", COLUMNS, recognise, read, write, SAMPLES)
