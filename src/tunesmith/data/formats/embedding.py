"""Texts that belong together, for embeddings: pairs, pairs with texts that do not belong to them, scored pairs.

{"anchor": …, "positive": …}    {"anchor": …, "positive": …, "negatives": […]}    {"sentence1": …, "sentence2": …,
"score": 4.2}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns, rest, text_of
from tunesmith.data.formats.writing import holds

COLUMNS = {
    "anchor": "a text (also `query`, `sentence1`)",
    "positive": "a text that belongs to it (also `sentence2`)",
    "negatives": "a text, or a list of texts, that do not belong to it (also `negative`; may be missing)",
    "score": "how close anchor and positive are, a number (also `similarity`; may be missing)",
}
NAMES: Mapping[str, tuple[str, ...]] = {
    "anchor": ("anchor", "query", "sentence1"),
    "positive": ("positive", "sentence2"),
    "negatives": ("negatives", "negative"),
    "score": ("score", "similarity"),
}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a text and its positive, or with two sentences and a score."""
    for anchor in ("anchor", "query"):
        if has_columns(rows, anchor, "positive"):
            return f"the rows have the columns '{anchor}' and 'positive'"
    for score in NAMES["score"]:
        if has_columns(rows, "sentence1", "sentence2", score):
            return f"the rows have two sentences and a '{score}'"
    return None


def read(row: Row) -> Record:
    """The anchor as text, its positive beside it, the negatives as others, the score as label."""
    found = {what: next((name for name in names if row.get(name) is not None), None) for what, names in NAMES.items()}
    score, negatives = found["score"], found["negatives"]
    return Record(
        text=text_of(row, found["anchor"] or "anchor"),
        pair=text_of(row, found["positive"] or "positive"),
        others=_texts(row, negatives) if negatives else (),
        labels=(_number(row[score], score),) if score else None,
        meta=rest(row, *(name for name in found.values() if name)),
    )


def _texts(row: Row, column: str) -> tuple[str, ...]:
    value = row[column]
    if not isinstance(value, list | tuple):
        return (text_of(row, column),)
    return tuple(text_of({column: one}, column) for one in value)


def _number(value: Any, column: str) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadRow(f"column '{column}' holds {value!r}, not a number") from None
    if not math.isfinite(number):
        raise BadRow(f"column '{column}' holds no finite number")
    return repr(number)


def write(record: Record) -> dict[str, Any]:
    """The two texts, with the others or the score."""
    holds(record, "text", "pair", "others", "labels")
    if record.pair is None:
        raise BadRow("the row has one text, and nothing that belongs to it")
    if record.labels is None:
        negatives = {"negatives": list(record.others)} if record.others else {}
        return {"anchor": record.text, "positive": record.pair, **negatives}
    if len(record.labels) != 1:
        raise BadRow("the row has several labels, and a pair has one score")
    return {"sentence1": record.text, "sentence2": record.pair, "score": float(_number(record.labels[0], "label"))}


SAMPLES: tuple[Row, ...] = (
    {"anchor": "Where do pears grow?", "positive": "Pears grow on trees."},
    {"anchor": "Where do pears grow?", "positive": "Pears grow on trees.", "negatives": ["Fish swim."]},
    {"sentence1": "A dog runs.", "sentence2": "An animal moves.", "score": 4.5},
)
FORMAT = Format(
    "embedding",
    "texts that belong together, with others that do not, or with a score",
    COLUMNS,
    recognise,
    read,
    write,
    SAMPLES,
)
