"""Texts with labelled places: ``spans`` of ``{start, end, label}``, counted in characters.

Such rows become labelled words: the text is cut into words and signs (and where a span begins or ends), and each gets
``B-label`` where a span begins, ``I-label`` inside of it, ``O`` elsewhere (Ramshaw & Marcus 1995, arXiv
cmp-lg/9505040).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns, rest, text_of
from tunesmith.data.formats.labelled import label_name
from tunesmith.data.formats.writing import holds

COLUMNS = {
    "text": "the text",
    "spans": "a list of {start, end, label} in characters, or [start, end, label] (also `entities`)",
}
NAMES = ("spans", "entities")
OUTSIDE = "O"
WORD = re.compile(r"\w+|[^\w\s]")
"""A word or a sign."""
Span = tuple[int, int, str]


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a text and a list of places in it."""
    for name in NAMES:
        if has_columns(rows, "text", name) and all(isinstance(row.get(name), list | None) for row in rows):
            return f"the rows have a text and places in it in '{name}'"
    return None


def read(row: Row) -> Record:
    """The text, its words, and a tag for each."""
    text = text_of(row, "text")
    found = sorted(_spans(row, len(text)))
    for (_, end, _), (start, _, _) in pairwise(found):
        if start < end:
            raise BadRow("two labelled places overlap")
    edges = sorted({edge for start, end, _ in found for edge in (start, end)})
    words = list(_words(text, edges))
    if not words:
        raise BadRow("the text has no word")
    return Record(text=text, labels=tuple(_tags(words, found)), spans=tuple(words), meta=rest(row, "text", *NAMES))


def write(record: Record) -> dict[str, Any]:
    """The text and the places that its tags begin and go on with."""
    holds(record, "text", "spans", "labels")
    labels = record.labels or ()
    if not record.spans or len(labels) != len(record.spans):
        raise BadRow("the row has no label for each of its words")
    found: list[dict[str, Any]] = []
    for (start, end), tag in zip(record.spans, labels, strict=True):
        kind, _, label = tag.partition("-")
        if tag == OUTSIDE:
            continue
        if kind not in ("B", "I") or not label:
            raise BadRow(f"the tag '{tag}' does not say where a place begins (B-, I- or O)")
        if kind == "I" and found and found[-1]["label"] == label:
            found[-1]["end"] = end
        else:
            found.append({"start": start, "end": end, "label": label})
    return {"text": record.text, "spans": found}


def _spans(row: Row, length: int) -> Iterator[Span]:
    value = next((row[name] for name in NAMES if row.get(name) is not None), None)
    if not isinstance(value, list):
        raise BadRow("column 'spans' is not a list")
    for one in value:
        start, end, label = (
            (one.get("start"), one.get("end"), one.get("label"))
            if isinstance(one, Mapping)
            else one
            if isinstance(one, list | tuple) and len(one) == 3
            else (None, None, None)
        )
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= length:
            raise BadRow("a labelled place is not within the text")
        yield start, end, label_name(label)


def _words(text: str, edges: Sequence[int]) -> Iterator[tuple[int, int]]:
    for word in WORD.finditer(text):
        cuts = [word.start(), *(edge for edge in edges if word.start() < edge < word.end()), word.end()]
        yield from pairwise(cuts)


def _tags(words: Sequence[tuple[int, int]], spans: Sequence[Span]) -> Iterator[str]:
    waiting = list(spans)
    begun = False
    for start, end in words:
        while waiting and waiting[0][1] <= start:
            waiting.pop(0)
            begun = False
        inside = bool(waiting) and waiting[0][0] <= start and end <= waiting[0][1]
        yield f"{'I' if begun else 'B'}-{waiting[0][2]}" if inside else OUTSIDE
        begun = inside


SAMPLES: tuple[Row, ...] = (
    {
        "text": "Ada Lovelace lives in Rome.",
        "spans": [{"start": 0, "end": 12, "label": "PER"}, {"start": 22, "end": 26, "label": "LOC"}],
    },
)
FORMAT = Format("spans", "texts with labelled places, for token labels", COLUMNS, recognise, read, write, SAMPLES)
