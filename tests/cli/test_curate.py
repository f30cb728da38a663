"""``data curate``, ``data steps`` and ``data diff``, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from said import Tunesmith

ROWS = [
    {"instruction": "what is one?", "output": "it is one"},
    {"instruction": "what is two?", "output": "it is two"},
    {"instruction": "what is  one?", "output": "it is one"},
    {"instruction": "say", "output": "..."},
]
STEPS = "{name: quality, rules: [empty]}, exact-dedup"


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "{no json\n")
    return path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_curate_writes_the_rows_that_are_kept_and_their_ledger(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    said = call("data", "curate", rows, "--out", tmp_path / "clean.jsonl", "--steps", STEPS)
    assert said.code == 0, said.err
    assert lines(tmp_path / "clean.jsonl") == ROWS[:2]
    ledger = json.loads((tmp_path / "clean.ledger.json").read_text())
    assert (ledger["rows"], ledger["kept"], ledger["dropped"]) == (5, 2, 3)
    assert "like rows.jsonl line 1" in said.out
    assert "curating: quality (pass 1 of 2)" in said.err


def test_a_dry_run_says_the_same_and_writes_nothing(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    said = call("data", "curate", rows, "--dry-run", "--json", "--steps", STEPS)
    assert said.code == 0, said.err
    assert said.json["steps"] == {"reading": 1, "quality": 1, "exact-dedup": 1}
    assert (said.json["kept"], said.json["out"], said.json["ledger"]) == (2, None, None)
    assert sum(said.json["reasons"].values()) == said.json["dropped"]
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "cache"}


def test_the_steps_and_sources_of_a_recipe(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{train: [rows.jsonl]}}\ncurate: [{STEPS}]\n")
    said = call("data", "curate", recipe, "--dry-run", "--json")
    assert said.json["steps"] == {"reading": 1, "quality": 1, "exact-dedup": 1}
    said = call("data", "curate", recipe, "curate=[exact-dedup]", "--dry-run", "--json")
    assert said.json["steps"] == {"reading": 1, "exact-dedup": 1}


def test_columns_of_another_name(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    rows.write_text('{"ask": "a", "say": "b"}\n{"ask": "a", "say": "b"}\n')
    pairs = ("--column", "prompt=ask", "--column", "completion=say")
    said = call("data", "curate", rows, "--out", tmp_path / "clean.jsonl", "--steps", "exact-dedup", *pairs)
    assert said.code == 0, said.err
    assert lines(tmp_path / "clean.jsonl") == [{"ask": "a", "say": "b"}]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "bad-arguments"),
        (("--dry-run", "--steps", "exact-dedupe"), "unknown-curate-step"),
        (("--dry-run", "--steps", "{name: length, min_word: 2}"), "unknown-key"),
        (("train.epochs=2", "--dry-run"), "bad-override"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], code: str, call: Tunesmith, rows: Path) -> None:
    said = call("data", "curate", rows, *arguments, "--json")
    assert said.code == 2
    assert said.json["error"]["code"] == code


def test_steps_are_listed_with_their_options(call: Tunesmith) -> None:
    assert "near-dedup" in call("data", "steps").out
    (one,) = call("data", "steps", "near-dedup", "--json").json
    assert {option["name"] for option in one["options"]} >= {"threshold", "by", "group"}


def test_diff_counts_and_shows(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.jsonl"
    new.write_text(json.dumps(ROWS[0]) + "\n" + json.dumps({**ROWS[1], "output": "it is 2"}) + "\n")
    said = call("data", "diff", rows, new, "--json")
    assert [said.json[kind] for kind in ("same", "changed", "removed", "added")] == [1, 1, 3, 0]
    assert "changed: line 2: what is two? it is two" in call("data", "diff", rows, new).out
