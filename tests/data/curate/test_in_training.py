"""Curated rows on their way to tokens: the lines of the original file, drops first, lost rows apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from curate_rows import asked
from small_rows import encode_answers

from tunesmith.data.chat import ChatEncoder
from tunesmith.data.prepare import Prepared, prepare
from tunesmith.errors import UserError
from tunesmith.recipe import Recipe
from tunesmith.run.curate import clean, curated
from tunesmith.run.rows import with_rows

ROWS: list[Any] = [
    asked("what is one?", "it is  \none"),
    asked("what is two?", "it is two"),
    asked("what is one?", "it is\none"),
    {"instruction": "no answer", "output": ""},
    asked("what is three?", "it is three"),
    *(asked(f"what is it, {number}?", f"it is number {number}") for number in range(20)),
]
STEPS = [{"name": "unicode", "mojibake": False}, "exact-dedup", {"name": "length", "of": "answer", "min_words": 3}]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def prepared(rows: Path, tmp_path: Path, plain_encoder: ChatEncoder) -> Callable[..., Prepared]:
    def run(steps: list[Any], **options: Any) -> Prepared:
        recipe = Recipe(data={"train": [str(rows)], "validation": 0.0, **options}, curate=steps)
        data = with_rows(recipe).data
        return prepare(data, encode_answers, plain_encoder, seed=0, cache=tmp_path / "tokens", options_key="answers")

    return run


def test_the_ledger_names_the_original_file_and_its_lines(prepared: Callable[..., Prepared], rows: Path) -> None:
    found = prepared(STEPS).accepted()
    (source,) = found.ledger.sources
    assert (source.path, source.format, source.kept, source.dropped) == (str(rows), "alpaca", 23, 2)
    assert source.why == "the rows have the columns 'instruction' and 'output'"
    assert {(entry.row, entry.line): entry.reason for entry in found.ledger.entries} == {
        (2, 3): "curate exact-dedup: the row is the same as an earlier one",
        (3, 4): "column 'output' is empty",
    }
    assert next(iter(found.ledger.ordered_reasons)).startswith("dropped: curate exact-dedup")
    assert found.ledger.examples["curate exact-dedup: the row is the same as an earlier one"][0].file == str(rows)
    assert found.ledger.notes["curate unicode: blanks mended"] == 1
    assert found.train.lines.tolist() == [1, 2, *range(5, 26)]
    assert "it is\none" in found.encoder.decode(found.train[0].ids.tolist())


def test_rows_that_curation_drops_are_not_lost(prepared: Callable[..., Prepared]) -> None:
    harsh = [{"name": "length", "of": "answer", "min_words": 4}]
    found = prepared(harsh, max_lost=0.05)
    assert found.ledger.total("dropped") == 5
    assert found.ledger.lost_share == pytest.approx(1 / 25)
    assert found.refusal is None
    everything = prepared([{"name": "length", "min_words": 50}])
    assert everything.refusal is not None
    assert everything.refusal.code == "no-rows-left"


def test_validation_rows_are_as_they_are_given(rows: Path, tmp_path: Path) -> None:
    recipe = Recipe(data={"train": [str(rows)], "validation": [str(rows)]}, curate=STEPS)
    found = curated(recipe)
    assert found.data.validation == recipe.data.validation
    assert found.data.train[0].path.endswith(".curated")
    assert found.curate == []
    assert curated(found) is found
    assert with_rows(found) == found


def test_by_hand_and_in_training_the_work_is_done_once(rows: Path, tmp_path: Path) -> None:
    recipe = Recipe(data={"train": [str(rows)]}, curate=STEPS)
    dry = clean(recipe.data.train, recipe.curate, out=None)
    assert not dry.hit
    assert dry.steps == {"reading": 1, "unicode": 0, "exact-dedup": 1, "length": 0}
    assert not list(tmp_path.glob("clean*"))
    out = tmp_path / "clean.jsonl"
    found = clean(recipe.data.train, recipe.curate, out=out)
    assert found.hit
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert written == [asked("what is one?", "it is\none"), ROWS[1], *ROWS[4:]]
    beside = json.loads((tmp_path / "clean.ledger.json").read_text())
    assert (beside["rows"], beside["kept"], beside["dropped"]) == (25, 23, 2)
    assert [step["name"] for step in beside["steps"]] == ["unicode", "exact-dedup", "length"]
    files = list((tmp_path / "cache" / "curated").iterdir())
    curated(recipe)
    assert list((tmp_path / "cache" / "curated").iterdir()) == files


def test_mistakes_are_told(rows: Path, tmp_path: Path) -> None:
    recipe = Recipe(data={"train": [str(rows)]}, curate=["exact-dedupe"])
    with pytest.raises(UserError, match="exact-dedup"):
        curated(recipe)
    with pytest.raises(UserError) as error:
        clean(recipe.data.train, [], out=rows)
    assert error.value.code == "own-input"
    text = tmp_path / "text.txt"
    text.write_text("a text\n")
    both = Recipe(data={"train": [str(rows), str(text)]}).data.train
    with pytest.raises(UserError) as error:
        clean(both, [], out=tmp_path / "both.jsonl")
    assert error.value.code == "mixed-formats"
