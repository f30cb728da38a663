"""What two versions of rows differ in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curate_rows import asked

from tunesmith.data.diff import diff


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def test_rows_are_the_same_changed_gone_or_new(tmp_path: Path) -> None:
    old = [asked("a?", "one"), asked("b?", "two"), asked("b?", "two"), asked("c?", "three"), asked("d?", "four"), "{no"]
    new = [asked("C!", "three"), asked("a?", "one"), asked("b?", "two"), asked("a?", "other"), asked("e?", "Four.")]
    found = diff(written(tmp_path / "old.jsonl", old), written(tmp_path / "new.jsonl", new))
    assert found.same == 2
    assert [(one.line, other.line) for one, other in found.changed] == [(4, 1), (5, 5)]
    assert [one.line for one in found.removed] == [3, 6]
    assert [one.line for one in found.added] == [4]
    told = found.to_json()
    assert (told["same"], told["changed"], told["removed"], told["added"]) == (2, 2, 2, 1)
    assert told["examples"]["changed"][0] == {
        "old": {"line": 4, "text": "c? three"},
        "new": {"line": 1, "text": "C! three"},
    }


def test_every_row_is_counted_once(tmp_path: Path) -> None:
    old = [asked(f"q {number % 7}", f"a {number % 5}") for number in range(60)]
    new = [asked(f"q {number % 6}", f"a {number % 4}") for number in range(50)]
    found = diff(written(tmp_path / "old.jsonl", old), written(tmp_path / "new.jsonl", new))
    assert found.same + len(found.changed) + len(found.removed) == 60
    assert found.same + len(found.changed) + len(found.added) == 50
    same = diff(written(tmp_path / "one.jsonl", old), written(tmp_path / "two.jsonl", old[::-1]))
    assert (same.same, same.changed, same.removed, same.added) == (60, [], [], [])
