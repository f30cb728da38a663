"""The driver: order, counts, and going on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.data.lines import json_line
from tunesmith.errors import UserError
from tunesmith.making.base import Made, Making
from tunesmith.making.best_of import BestOf
from tunesmith.making.produce import Files, begin, estimates, kept_rows, key_of, produce
from tunesmith.metrics.intervals import mean_interval

MAKER = BestOf(rewards=["numeric"])
KEY = key_of(MAKER, {"model": "embedded"})


class StoppedError(Exception):
    """Ctrl-C."""


def one(number: int) -> Made:
    if number % 3 == 2:
        return Made(dropped=["odd"], measured={"score": float(number)})
    return Made([{"number": number, "sign": "é"}], [{"pair": number}], measured={"score": float(number)})


def go(folder: Path, *, units: int = 10, stop: int | None = None, wanted: int | None = None, size: int = 3) -> Any:
    def make(numbers: Sequence[int]) -> list[Made]:
        if stop is not None and stop in numbers:
            raise StoppedError
        return [one(number) for number in numbers]

    files = Files(folder / "rows.jsonl", folder / "pairs.jsonl")
    ledger = begin(files, KEY, MAKER)
    kept = kept_rows(files)
    found = produce(Making(units, make, str, wanted=wanted, together=size), ledger, files, kept=kept)
    assert kept == kept_rows(files)
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rows_stand_in_order_and_all_is_counted(tmp_path: Path) -> None:
    ledger = go(tmp_path)
    numbers = [json.loads(line)["number"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert numbers == [0, 1, 3, 4, 6, 7, 9]
    assert ledger["written"] == {"rows": 7, "pairs": 7}
    assert ledger["dropped"] == {"odd": {"count": 3, "first": [3, 6, 9]}}
    assert (ledger["done"], ledger["of"], ledger["finished"]) == (10, 10, True)


@pytest.mark.parametrize("stop", [0, 4, 9])
def test_stopped_and_continued_is_one_go_byte_for_byte(stop: int, tmp_path: Path) -> None:
    go(tmp_path / "whole")
    with pytest.raises(StoppedError):
        go(tmp_path / "two", stop=stop)
    with (tmp_path / "two" / "rows.jsonl").open("a") as file:
        file.write('{"half": ')  # what a killed process wrote after its last ledger
    go(tmp_path / "two")
    assert content(tmp_path / "two") == content(tmp_path / "whole")


def test_a_finished_file_is_left_as_it_is(tmp_path: Path) -> None:
    go(tmp_path)
    before = content(tmp_path)
    assert go(tmp_path, stop=0)["finished"]
    assert content(tmp_path) == before


def test_enough_is_enough(tmp_path: Path) -> None:
    ledger = go(tmp_path, wanted=4)
    assert ledger["written"]["rows"] == 4
    assert len(kept_rows(Files(tmp_path / "rows.jsonl"))) == 4
    assert ledger["done"] == 6


def test_files_of_other_settings_are_not_touched(tmp_path: Path) -> None:
    go(tmp_path)
    files = Files(tmp_path / "rows.jsonl", tmp_path / "pairs.jsonl")
    other = [key_of(BestOf(rewards=["numeric"], n=2), {"model": "embedded"}), key_of(MAKER, {"model": "other"})]
    before = content(tmp_path)
    for key in other:
        with pytest.raises(UserError) as told:
            begin(files, key, MAKER)
        assert told.value.code == "rows-exist"
    with pytest.raises(UserError):
        begin(Files(tmp_path / "rows.jsonl"), KEY, MAKER)
    (tmp_path / "rows.ledger.json").unlink()
    with pytest.raises(UserError):
        begin(files, KEY, MAKER)
    for text, code in (("[]", "rows-exist"), ('{"a"', "damaged-file")):
        (tmp_path / "rows.ledger.json").write_text(text)
        with pytest.raises(UserError) as told:
            begin(files, KEY, MAKER)
        assert told.value.code == code
    assert (tmp_path / "rows.jsonl").read_bytes() == before["rows.jsonl"]


def test_what_was_stopped_before_anything_was_made_is_in_nobodys_way(tmp_path: Path) -> None:
    files = Files(tmp_path / "rows.jsonl")
    begin(files, "another", MAKER)
    assert begin(files, KEY, MAKER)["key"] == KEY
    assert begin(files, KEY, MAKER)["done"] == 0


def test_a_shortened_file_is_told(tmp_path: Path) -> None:
    go(tmp_path)
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(UserError) as told:
        go(tmp_path)
    assert told.value.code == "damaged-file"


def test_means_have_intervals(tmp_path: Path) -> None:
    ledger = go(tmp_path, units=50)
    found, wanted = estimates(ledger)["score"], mean_interval(np.arange(50.0))
    assert (found["value"], found["n"]) == (pytest.approx(24.5), 50)
    assert found["low"] == pytest.approx(wanted.low, abs=0.5)
    assert found["high"] == pytest.approx(wanted.high, abs=0.5)


def test_a_share_has_wilsons_interval() -> None:
    """8 of 10: 0.490 to 0.943 (Wilson 1927)."""
    found = estimates({"measured": {"right": {"n": 10, "mean": 0.8, "squares": 1.6}}})["right"]
    assert (found["low"], found["high"]) == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))


def test_rows_with_other_line_ends_inside_are_continued(tmp_path: Path) -> None:
    files = Files(tmp_path / "rows.jsonl")
    row = {"text": "one\u2028two\u0085three \ud800"}
    files.rows.write_bytes(json_line(row) * 2)
    assert kept_rows(files) == [row, row]
