"""Files of labelled rows that are no tables: SQuAD's json, a json of splits, ``label text`` lines, CoNLL lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError, did_you_mean

LABEL_FIRST = (".train", ".dev", ".test", ".valid")
"""Endings of files with a label, a blank and the text in every line (sentiment treebank, fastText)."""
TAG_LINES = (".conll", ".bio", ".iob")
"""Endings of files with a word and its tag in every line and an empty line between sentences."""


def unfolded(rows: list[Any]) -> Iterator[Any]:
    """``rows`` of a json file, SQuAD's articles as one row a question."""
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get("paragraphs"), list):
            yield row
            continue
        for paragraph in row["paragraphs"]:
            for question in paragraph.get("qas", ()):
                known = {"title": row.get("title"), "context": paragraph.get("context")}
                yield {**known, **question, "answers": question.get("answers", [])}


def of_split(content: Mapping[str, Any], split: str | None, file: Path) -> list[Any] | None:
    """The rows of one split of ``{split: rows}``, pairs ``[text, label]`` as objects; None where it is no such file."""
    if not content or not all(isinstance(value, list) for value in content.values()):
        return None
    if split is None or split not in content:
        raise UserError(
            f"{file} holds several splits" if split is None else f"{file} has no such split",
            got=None if split is None else f"'{split}'",
            allowed=list(content),
            hint=did_you_mean(split, content)
            if split
            else "Name one: `--split NAME` of `tunesmith init`, or `split: NAME` beside its path in a recipe.",
            code="unknown-split",
        )
    return [_object(row) for row in content[split]]


def _object(row: Any) -> Any:
    if isinstance(row, list) and len(row) == 2 and all(isinstance(part, str) for part in row):
        return {"text": row[0], "label": row[1]}
    return row


def label_lines(file: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, row, or why it is none) of ``label text`` lines."""
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            label, _, text = line.strip().partition(" ")
            if text.strip():
                yield number, {"text": text.strip(), "label": label.removeprefix("__label__")}
            elif label:
                yield number, "the line is not a label, a blank and a text"


def tag_lines(file: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, row, or why it is none) of sentences: the first column is the word, the last its tag."""
    with file.open(encoding="utf-8-sig") as lines:
        held: list[list[str]] = []
        start = 1
        for number, line in enumerate([*lines, ""], start=1):
            cells = line.split()
            if cells and cells[0] != "-DOCSTART-":
                held.append(cells)
                continue
            if held:
                complete = all(len(cells) > 1 for cells in held)
                row = {"tokens": [cells[0] for cells in held], "tags": [cells[-1] for cells in held]}
                yield start, row if complete else "a line of the sentence is not a word and a tag"
            held, start = [], number + 1
