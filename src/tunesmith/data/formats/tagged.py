"""Tagged words: a list of words and a list of tags, one a word (CoNLL files become such rows).

The words are joined by blanks, so that the model reads a text; each tag keeps the characters of its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import BadRow, Format, Row, has_columns, rest
from tunesmith.data.formats.labelled import label_name
from tunesmith.data.formats.writing import holds

COLUMNS = {"tokens": "the words (also `words`)", "tags": "one tag a word (also `ner_tags`, `pos_tags`, `labels`)"}
WORDS, TAGS = ("tokens", "words"), ("tags", "ner_tags", "pos_tags", "labels")


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with lists of words and of tags."""
    for words in WORDS:
        for tags in TAGS:
            if has_columns(rows, words, tags) and isinstance(next(row[words] for row in rows if words in row), list):
                return f"the rows have the lists '{words}' and '{tags}'"
    return None


def read(row: Row) -> Record:
    """The words as one text, and for each its characters and its tag."""
    words, tags = _listed(row, WORDS), _listed(row, TAGS)
    if len(words) != len(tags):
        raise BadRow(f"{len(words)} words have {len(tags)} tags")
    if not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise BadRow("a word is empty or no text")
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return Record(
        text=" ".join(words), labels=tuple(map(label_name, tags)), spans=tuple(spans), meta=rest(row, *WORDS, *TAGS)
    )


def _listed(row: Row, names: Sequence[str]) -> list[Any]:
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if not isinstance(found, list):
        raise BadRow(f"there is no list '{names[0]}'")
    return found


def write(record: Record) -> dict[str, Any]:
    """The words and their tags."""
    holds(record, "text", "spans", "labels")
    text, labels = record.text or "", record.labels or ()
    if not record.spans or len(labels) != len(record.spans):
        raise BadRow("the row has no label for each of its words")
    return {"tokens": [text[start:end] for start, end in record.spans], "tags": list(labels)}


SAMPLES: tuple[Row, ...] = (
    {"tokens": ["Ada", "lives", "in", "Rome"], "tags": ["B-PER", "O", "O", "B-LOC"]},
    {"words": ["Birds", "sing", "."], "pos_tags": ["NOUN", "VERB", "PUNCT"]},
)
FORMAT = Format("tagged", "words with one tag each, for token labels", COLUMNS, recognise, read, write, SAMPLES)
