"""What a benchmark is: how its rows become questions, and which numbers are reported.

Rows are turned into those of any suite (``prompt`` with ``choices``, ``contexts`` or ``answer``) as EleutherAI's
evaluation harness asks them, whose numbers are reproduced on the same rows; nothing is fetched from anywhere.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import UserError
from tunesmith.recipe.schema import Part

Row = Mapping[str, Any]
Reader = Callable[[Path], Sequence[Row]]


class Benchmark:
    """Base of the benchmarks; a subclass's docstring is its description."""

    NAME: ClassVar[str]
    paper: ClassVar[str]
    columns: ClassVar[Mapping[str, str]]
    """What a row holds, column by column."""
    metric: ClassVar[str]
    """The number that is meant by the benchmark's name."""
    metrics: ClassVar[Mapping[str, Part]]
    """All its numbers, under the names that lm-eval gives them."""
    stop: ClassVar[tuple[str, ...]] = ()
    max_new_tokens: ClassVar[int | None] = None

    def read(self, path: Path, reader: Reader) -> Sequence[Row]:
        """The rows of a file; ``reader`` knows jsonl, json, csv and parquet, and packed jsonl is unpacked here."""
        if path.name.endswith(".jsonl.gz"):
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                return [json.loads(line) for line in lines if line.strip()]
        return reader(path)

    def question(self, row: Row, metric: str) -> dict[str, Any]:
        """The row of a suite; ``KeyError``, ``ValueError`` or ``TypeError`` where it is none of this benchmark."""
        raise NotImplementedError

    def description(self, row: Row) -> str:
        """What stands in front of everything."""
        return ""


def questions(
    form: Benchmark, rows: Sequence[Row], metric: str, *, shots: Sequence[Row] = (), told: str
) -> list[dict[str, Any]]:
    """``rows`` as a suite's, with ``shots`` solved in front; ``UserError`` (``bad-suite-row``) names what is wrong."""
    solved = [_asked(form, row, metric, number, told) for number, row in enumerate(shots, start=1)]
    return [
        with_shots(_asked(form, row, metric, number, told), solved, form.description(row))
        for number, row in enumerate(rows, start=1)
    ]


def with_shots(row: dict[str, Any], solved: Sequence[Row], description: str = "") -> dict[str, Any]:
    """``row`` with solved rows in front of its prompt (or of each of its contexts)."""
    front = description + "".join(f"{_solution(one)}\n\n" for one in solved)
    if "contexts" in row:
        return {**row, "contexts": [front + text for text in row["contexts"]]}
    return {**row, "prompt": front + row["prompt"]} if front else row


def _solution(row: Row) -> str:
    """A row with its right answer, as lm-eval joins them."""
    if "contexts" in row:
        return f"{row['contexts'][row['answer']]} {row['continuation']}"
    answer = row["choices"][row["answer"]] if isinstance(row.get("choices"), list) else row["answer"]
    return f"{row['prompt']} {answer}"


def _asked(form: Benchmark, row: Row, metric: str, number: int, told: str) -> dict[str, Any]:
    try:
        return form.question(row, metric)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        missing = f"it has no column {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"row {number} of {told} is no row of the benchmark {form.NAME}: {missing}",
            got=", ".join(map(str, row)) if isinstance(row, Mapping) else repr(row)[:80],
            allowed="; ".join(f"{name}: {what}" for name, what in form.columns.items()),
            code="bad-suite-row",
        ) from None


def letter_or_number(answer: Any, names: Sequence[str]) -> int:
    """The place of an answer that is a number from 0, a digit or one of ``names``; ``ValueError`` where it is none."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        found = answer
    elif str(answer).strip() in names:
        found = list(names).index(str(answer).strip())
    else:
        found = int(str(answer))
    if not 0 <= found < len(names):
        raise ValueError(f"its answer {answer!r} is none of its {len(names)} choices")
    return found
