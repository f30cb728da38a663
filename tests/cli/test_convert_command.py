"""``data convert`` and ``formats``, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from said import Tunesmith


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = [{"frage": f"what is {number}?", "reply": f"it is {number}", "task": number} for number in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


NAMED = ("--column", "instruction=frage", "--column", "output=reply")


def test_rows_are_converted_with_their_columns_named(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    found = call("data", "convert", rows, "--to", "messages", "--out", out, *NAMED, "--json").json
    assert (found["from"], found["to"], found["kept"], found["recognised_as"]) == ("alpaca", "messages", 3, "messages")
    first = json.loads(out.read_text().splitlines()[0])
    turns = [{"role": "user", "content": "what is 0?"}, {"role": "assistant", "content": "it is 0"}]
    assert first == {"messages": turns, "task": 0}
    said = call("data", "convert", out, "--to", "sharegpt", "--out", tmp_path / "more.jsonl")
    assert said.code == 0
    assert "3 rows of format sharegpt" in said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--to", "embedding"), "cannot become 'embedding' without loss"),
        (("--to", "massages"), "Did you mean 'messages'"),
        (("--to", "files"), "read from files as they are"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    call: Tunesmith, rows: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    said = call("data", "convert", rows, "--out", tmp_path / "out.jsonl", *NAMED, *options)
    assert said.code == 2
    assert words in said.err
    assert not (tmp_path / "out.jsonl").exists()


def test_formats_print_what_converts_to_what(call: Tunesmith) -> None:
    said = call("formats")
    line = next(line for line in said.out.splitlines() if line.startswith("sharegpt"))
    assert line.endswith("messages, [alpaca], prompt-completion")
    one = call("formats", "alpaca").out
    assert "Columns:" in one
    assert '"instruction": "Name a color."' in one
    assert "sharegpt: some rows ('sharegpt' has no place for 'input' of a turn)" in one
