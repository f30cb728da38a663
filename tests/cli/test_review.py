"""``data review`` and ``data report`` of a file, as a person uses them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from said import Tunesmith


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = ({"instruction": f"question {number}", "output": f"answer {number}"} for number in range(8))
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Keys that a person will press, and what is typed where a note is asked for."""
    keys: list[str] = []
    monkeypatch.setattr("tunesmith.cli.review.pressed", lambda: keys.pop(0))
    monkeypatch.setattr(click, "prompt", lambda *_, **__: keys.pop(0))
    yield keys
    assert keys == []


def test_rows_are_paged_through_and_gone_on_with(call: Tunesmith, rows: Path, press: list[str]) -> None:
    press += ["?", "k", "x", "it is wrong", "q"]
    said = call("data", "review", rows, "-n", 4)
    assert said.code == 0
    assert said.out.count("row 1 of 4") == 2
    assert "assistant: answer" in said.out
    assert "1 kept, 1 dropped, 1 with notes, 2 left of 4" in said.out
    assert "--steps '{name: reviewed" in said.err
    press += ["b", "d", "s", "n", "fine"]
    again = call("data", "review", rows, "-n", 4)
    assert "row 3 of 4" in again.out
    assert "(drop: it is wrong)" in again.out
    counts = call("data", "review", rows, "-n", 4, "--json").json
    assert {key: counts[key] for key in ("kept", "dropped", "notes", "left")} == {
        "kept": 2, "dropped": 1, "notes": 1, "left": 1,
    }  # fmt: skip


def test_verdicts_may_be_piped_in(call: Tunesmith, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("K\nn\nodd\nd\n"))
    said = call("data", "review", rows, "-n", 4)
    assert said.code == 0
    assert "2 kept, 1 dropped, 1 with notes, 1 left of 4" in said.out


def test_the_ledger_is_of_a_recipe_and_a_page_needs_a_name(call: Tunesmith, rows: Path) -> None:
    said = call("data", "report", rows)
    assert said.code == 2
    assert "--out" in said.err
    assert call("data", "report", rows, "a.b=c", "--out", rows.with_suffix(".html")).code == 2
    assert call("data", "report", rows.with_name("absent.jsonl"), "--out", rows.with_suffix(".html")).code == 2


def test_a_page_about_a_file(call: Tunesmith, rows: Path) -> None:
    pytest.importorskip("matplotlib")
    said = call("data", "report", rows, "--out", rows.with_suffix(".html"), "--against", rows, "--json")
    assert said.code == 0, said.err
    assert Path(said.json["page"]).read_text().startswith("<!doctype html>")
    assert json.loads(Path(said.json["facts"]).read_text())["portrait"]["rows"] == {"train": 8, "evaluation": 8}
