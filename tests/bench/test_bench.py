"""Comparisons of many runs: what is run once, what is chosen, what is told relative to what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tunesmith.bench import cells, search
from tunesmith.bench.candidates import chosen, known_rates
from tunesmith.bench.cells import Cell, Done, run_cells
from tunesmith.bench.methods import Plan, compare_methods
from tunesmith.cli import main as entry
from tunesmith.errors import UserError
from tunesmith.files import write_json
from tunesmith.recipe import Recipe

INFINITE = float("inf")
RIGHT = {"full": [1.0, 1.0, 1.0, 0.0], "lora": [1.0, 1.0, 0.0, 0.0]}


class Runs:
    """Stands in for the training processes: five times the usual rate is best, LoRA gets one row less right."""

    def __init__(self) -> None:
        self.made: list[Cell] = []
        self.best_in_full = 5.0
        self.broken = ""

    def __call__(self, cell: Cell, folder: Path) -> Done:
        self.made.append(cell)
        if self.broken and self.broken in cell.title:
            return Done(cell, {}, {}, error="a line before\nerror: no such thing\nhint: none")
        name = cell.recipe.method.name
        usual = 2e-5 if name == "full" else 2e-4
        best = self.best_in_full if "in full" in cell.title else 5.0
        report: dict[str, Any] = {
            "validation_loss": abs(cell.recipe.train.learning_rate / usual - best),
            "flops_per_token": {"full": 100.0, "lora": 70.0}[name],
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


def rates(made: Sequence[Cell], method: str) -> list[float]:
    return [cell.recipe.train.learning_rate for cell in made if cell.recipe.method.name == method]


def test_the_best_rate_is_trained_from_every_seed_on_the_test_rows(runs: Runs, tmp_path: Path) -> None:
    table = compared(tmp_path)
    short = [cell for cell in runs.made if cell.recipe.train.steps == 10]
    whole = [cell for cell in runs.made if "in full" in cell.title]
    finals = runs.made[-4:]
    assert rates(short, "full") == pytest.approx([2e-5, 4.472e-5, 1e-4, 2.236e-4], rel=1e-3)
    assert rates(whole, "lora") == pytest.approx([1e-3, 4.472e-4], rel=1e-3)
    assert {cell.recipe.seed for cell in whole}.isdisjoint({cell.recipe.seed for cell in finals})
    assert [(cell.recipe.method.name, cell.recipe.seed) for cell in finals] == [
        ("full", 0),
        ("full", 1),
        ("lora", 0),
        ("lora", 1),
    ]
    assert {cell.recipe.train.steps for cell in (*whole, *finals)} == {40}
    assert {cell.recipe.data.validation[0].path for cell in finals} == {"test.jsonl"}  # type: ignore[index]
    assert {cell.recipe.data.validation for cell in (*short, *whole)} == {0.1}
    full, lora = table["rows"]
    assert (full["rate"], lora["rate"]) == pytest.approx((1e-4, 1e-3))
    assert (lora["score"]["value"], lora["share"], lora["speed"], lora["memory"]) == (0.5, 0.01, 1.5, 0.25)
    assert lora["of_formula"] == pytest.approx(1.5 * 70 / 100)
    assert lora["against_full"]["value"] == -0.25
    assert table["score"] == "accuracy"


def test_whole_runs_decide_between_the_best_short_rate_and_the_one_below(runs: Runs, tmp_path: Path) -> None:
    runs.best_in_full = 5**0.5
    assert compared(tmp_path)["rows"][1]["rate"] == pytest.approx(4.472e-4, rel=1e-3)


@pytest.mark.parametrize(
    ("losses", "wanted"),
    [
        ({}, [0, 1]),
        ({0: 3.0, 1: 2.0}, [2]),
        ({0: 3.0, 1: 2.0, 2: 2.5}, []),
        ({0: 2.0, 1: 3.0}, [-1]),
        ({-1: 1.0, 0: 2.0, 1: 3.0}, [-2]),
        ({-1: 3.0, 0: 2.0, 1: 3.0}, []),
        ({0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0}, []),
        ({0: INFINITE, 1: INFINITE}, [-1]),
    ],
)
def test_the_ladder_is_climbed_until_the_loss_rises(losses: dict[int, float], wanted: list[int]) -> None:
    assert search.following(losses) == wanted


def test_two_rungs_are_a_factor_of_five() -> None:
    assert [search.at(2e-4, rung) for rung in (-2, -1, 0, 1, 2)] == pytest.approx(
        [4e-5, 4e-5 * 5**0.5, 2e-4, 2e-4 * 5**0.5, 1e-3]
    )


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


def test_a_known_rate_is_not_searched(runs: Runs, tmp_path: Path) -> None:
    plan = Plan(seeds=1, rates=known_rates(["full=3e-5", "lora=7e-4"]), test=("test.jsonl",))
    table = compare_methods(recipe(), chosen(["lora"]), plan, tmp_path)
    assert [cell.title for cell in runs.made] == ["full, seed 0", "lora, seed 0"]
    assert [row["rate"] for row in table["rows"]] == [3e-5, 7e-4]


def test_a_known_rate_of_a_method_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        compare_methods(recipe(), chosen(["lora"]), Plan(rates={"lroa": 1e-3}), tmp_path)
    assert caught.value.code == "bad-rate"


@pytest.mark.parametrize("text", ["lora", "lora=", "lora=fast", "lora=-1e-3", "lora=0", "lora=nan"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        known_rates([text])
    assert caught.value.code == "bad-rate"


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
    assert done.report["flops_per_token"] > 0
    assert done.report["artifact_bytes"] > 0
    assert failed.why.startswith("error: no linear layer matches")
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{done.cell.key}.json"]


def test_the_command_prints_a_row_a_method(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "recipe.yaml").write_text("train: {steps: 40}\ndata: {train: [rows.jsonl]}\n")
    for name in ("rows.jsonl", "test.jsonl"):
        (tmp_path / name).write_text('{"prompt": "a", "completion": "b"}\n')
    words = ["bench", "methods", "recipe.yaml", "--methods", "lora", "--rate", "full=1e-4", "--seeds", "2"]
    monkeypatch.chdir(tmp_path)
    assert entry.main([*words, "--test", "test.jsonl", "--out", "out"]) == 0
    told = capsys.readouterr().out
    rows = {words[0]: words for line in told.splitlines() if (words := line.split())}
    header, full, lora = (rows[name] for name in ("method", "full", "lora"))
    assert header[:3] == ["method", "rate", "trained"]
    assert full[:3] == ["full", "1.0e-04", "100.00%"]
    assert lora[:3] == ["lora", "1.0e-03", "1.00%"]
    assert lora[-4:] == ["1.05", "0.25", "0.00", "MB"]
    assert (tmp_path / "out" / "methods.json").is_file()
