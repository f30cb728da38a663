"""Comparisons of many runs: what is run once, what is chosen, what is told relative to what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.bench import cells
from tunesmith.bench.candidates import chosen
from tunesmith.bench.cells import Cell, Done, run_cells
from tunesmith.bench.methods import Plan, compare_methods
from tunesmith.errors import UserError
from tunesmith.files import write_json
from tunesmith.recipe import Recipe

RIGHT = {"full": [1.0, 1.0, 1.0, 0.0], "lora": [1.0, 1.0, 0.0, 0.0]}


class Runs:
    """Stands in for the training processes: five times the usual rate is best, LoRA gets one row less right."""

    def __init__(self) -> None:
        self.made: list[Cell] = []
        self.broken = ""

    def __call__(self, cell: Cell, folder: Path) -> Done:
        self.made.append(cell)
        if self.broken and self.broken in cell.title:
            return Done(cell, {}, {}, error="a line before\nerror: no such thing\nhint: none")
        name = cell.recipe.method.name
        usual = 2e-5 if name == "full" else 2e-4
        report: dict[str, Any] = {
            "validation_loss": abs(cell.recipe.train.learning_rate / usual - 5),
            "trainable_parameters": {"full": 1000, "lora": 10}[name],
            "tokens_per_second": {"full": 100.0, "lora": 150.0}[name],
            "peak_memory_bytes": {"full": 400, "lora": 100}[name],
            "forgetting": {"value": 0.5},
            "artifact_bytes": 7,
        }
        after = {"sums": {"task": {"columns": {"accuracy": RIGHT[name]}}}}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{cell.key}.json", {"title": cell.title, "report": report, "after": after})
        return Done(cell, report, after)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(cells, "_run", found)
    return found


def recipe() -> Recipe:
    return Recipe(train={"steps": 40}, data={"train": [{"path": "rows.jsonl"}]})


def compared(folder: Path, *, seeds: int = 2, methods: tuple[str, ...] = ("lora",)) -> dict[str, Any]:
    plan = Plan(seeds=seeds, search_share=0.25, test=("test.jsonl",))
    return compare_methods(recipe(), chosen(methods), plan, folder)


def test_the_best_rate_is_trained_from_every_seed_on_the_test_rows(runs: Runs, tmp_path: Path) -> None:
    table = compared(tmp_path)
    search, finals = runs.made[:6], runs.made[6:]
    assert {cell.recipe.train.steps for cell in search} == {10}
    assert [cell.recipe.train.learning_rate for cell in search] == pytest.approx([2e-5, 4e-6, 1e-4, 2e-4, 4e-5, 1e-3])
    assert [(cell.recipe.method.name, cell.recipe.seed) for cell in finals] == [
        ("full", 0),
        ("full", 1),
        ("lora", 0),
        ("lora", 1),
    ]
    assert {cell.recipe.train.steps for cell in finals} == {40}
    assert all(isinstance(cell.recipe.data.validation, list) for cell in finals)
    full, lora = table["rows"]
    assert (full["rate"], lora["rate"]) == pytest.approx((1e-4, 1e-3))
    assert (lora["score"]["value"], lora["share"], lora["speed"], lora["memory"]) == (0.5, 0.01, 1.5, 0.25)
    assert lora["against_full"]["value"] == -0.25
    assert table["score"] == "accuracy"


def test_what_is_done_is_found_again(runs: Runs, tmp_path: Path) -> None:
    compared(tmp_path)
    before = len(runs.made)
    compared(tmp_path)
    assert len(runs.made) == before
    compared(tmp_path, seeds=3)
    assert [cell.title for cell in runs.made[before:]] == ["full, seed 2", "lora, seed 2"]


def test_a_cell_is_known_by_what_it_trains_and_not_by_its_name() -> None:
    one = Cell("a", recipe())
    assert one.key == Cell("b", recipe().model_copy(update={"name": "other"})).key
    assert one.key != Cell("a", recipe().model_copy(update={"seed": 1})).key


def test_a_failed_method_is_told_in_a_line_and_stops_no_other(runs: Runs, tmp_path: Path) -> None:
    runs.broken = "lora"
    full, lora = compared(tmp_path)["rows"]
    assert full["score"]["value"] == 0.75
    assert lora["failed"] == ["error: no such thing"] * 2
    assert "score" not in lora


def test_without_full_there_is_nothing_to_compare_with(runs: Runs, tmp_path: Path) -> None:
    runs.broken = "full"
    with pytest.raises(UserError) as caught:
        compared(tmp_path)
    assert caught.value.code == "no-baseline"
    assert "no such thing" in str(caught.value)


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        chosen(["lorra"])
    assert caught.value.code == "unknown-method"


@pytest.mark.slow
def test_a_real_cell_trains_in_a_process_of_its_own(tmp_path: Path) -> None:
    from tiny_base import make_base, make_rows

    base, rows = make_base(tmp_path / "base"), make_rows(tmp_path / "rows.jsonl")
    values: dict[str, Any] = {
        "model": {"base": str(base), "threads": 1},
        "data": {"train": [{"path": str(rows)}], "max_tokens": 128, "workers": 1},
        "method": "lora",
        "train": {"steps": 2},
        "evaluate": {"prompts": 0, "before": False},
        "retention": "none",
        "proofs": "off",
    }
    good, bad = Recipe(**values), Recipe(**values | {"method": {"name": "lora", "targets": ["nope"]}})
    done, failed = run_cells([Cell("good", good), Cell("bad", bad)], tmp_path / "cells")
    assert done.report["steps"] == 2
    assert done.report["artifact_bytes"] > 0
    assert failed.why.startswith("error: no linear layer matches")
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{done.cell.key}.json"]
