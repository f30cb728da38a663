"""Files as they come: broken lines, odd characters, numbers and depths that JSON readers give up on, other people's
files beside the rows. Every command says one sentence, or does its work."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from said import Tunesmith

from tunesmith.cli.main import main
from tunesmith.data.lines import Line, is_plain, source_of, value_of

HALVES = '{"instruction": "What is \\ud800 %d?", "output": "It is \\udfff\\u2028and\\u0085%d, as everybody knows."}\n'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """Rows with halves of surrogate pairs and with line ends that are none in JSON."""
    path = tmp_path / "halves.jsonl"
    path.write_text("".join(HALVES % (number, number) for number in range(12)))
    return path


@pytest.mark.parametrize("command", [("curate", "--dry-run"), ("show",), ("report", "--out", "x.html")])
def test_a_file_without_any_json_says_what_is_wrong_with_it(
    command: tuple[str, ...], call: Tunesmith, tmp_path: Path
) -> None:
    path = tmp_path / "words.jsonl"
    path.write_text("hello\n[1, 2]\n")
    said = call("data", command[0], path, *command[1:])
    assert said.code == 2
    assert f"no row of {path} can be read" in said.err
    assert "line 1: the line is no JSON" in said.err
    assert "line 2: the row is list" in said.err


def test_what_a_json_reader_gives_up_on_is_a_broken_line(call: Tunesmith, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    deep, long = "[" * 100_000 + "]" * 100_000, "9" * 5000
    good = '{"instruction": "What is this?", "output": "It is that."}\n'
    path.write_text(good + f'{{"instruction": {deep}}}\n{{"instruction": {long}}}\n')
    said = call("data", "curate", path, "--dry-run", "--json")
    assert said.code == 0, said.err
    assert said.json["kept"] == 1
    assert set(said.json["reasons"]) == {
        "dropped: the line is no JSON (it is nested too deep)",
        "dropped: the line is no JSON (a number in it is too long)",
    }
    said = call("data", "convert", path, "--to", "messages", "--out", tmp_path / "out.jsonl")
    assert said.code == 2
    assert "2 lines" in said.err


def test_odd_characters_come_through_every_command(call: Tunesmith, halves: Path, tmp_path: Path) -> None:
    wanted = [json.loads(line) for line in halves.read_bytes().split(b"\n") if line]

    def written(name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (tmp_path / name).read_bytes().split(b"\n") if line]

    steps = "{name: length, min_words: 1}, exact-dedup"
    said = call("data", "curate", halves, "--out", "clean.jsonl", "--steps", steps)
    assert said.code == 0, said.err
    assert written("clean.jsonl") == wanted
    steps += ", {name: decontaminate, against: [halves.jsonl]}"
    assert call("data", "curate", halves, "--out", "none.jsonl", "--steps", steps).code == 0
    assert call("data", "convert", halves, "--to", "messages", "--out", "talk.jsonl").code == 0
    assert call("data", "convert", "talk.jsonl", "--to", "alpaca", "--out", "back.jsonl").code == 0
    assert written("back.jsonl") == [{**row, "input": ""} for row in wanted]
    assert call("data", "split", halves, "--out", "parts", "--near", "off", "--shares", "50/50").code == 0
    assert len(written("parts/train.jsonl")) + len(written("parts/validation.jsonl")) == len(wanted)
    assert call("data", "build", "turns", "talk.jsonl", "--out", "turns.jsonl").code == 0
    assert len(written("turns.jsonl")) == len(wanted)
    assert call("data", "diff", halves, "back.jsonl").code == 0
    assert call("data", "report", halves, "--out", "page.html", "--against", halves).code == 0
    assert "\\ud800" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_terminal_that_cannot_show_a_character_shows_its_number(
    halves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["data", "show", str(halves), "-n", "1"]) == 0
    sys.stdout.flush()
    assert b"What is \\ud800 0?" in raw.getvalue()


def test_ledgers_and_verdicts_beside_rows_are_no_rows(call: Tunesmith, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    row = {"instruction": "What is this?", "output": "It is that."}
    (tmp_path / "one.jsonl").write_text(json.dumps(row) + "\n")
    assert call("data", "curate", tmp_path / "one.jsonl", "--out", folder / "clean.jsonl").code == 0
    (folder / "clean.review.jsonl").write_text('{"key": "a", "line": 1, "verdict": "keep", "note": ""}\n')
    assert (folder / "clean.ledger.json").is_file()
    said = call("data", "curate", folder, "--dry-run", "--json")
    assert said.json["rows"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("data", "curate", "ROWS", "--out", "."), "--out names a folder"),
        (("data", "curate", "ROWS", "--dry-run", "--column", "output"), "--column cannot be read; got output"),
        (("data", "build", "turns", "ROWS", "--out", "x.jsonl", "--column", "=a"), "--column cannot be read; got =a"),
        (("make", "nope", "embedded", "--out", "x.jsonl"), "unknown maker; got 'nope'"),
        (("data", "build", "turn", "ROWS", "--out", "x.jsonl"), "Did you mean 'turns'?"),
        (("make", "questions", "embedded", "--rows", "ROWS", "--out", "x.jsonl"), "these rows are no documents"),
        (("data", "convert", "ROWS", "--to", "labelled", "--out", "x.jsonl"), "The first of them can become messages"),
    ],
)
def test_mistakes_end_in_one_sentence(words: tuple[str, ...], told: str, call: Tunesmith, halves: Path) -> None:
    said = call(*(str(halves) if word == "ROWS" else word for word in words))
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "line",
    [
        Line(0, "a.jsonl", 1, {"text": "x"}),
        Line(12, "a\tb.jsonl", 7, {"text": "tab\there, \u2028 and \ud800", "n": None}, ("a note",), "", ""),
        Line(3, "a.jsonl", 2, None, (), "why", "shown\twith a tab"),
        Line(0, "a.jsonl", 3, {"text": '[]\t""\t""\t', "x": [1.5, {"y": "null\n"}]}),
        Line(0, "a.jsonl", 4, {"text": "null"}, (), "", ""),
        Line(0, "a.jsonl", 5, None, ("a note",), "why", ""),
        Line(0, "a.jsonl", 6, None),
    ],
)
def test_a_line_is_read_as_it_was_written_and_judged_unread(line: Line) -> None:
    raw = line.to_bytes()
    assert raw.count(b"\n") == 1 == raw.endswith(b"\n")
    assert Line.from_bytes(raw) == line
    assert source_of(raw) == line.source
    assert is_plain(raw) == (line.value is not None and not line.notes)
    value = value_of(raw)
    assert (None if value is None else json.loads(value)) == line.value
