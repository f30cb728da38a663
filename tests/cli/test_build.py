"""``data build``: every builder as a command, with a ledger, going on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from said import Tunesmith

from tunesmith.making.building import TABLE

ROWS = [{"text": f"a film of {number} parts", "label": ["bad", "good"][number % 2]} for number in range(6)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("name", list(TABLE))
def test_every_builder_is_a_command_with_its_options(call: Tunesmith, name: str) -> None:
    said = call("data", "build", name, "--help")
    assert said.code == 0
    assert "--out" in said.out
    for option in TABLE.load(name).model_fields:
        assert f"--{option.replace('_', '-')}" in said.out


def test_a_chain_of_builders_keeps_the_way_back(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    asked, wrong = tmp_path / "asked.jsonl", tmp_path / "wrong.jsonl"
    said = call("data", "build", "instructions", rows, "--out", asked, "--task", "the mood", "--variants", "2")
    assert said.code == 0, said.err
    assert "rows  12" in said.out
    assert "tunesmith init" in said.err
    found = call("data", "build", "negatives", asked, "--out", wrong, "--how", "wrong-label", "--json").json
    assert (found["written"], found["done"]) == ({"rows": 12}, 12)
    row = json.loads(wrong.read_text().splitlines()[0])
    assert row["made"]["how"] == "negatives"
    assert row["made"]["made"] == {"how": "instructions", "file": "rows.jsonl", "line": 1, **row["made"]["made"]}
    ledger = json.loads((tmp_path / "wrong.ledger.json").read_text())
    assert ledger["recipe"]["how"] == "wrong-label"
    assert ledger["recipe"]["rows"][0]["path"] == str(asked)
    split = call("data", "split", asked, "--out", tmp_path / "parts", "--shares", "50/50", "--json").json
    assert split["sides"]["train"] % 2 == 0  # wordings of one row stay together


def test_the_same_command_finds_its_rows_and_another_is_refused(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "noisy.jsonl"
    assert call("data", "build", "noise", rows, "--out", out).code == 0
    before = out.read_bytes()
    assert call("data", "build", "noise", rows, "--out", out).code == 0
    assert out.read_bytes() == before
    other = call("data", "build", "noise", rows, "--out", out, "--copies", "2")
    assert (other.code, "something else already" in other.err) == (2, True)
    assert out.read_bytes() == before


def test_a_dry_run_prints_rows_and_writes_none(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    said = call("data", "build", "noise", rows, "--out", tmp_path / "x.jsonl", "--dry-run", "--how", "[swap, insert]")
    assert said.code == 0, said.err
    assert '"how": "noise"' in said.out
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nois"], "Did you mean 'noise'"),
        (["noise", "FILE", "--share", "2"], "noise.share"),
        (["noise", "FILE", "--how", "shuffle"], "swap"),
        (["entities", "FILE"], "no tagged names"),
        (["negatives", "FILE", "--column", "text=nope"], "no column"),
    ],
)
def test_what_is_wrong_is_said(call: Tunesmith, rows: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    given = [str(rows) if one == "FILE" else one for one in arguments]
    said = call("data", "build", *given, "--out", tmp_path / "x.jsonl")
    assert said.code == 2
    assert words in said.err
    assert not (tmp_path / "x.jsonl").exists()


def test_where_nothing_is_kept_nothing_comes_next(call: Tunesmith, rows: Path, tmp_path: Path) -> None:
    said = call("data", "build", "turns", rows, "--out", tmp_path / "x.jsonl")
    assert said.code == 0
    assert "Nothing was kept" in said.err
    assert "Next" not in said.err
    assert "the row is no conversation with answers" in said.out
