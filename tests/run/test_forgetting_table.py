"""What was gained beside what was lost: the table by hand, the Pareto marks, and directions that are never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import Material, go

from tunesmith.cli.main import main
from tunesmith.errors import UserError
from tunesmith.metrics.agreement import cohen, fleiss
from tunesmith.recipe import Recipe
from tunesmith.run import comparing
from tunesmith.run.forgetting import table
from tunesmith.run.verdict import direction, gate


def estimate(value: float, half: float = 0.1, n: int = 40) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def changed(before: float, after: float, *, higher: bool = True, half: float = 0.1) -> dict[str, Any]:
    change = estimate(after - before, half)
    verdict = "same" if change["low"] <= 0 <= change["high"] else "better" if (after > before) == higher else "worse"
    told = {"before": estimate(before), "after": estimate(after), "change": change, "verdict": verdict}
    return {**told, "higher_is_better": higher}


REPORT: dict[str, Any] = {
    "changes": {
        "retention": {"nll": changed(1.0, 1.5, higher=False), "perplexity": {**changed(2, 3), "change": None}},
        "task": {"nll": changed(3.0, 1.0, higher=False)},
        "answers": {"f1": changed(0.2, 0.8)},
    },
    "suites": [
        {
            "suite": "retention",
            "about": "retention",
            "changes": {"sums": changed(0.9, 0.5), "words": changed(0.8, 0.7), "text": changed(2.0, 3.0, higher=False)},
        },
        {"suite": "gaps", "about": "retention", "changes": {"gap": changed(0.1, 0.9, higher=False)}},
        {"suite": "safety", "about": "behaviour", "changes": {"harmful": changed(0.5, 0.5)}},
    ],
}


def test_lines_stand_by_what_they_are_about_and_losses_are_averaged() -> None:
    found = table(REPORT)
    assert [(line["about"], line["what"], line["metric"]) for line in found["lines"]] == [
        ("task", "task", "nll"),
        ("task", "answers", "f1"),
        ("retention", "known text", "nll"),
        ("retention", "retention", "sums"),
        ("retention", "retention", "words"),
        ("retention", "retention", "text"),
        ("retention", "gaps", "gap"),
        ("behaviour", "safety", "harmful"),
    ]
    assert found["task_gain"]["metric"] == "f1"
    assert found["task_gain"]["change"]["value"] == pytest.approx(0.6)


def test_the_retention_loss_is_the_mean_over_shares_with_the_width_of_independent_tasks() -> None:
    report = {**REPORT, "changes": {}}
    loss = table(report)["retention_loss"]
    assert loss["value"] == pytest.approx((0.4 + 0.1) / 2), "bits, nats and gaps are no shares"
    assert loss["high"] - loss["value"] == pytest.approx((0.1**2 + 0.1**2) ** 0.5 / 2)
    assert table({}) == {"lines": [], "task_gain": None, "retention_loss": None}


@pytest.mark.parametrize(
    ("costs", "kept"),
    [
        ({"a": (0.9, 0.1), "b": (0.8, 0.2)}, "a"),
        ({"a": (0.9, 0.3), "b": (0.8, 0.2)}, "ab"),
        ({"a": (0.9, 0.3), "b": (0.8, 0.2), "c": (0.7, 0.25)}, "ab"),
        ({"a": (0.9, None), "b": (0.8, 0.2)}, "a"),
        ({"a": (0.9, 0.1), "b": (0.9, 0.1)}, "ab"),
    ],
)
def test_runs_that_no_other_beats_are_marked(costs: dict[str, Any], kept: str) -> None:
    given = {
        name: {"score": score, "forgetting": lost, "memory": 1.0, "speed": 1.0} for name, (score, lost) in costs.items()
    }
    found = comparing._trade(given, "answers f1")
    assert "".join(name for name, one in found.items() if one["pareto"]) == kept


@pytest.mark.parametrize(("dimension", "better"), [("memory", 1.0), ("speed", 3.0), ("forgetting", 1.0)])
def test_every_dimension_has_its_direction(dimension: str, better: float) -> None:
    same = {"score": 0.5, "forgetting": 2.0, "memory": 2.0, "speed": 2.0}
    found = comparing._trade({"a": same, "b": {**same, dimension: better}}, "answers f1")
    assert [one["pareto"] for one in found.values()] == [False, True]


def test_a_score_that_is_better_when_lower_is_turned_round() -> None:
    given = {
        name: {"score": score, "forgetting": 0.0, "memory": 1, "speed": 1} for name, score in (("a", 1.0), ("b", 2.0))
    }
    assert [one["pareto"] for one in comparing._trade(given, "task nll").values()] == [True, False]


def test_directions_are_known_or_said_to_be_unknown() -> None:
    found = [direction(name) for name in ("nll", "f1", "tone/accuracy", "refusal", "bleu", "kl")]
    assert found == [True, False, False, True, False, None]


def test_agreement_is_that_of_the_textbooks() -> None:
    yes, no = "y", "n"
    # Cohen's kappa of the 2 by 2 table [[20, 5], [10, 15]]: (0.7 - 0.5) / (1 - 0.5)
    first = [yes] * 25 + [no] * 25
    second = [yes] * 20 + [no] * 5 + [yes] * 10 + [no] * 15
    assert cohen(first, second) == pytest.approx(0.4)
    # Fleiss (1971) as worked in every account of it: ten items, fourteen judges, five answers, kappa 0.210
    counts = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    items = [[answer for answer, times in enumerate(row) for _ in range(times)] for row in counts]
    assert fleiss(items) == pytest.approx(0.210, abs=5e-4)
    assert cohen([], []) is None
    assert cohen([yes], [yes]) is None
    assert fleiss([[yes], [no]]) is None
    with pytest.raises(ValueError, match="same items"):
        cohen([yes], [])


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


def recipe_with(material: Material, suite: Path, **gate_of: Any) -> Recipe:
    recipe = material.recipe(method={"name": "lora", "rank": 4}, steps=2)
    return Recipe.model_validate(
        {
            **recipe.model_dump(),
            "data": {**recipe.data.model_dump(), "template": "plain"},
            "evaluate": {"prompts": 0, "max_new_tokens": 8, "suites": [str(suite)]},
            "gate": gate_of,
        }
    )


SUITE = """
name: kept
about: retention
tasks:
  - name: choose
    metric: acc
    raw: true
    rows: [{prompt: the cat, choices: [sat, ran], answer: 0}, {prompt: a, choices: [b, c], answer: 1}]
  - {name: text, metric: bits_per_byte, rows: [{text: the cat sat on the mat}, {text: a dog ran}]}
"""


def test_the_base_is_measured_once_and_stands_beside_every_run(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "kept.yaml"
    suite.write_text(SUITE)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    first = go(recipe_with(material, suite), tmp_path / "first")
    kept = list((tmp_path / "cache/baselines").glob("*.json"))
    assert len(kept) == 1
    stamp = kept[0].stat().st_mtime_ns
    second = go(recipe_with(material, suite, **{"suite.kept.choose": 0.0}), tmp_path / "second")
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache/baselines").glob("*.json")] == [stamp]
    for run in (first, second):
        (told,) = run.summary()["suites"]
        assert set(told["changes"]) == {"choose", "text"}
        assert told["changes"]["text"]["change"]["n"] == 2
        assert "answers" not in told
        lines = run.summary()["forgetting_table"]["lines"]
        assert {line["metric"] for line in lines if line["about"] == "retention"} == {"choose", "text"}
    found = comparing.compare([first.folder, second.folder])
    assert found["differences"][str(second.folder)]["suite kept text"]["value"] == pytest.approx(0.0, abs=1e-9)
    trade = found["trade"].values()  # speed and memory of so short runs are the machine's: either may stand alone
    assert any(one["pareto"] for one in trade)
    assert all({"score", "forgetting", "memory", "speed"} <= set(one) for one in trade)
    with pytest.raises(UserError, match="Did you mean 'task nll'"):
        comparing.compare([first.folder, second.folder], score="task nl")
    assert main(["compare", str(first.folder), str(second.folder)]) == 0
    assert main(["gate", str(second.folder)]) == 0
    assert "kept text" in capsys.readouterr().out
    suite.write_text(SUITE.replace("mat", "hat"))
    go(recipe_with(material, suite), tmp_path / "third")
    assert len(list((tmp_path / "cache/baselines").glob("*.json"))) == 2, "other rows are another suite"


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("task.nl", "unknown-figure", "Did you mean 'task.nll'"),
        ("gain.acuracy", "unknown-figure", "Did you mean 'gain.accuracy'"),
    ],
)
def test_a_misspelt_figure_is_told_before_training(
    material: Material, tmp_path: Path, name: str, code: str, says: str
) -> None:
    suite = tmp_path / "kept.yaml"
    suite.write_text(SUITE)
    with pytest.raises(UserError) as told:
        go(recipe_with(material, suite, **{name: 0.5}), tmp_path / "run")
    assert told.value.code == code
    assert says in str(told.value)


def test_a_misspelt_figure_ends_the_gate_with_code_two(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "kept.yaml"
    suite.write_text(SUITE)
    run = go(recipe_with(material, suite), tmp_path / "run")
    assert main(["gate", str(run.folder), "task.nl=3"]) == 2
    assert "Did you mean 'task.nll'" in capsys.readouterr().err
    assert main(["gate", str(run.folder), "suite.kept.chose=0.3"]) == 2
    assert "Did you mean 'suite.kept.choose'" in capsys.readouterr().err
    with pytest.raises(UserError) as told:
        gate(run, {"task.f1": 0.5})
    assert told.value.code == "unknown-figure"
    assert not gate(run, {"task.nll": 0.0})["ship"]
