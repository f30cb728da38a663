"""The verdict on a run: every line by hand, and whole runs that must and must not ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import Material, go

from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.evaluation.checks import Check, add_check
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import validated
from tunesmith.run.verdict import gate, verdict


def figure(value: float, half: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half, "n": 50}


REPORT: dict[str, Any] = {
    "validation_loss": 1.5,
    "after": {"f1": figure(0.6), "nll": figure(1.5), "kl": figure(0.2)},
    "changes": {
        "task": {"nll": {"after": figure(1.5), "change": figure(-1.0)}},
        "answers": {"f1": {"after": figure(0.6), "change": figure(0.3)}},
        "retention": {"nll": {"after": figure(2.0), "change": figure(0.25)}},
    },
    "forgetting": figure(0.25),
    "suites": [
        {
            "suite": "s",
            "metrics": {"a": figure(0.7), "ppl": figure(4.0)},
            "failed": [],
            "bounds": 0,
            "lower_is_better": ["ppl"],
        }
    ],
}


@pytest.mark.parametrize(
    ("name", "bound", "ships", "surely"),
    [
        ("task.f1", 0.45, True, True),
        ("task.f1", 0.6, True, False),
        ("task.f1", 0.61, False, False),
        ("forgetting", 0.25, True, False),
        ("task.nll", 1.7, True, True),
        ("task.nll", 1.55, True, False),
        ("task.nll", 1.4, False, False),
        ("task.kl", "<= 0.25", True, False),
        ("task.kl", ">= 0.3", False, False),
        ("gain.f1", 0.15, True, True),
        ("gain.nll", -0.95, True, False),
        ("forgetting", 0.3, True, False),
        ("forgetting", 0.2, False, False),
        ("retention.nll", 2.2, True, True),
        ("validation_loss", 1.6, True, False),
        ("suite.s.a", 0.65, True, False),
        ("suite.s.ppl", 4.2, True, True),
        ("suite.s.ppl", 3.9, False, False),
    ],
)
def test_lines_by_hand(name: str, bound: float | str, ships: bool, surely: bool) -> None:
    for strict, wanted in ((False, ships), (True, surely)):
        found = verdict(REPORT, {name: bound, "sure": strict})
        assert (found["ship"], found["lines"][0]["passed"], found["sure"]) == (wanted, wanted, strict)
        assert bool(found["lines"][0]["why"]) is not wanted


def test_what_was_not_measured_does_not_ship() -> None:
    (line,) = verdict(REPORT, {"task.f2": 0.1})["lines"]
    assert not line["passed"]
    assert "Did you mean 'task.f1'" in line["why"]
    assert verdict({}, {"forgetting": 0.1})["lines"][0]["needed"] == "<= 0.1"
    nothing = {"value": None, "low": None, "high": None, "n": 3}
    empty = {**REPORT["suites"][0], "metrics": {"a": nothing}}
    (line,) = verdict({**REPORT, "suites": [empty]}, {"suite.s.a": 0.1})["lines"]
    assert (line["passed"], line["value"]) == (False, None)
    assert line["why"].startswith("it was not measured")


def test_suites_with_bounds_of_their_own_are_lines() -> None:
    assert verdict(REPORT, {}) == {}, "nothing is asked, so nothing is claimed"
    failed = {**REPORT["suites"][0], "bounds": 4, "failed": ["a"]}
    found = verdict({**REPORT, "suites": [failed]}, {})
    assert not found["ship"]
    assert found["lines"][0]["name"] == "suite.s"
    assert (found["lines"][0]["why"], found["lines"][0]["value"]) == ("failed: a", 0.75)
    assert verdict({**REPORT, "suites": [{**failed, "failed": []}]}, {})["ship"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tsk.f1": 0.5}, "Did you mean 'task'"),
        ({"forgeting": 0.5}, "Did you mean 'forgetting'"),
        ({"task.f1": "high"}, "got 'high'"),
        ({"task.f1": True}, "is a number"),
        ({"sure": 1}, "true or false"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_told_with_the_recipe(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        validated(Recipe, {"gate": wrong})


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


def judged(
    material: Material, out: Path, *, rate: float, gate: dict[str, Any], kept: Path, suites: list[str]
) -> dict[str, Any]:
    recipe = material.recipe(method="full", steps=10, learning_rate=rate)
    recipe = Recipe.model_validate(
        {
            **recipe.model_dump(),
            "data": {**recipe.data.model_dump(), "template": "plain"},
            "gate": gate,
            "retention": [str(kept)],
            "evaluate": {"prompts": 0, "max_new_tokens": 16, "suites": suites},
        }
    )
    found: dict[str, Any] = go(recipe, out).summary()
    return found


@pytest.mark.slow
def test_a_good_run_ships_and_one_that_forgets_does_not(
    material: Material, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that tells stories, trained on other rows with a small rate and with one that makes it forget stories."""
    real = Material(real_data / "models/stories260k-hf", material.rows)
    kept = tmp_path / "kept.txt"
    kept.write_text((real_data / "text/tinystories_sample.txt").read_text(encoding="utf-8")[:12_000])
    suite = tmp_path / "regression.yaml"
    add_check(suite, Check(prompt="hi", not_contains="never said by such a small model"))
    bounds = {"forgetting": 0.3, "sure": True}
    good = judged(real, tmp_path / "good", rate=1e-5, gate=bounds, kept=kept, suites=[str(suite)])
    assert good["gate"]["ship"], good["gate"]
    assert [line["name"] for line in good["gate"]["lines"]] == ["forgetting", "suite.regression"]
    bad = judged(real, tmp_path / "bad", rate=2e-2, gate=bounds, kept=kept, suites=[])
    assert not bad["gate"]["ship"]
    assert bad["gate"]["lines"][0]["low"] > 0.3

    assert main(["gate", str(tmp_path / "good")]) == 0
    assert main(["gate", str(tmp_path / "bad")]) == 1
    assert "DO NOT SHIP" in capsys.readouterr().err
    assert main(["gate", str(tmp_path / "good"), "forgetting=-5"]) == 1
    assert gate(tmp_path / "bad", {"forgetting": 1000.0})["ship"]
    with pytest.raises(UserError, match="Did you mean 'task'"):
        gate(tmp_path / "bad", {"tak.f1": 1.0})


def test_a_suite_that_the_model_cannot_be_measured_by_is_told_before_training(
    material: Material, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("a text " * 40)
    suite = tmp_path / "s.yaml"
    suite.write_text("tasks: [{name: a, rows: [{prompt: x}]}]")
    with pytest.raises(UserError, match="no reference answer") as told:
        judged(material, tmp_path / "run", rate=1e-4, gate={}, kept=kept, suites=[str(suite)])
    assert told.value.code == "unmeasurable-row"
    assert not (tmp_path / "run/adapter").exists()


def test_the_regression_suite_beside_a_recipe_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\n")
    assert Recipe.load(path).evaluate.suites == []
    assert main(["suite", "add", str(tmp_path / "regression.yaml"), "--prompt", "Hi", "--expect", "hello"]) == 0
    assert Recipe.load(path).evaluate.suites == [str(tmp_path / "regression.yaml")]
    assert Recipe.load(path, ["evaluate.suites=[]"]).evaluate.suites == []
    path.write_text("name: a\nevaluate: {suites: [regression.yaml]}\n")
    assert Recipe.load(path).evaluate.suites == [str(tmp_path / "regression.yaml")]
