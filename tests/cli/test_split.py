"""``data split``, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from said import Tunesmith


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    topics = ("cats", "dogs", "trees", "boats")
    path.write_text(
        "".join(
            json.dumps({"text": f"{number} {topics[number % 4]} are there {number * 7}", "label": topics[number % 4]})
            + "\n"
            for number in range(80)
        )
    )
    return path


def test_split_writes_the_sides_and_says_what_is_in_them(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    said = call("data", "split", rows, "--out", tmp_path / "parts", "--shares", "80/10/10", "--stratify", "label")
    assert said.code == 0, said.err
    counts = {
        side: len((tmp_path / "parts" / f"{side}.jsonl").read_text().splitlines())
        for side in ("train", "validation", "test")
    }
    assert sum(counts.values()) == 80
    assert f"train       {counts['train']}" in said.out
    assert "cats" in said.out
    assert "tunesmith init" in said.err
    again = call(
        "data",
        "split",
        rows,
        "--out",
        tmp_path / "more",
        "--keep",
        tmp_path / "parts",
        "--shares",
        "80/10/10",
        "--json",
    )
    assert again.json["sides"] == counts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--shares", "90"), "such as 90/10"),
        (("--shares", "0/1"), "such as 90/10"),
        (("--near", "high"), "0.3 to 1, or off"),
        (("--near", "0.1"), "split.near"),
        (("--time", "when"), "split.time"),
        (("--since", "2024-01-01"), "since"),
    ],
)
def test_what_is_wrong_is_said(
    call: Tunesmith, rows: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    said = call("data", "split", rows, "--out", tmp_path / "parts", *options)
    assert said.code == 2
    assert words in said.err
    assert not (tmp_path / "parts").exists()
