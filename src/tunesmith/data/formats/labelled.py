"""Labelled text: a text, perhaps a second one beside it, and its label, its labels, or a number.

A label is a name; whole numbers and truth values are names as well (``1``, ``true``). A list holds several labels. A
row may lack its label: most objectives drop it then, ``multi`` may find others in its further columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns, rest, text_of
from tunesmith.data.formats.writing import holds

COLUMNS = {
    "text": "the text (also `sentence`, `text_a`, `sentence1`, `premise`, `question1`)",
    "pair": "a second text beside it (also `text_b`, `sentence2`, `hypothesis`, `question2`; may be missing)",
    "label": "its label, a list of labels, or a number (also `labels`)",
}
NAMES: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "text_a", "sentence1", "premise", "question1"),
    "pair": ("pair", "text_b", "sentence2", "hypothesis", "question2"),
    "label": ("label", "labels"),
}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a text and a label."""
    for text in NAMES["text"]:
        for label in NAMES["label"]:
            if has_columns(rows, text, label):
                return f"the rows have the columns '{text}' and '{label}'"
    return None


def read(row: Row) -> Record:
    """The text, what stands beside it, and its labels."""
    found = {what: next((name for name in names if row.get(name) is not None), None) for what, names in NAMES.items()}
    label = found["label"]
    return Record(
        text=text_of(row, found["text"] or "text"),
        pair=text_of(row, found["pair"]) if found["pair"] else None,
        labels=None if label is None else labels_of(row[label]),
        meta=rest(row, *(name for name in found.values() if name)),
    )


def labels_of(value: Any) -> tuple[str, ...]:
    """Labels as names, in their order."""
    return tuple(map(label_name, value)) if isinstance(value, list | tuple) else (label_name(value),)


def label_name(value: Any) -> str:
    """A label as a name: blanks around it do not count, and ``1.0`` from a table is ``1``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise BadRow(f"a label is {type(value).__name__}, not a name or number")
    name = str(value).strip()
    if not name:
        raise BadRow("a label is empty")
    return name


def write(record: Record) -> dict[str, Any]:
    """The text, what stands beside it, and its label or labels."""
    holds(record, "text", "pair", "labels")
    pair = {} if record.pair is None else {"pair": record.pair}
    labels = record.labels
    if labels is None or (record.pair is not None and not labels):
        raise BadRow("the row has no label")
    return {"text": record.text, **pair, "label": labels[0] if len(labels) == 1 else list(labels)}


SAMPLES: tuple[Row, ...] = (
    {"text": "A fine film.", "label": "good"},
    {"text": "Bach and Haydn", "label": ["music", "history"]},
    {"text": "A dog runs.", "pair": "An animal moves.", "label": 4.5},
)
FORMAT = Format(
    "labelled",
    "labelled texts or pairs of texts: one label, several, or a number",
    COLUMNS,
    recognise,
    read,
    write,
    SAMPLES,
)
