"""Rows as a builder makes them of rows of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunesmith.data.recognise import recognise
from tunesmith.making.base import Builder, Made, Parent, Work


def nobody() -> Any:
    raise AssertionError("no model is asked")


def parents(rows: list[dict[str, Any]]) -> list[Parent]:
    """``rows`` as parents, each read in the format that it is recognised as."""
    found = []
    for line, row in enumerate(rows, start=1):
        form = recognise([row], path="rows.jsonl", columns={}).format
        found.append(Parent(form.read(row), "data/rows.jsonl", line, form=form))
    return found


def all_made(builder: Builder, rows: list[dict[str, Any]]) -> list[Made]:
    making = builder.ready(Work(parents(rows), nobody, []))
    return making.make(range(making.units))


def built(builder: Builder, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every row that is made; each is read again, and says from which line it is."""
    found = [dict(row) for one in all_made(builder, rows) for row in one.rows]
    for row in found:
        form = recognise([row], path="made", columns={}).format
        form.read(json.loads(json.dumps(row)))
        assert row["made"]["how"] == builder.NAME
        assert row["made"]["file"] == "rows.jsonl"
        assert 1 <= row["made"]["line"] <= len(rows)
    return found


def dropped(builder: Builder, rows: list[dict[str, Any]]) -> list[str]:
    return [reason for one in all_made(builder, rows) for reason in one.dropped]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
