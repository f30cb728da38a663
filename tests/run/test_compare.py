"""Comparing runs: paired where both were measured on the same rows, said in words where they were not."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import LORA, Material, go

from tunesmith.cli.main import main
from tunesmith.recipe import Recipe
from tunesmith.run import Run, compare


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


def with_own_text(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"retention": "auto"})


@pytest.fixture(scope="module")
def first(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return go(with_own_text(material.recipe(method=LORA, steps=1)), tmp_path_factory.mktemp("first") / "run")


def test_the_same_rows_are_compared_by_pairs(material: Material, first: Run, tmp_path: Path) -> None:
    longer = go(with_own_text(material.recipe(method=LORA, steps=4)), tmp_path / "run")
    found = compare([first.folder, longer.folder])
    assert found["same_rows"] is True
    one, other = (found["runs"][str(run.folder)]["task nll"] for run in (first, longer))
    change = found["differences"][str(longer.folder)]["task nll"]
    assert change["value"] == pytest.approx(other["value"] - one["value"])
    assert change["low"] < change["value"] < change["high"] < 0
    assert one["low"] < one["value"] < one["high"]


def test_other_rows_are_told_with_their_own_values(
    material: Material, first: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = with_own_text(material.recipe(method=LORA, steps=1)).model_copy(update={"seed": 4})
    other = go(recipe, tmp_path / "run")
    found = compare([first.folder, other.folder])
    assert found["same_rows"] is False
    differences = found["differences"][str(other.folder)]
    # the base's own text is the same in both: only the held-out rows differ
    assert {name for name, change in differences.items() if change is None} == {"task nll", "task accuracy"}
    assert main(["compare", str(first.folder), str(other.folder)]) == 0
    said = capsys.readouterr().out
    for run in (first, other):
        value = run.read("eval/after.json")["task"]["nll"]["value"]
        assert f"{value:.4g} [" in said
    assert said.count("not the same rows: no paired difference") == 2
