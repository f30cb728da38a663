"""Rows of the curation tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.pipeline import Curated
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.sources import Broken, open_source


@dataclass(frozen=True)
class Result:
    """``kept`` and ``dropped`` by line (from 1): columns, and reasons."""

    kept: dict[int, dict[str, Any]]
    dropped: dict[int, str]
    notes: dict[str, int]
    found: Curated


Run = Callable[..., Result]


def result(found: Curated) -> Result:
    rows = [row for file in found.files for row in open_source(str(file)).rows()]
    kept = {row.line: row.value for row in rows if not isinstance(row.value, Broken)}
    dropped = {row.line: row.value.reason for row in rows if isinstance(row.value, Broken)}
    return Result(kept, dropped, dict(found.ledger.notes), found)


def item_of(row: dict[str, Any], form: str = "alpaca", number: int = 0) -> Item:
    return Items([Reading("rows.jsonl", form, "", {})]).read(number, 0, row)


def asked(prompt: str, answer: str) -> dict[str, str]:
    return {"instruction": prompt, "output": answer}
