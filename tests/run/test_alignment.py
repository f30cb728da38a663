"""The alignment pipeline: the usual stages, what is told of each, and going on inside one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from running import LORA, Material, StopAt, curve, result

from tunesmith.cli.align import align as command
from tunesmith.errors import UserError
from tunesmith.evaluation.retention import base_key
from tunesmith.events import Event
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump
from tunesmith.run import align, check
from tunesmith.run.alignment import planned
from tunesmith.run.programme import stage_recipes
from tunesmith.run.session import Language, load_base

STAGES = ("1-sft", "2-reward", "3-ppo")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"What is {number}?"}],
            "chosen": f"It is {number}.",
            "rejected": f"No{'!' * (number % 3)}",
        }
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def recipe(material: Material, **train: Any) -> Recipe:
    found = material.recipe(method=LORA, **({"steps": 4, "save_every": 1, "evaluate_every": 4} | train))
    values = found.model_dump()
    values["evaluate"] = {"prompts": 3, "before": True, "max_new_tokens": 6}
    return Recipe.model_validate(values | {"retention": "auto"})


def aligned(material: Material, preferences: str, out: Path, **options: Any) -> Any:
    staged = planned(recipe(material), "ppo", preferences=[preferences])
    return align(staged, out=out, switch_proofs_off=True, **options)


def test_the_usual_stages_of_ppo(material: Material, preferences: str) -> None:
    staged = planned(recipe(material), "ppo", preferences=[preferences], rewards=[{"name": "length", "at_most": 9}])
    sft, reward, ppo = stage_recipes(staged)
    assert (sft.objective.name, reward.objective.name, ppo.objective.name) == ("sft", "reward", "ppo")
    assert [one.path for one in reward.data.train] == [preferences]
    assert ppo.data == sft.data
    assert [stage.start for stage in staged.stages] == [None, "sft", "sft"]
    assert [one["name"] for one in ppo.objective.fields["rewards"]] == ["model", "length"]
    assert ppo.objective.fields["rewards"][0]["path"] == "stage:reward"
    assert ppo.objective.fields["max_new_tokens"] == 6
    assert ppo.train.learning_rate == pytest.approx(0.25 * sft.train.learning_rate)


def test_the_usual_stages_of_dpo_and_grpo(material: Material, preferences: str) -> None:
    dpo = stage_recipes(planned(recipe(material), "dpo", preferences=[preferences]))
    assert [one.objective.name for one in dpo] == ["sft", "dpo"]
    assert [one.path for one in dpo[1].data.train] == [preferences]
    grpo = stage_recipes(planned(recipe(material), "grpo", rewards=["numeric"]))
    assert [one.objective.name for one in grpo] == ["sft", "grpo"]
    both = stage_recipes(planned(recipe(material), "grpo", preferences=[preferences], rewards=["numeric"]))
    assert [one.objective.name for one in both] == ["sft", "reward", "grpo"]


@pytest.mark.parametrize(
    ("programme", "options", "code"),
    [
        ("dpo", {}, "no-preferences"),
        ("dpo", {"preferences": ["p.jsonl"], "rewards": ["numeric"]}, "cannot-combine"),
        ("ppo", {}, "no-reward"),
        ("grpo", {"rewards": ["numerik"]}, "unknown-reward"),
    ],
)
def test_what_is_missing_is_told(programme: Any, options: dict[str, Any], code: str, material: Material) -> None:
    with pytest.raises(UserError) as told:
        planned(recipe(material), programme, **options)
    assert told.value.code == code


def test_stages_and_a_programme_do_not_go_together(material: Material, preferences: str) -> None:
    staged = planned(recipe(material), "dpo", preferences=[preferences])
    for given in (staged, recipe(material).model_copy(update={"objective": staged.stages[1].objective})):
        with pytest.raises(UserError) as told:
            planned(given, "dpo", preferences=[preferences])
        assert told.value.code == "cannot-combine"
    with pytest.raises(UserError) as told:
        align(recipe(material))
    assert told.value.code == "no-stages"


def test_what_a_later_stage_would_stumble_over_is_told_before_the_first(
    material: Material, preferences: str, tmp_path: Path
) -> None:
    staged = planned(recipe(material), "ppo", preferences=[str(tmp_path / "none.jsonl")])
    with pytest.raises(UserError) as told:
        align(staged, out=tmp_path / "run")
    assert told.value.code == "missing-file"
    staged = planned(recipe(material), "ppo", preferences=[preferences])
    values = staged.model_dump()
    for rewards, code in (([], "no-reward"), ([{"name": "numerik"}], "unknown-reward")):
        values["stages"][2]["objective"]["rewards"] = rewards
        with pytest.raises(UserError) as told:
            align(Recipe.model_validate(values), out=tmp_path / "run")
        assert told.value.code == code
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_a_recipe_to_change_and_to_train(material: Material, preferences: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(dump(recipe(material)))
    words = [str(tmp_path / "recipe.yaml"), "--with", "ppo", "--preferences", preferences, "--reward", "numeric"]
    done = CliRunner().invoke(command, [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    (tmp_path / "staged.yaml").write_text(done.stdout)
    wanted = planned(recipe(material), "ppo", preferences=[preferences], rewards=["numeric"])
    assert stage_recipes(Recipe.load(tmp_path / "staged.yaml")) == stage_recipes(wanted)
    assert "stage 3, ppo" in done.stderr
    with pytest.raises(UserError) as told:
        CliRunner().invoke(command, [words[0], "--reward", "numeric"], catch_exceptions=False)
    assert told.value.code == "cannot-combine"


@pytest.mark.slow
def test_each_stage_says_what_it_did(material: Material, preferences: str, tmp_path: Path) -> None:
    lines = aligned(material, preferences, tmp_path / "run").report.align
    sft, reward, ppo = lines
    assert [(one["stage"], one["start"]) for one in lines] == [("sft", "base"), ("reward", "sft"), ("ppo", "sft")]
    after = [json.loads((tmp_path / "run" / "stages" / name / "eval" / "after.json").read_text()) for name in STAGES]
    assert sft["task"]["nll"]["after"] == after[0]["task"]["nll"] == ppo["task"]["nll"]["before"]
    assert {"nll", "exact_match", "f1"} <= ppo["task"].keys()
    assert ppo["task"]["nll"]["change"]["n"] == ppo["task"]["nll"]["after"]["n"]
    assert (sft["own"], reward["task"]) == ({}, {})
    assert reward["own"].keys() == {"accuracy", "margin"}
    assert reward["own"]["accuracy"]["after"] == after[1]["task"]["accuracy"]
    assert ppo["own"]["reward"]["change"] is not None
    assert sft["kl"] is None and reward["kl"] is None and ppo["kl"] >= 0.0
    assert reward["forgetting"] is None
    texts = [marks["sums"]["retention"]["content"] for marks in (after[0], after[2])]
    assert texts[0] == texts[1]  # what the base wrote, not what a later stage would write
    lost = sum(after[2]["sums"]["retention"]["nll"]) - sum(_before(tmp_path)["sums"]["retention"]["nll"])
    assert ppo["forgetting"]["value"] == pytest.approx(lost / sum(after[2]["sums"]["retention"]["tokens"]))


def _before(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "stages" / "1-sft" / "eval" / "before.json").read_text())
    return found


@pytest.mark.slow
def test_the_task_is_that_of_the_first_stage_in_words(material: Material, preferences: str, tmp_path: Path) -> None:
    values = recipe(material, steps=2).model_dump()
    pairs = {"train": [{"path": preferences}]}
    stages = [{"name": "reward", "objective": "reward", "data": pairs}, {"name": "sft", "start": "base"}]
    staged = Recipe.model_validate(values | {"stages": stages})
    reward, sft = align(staged, out=tmp_path / "run", switch_proofs_off=True).report.align
    assert (reward["task"], reward["forgetting"]) == ({}, None)
    assert sft["task"]["nll"]["change"] is not None
    assert sft["forgetting"] is not None


class StopIn:
    """A sink that presses Ctrl-C in update 2 of each of the later stages, once."""

    def __init__(self, name: str) -> None:
        self.name, self.here = name, ""
        self.stop = StopAt(2)

    def __call__(self, event: Event) -> None:
        self.here = str(event.values["name"]) if event.kind == "start" else self.here
        if self.here == self.name:
            self.stop(event)


@pytest.mark.slow
def test_stopped_in_two_stages_and_resumed_is_the_same_run(
    material: Material, preferences: str, tmp_path: Path
) -> None:
    whole, two = tmp_path / "whole", tmp_path / "two"
    aligned(material, preferences, whole)
    assert not aligned(material, preferences, two, sinks=(StopIn("reward"),)).finished
    assert not aligned(material, preferences, two, resume=True, sinks=(StopIn("ppo"),)).finished
    found = aligned(material, preferences, two, resume=True)
    assert len(found.report.align) == 3
    for stage in STAGES:
        assert curve(two / "stages" / stage) == curve(whole / "stages" / stage)
        first, second = result(whole / "stages" / stage), result(two / "stages" / stage)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_value_head_is_proven_to_learn(material: Material) -> None:
    """Before anything is sampled there are no values to learn; the proof reads them all the same."""
    values = recipe(material).model_dump() | {"objective": {"name": "ppo", "rewards": ["length"]}, "retention": "none"}
    values["objective"]["rewards"] = [{"name": "length", "at_most": 9}]
    outcomes = {one.name: one for one in check(Recipe.model_validate(values))}
    assert outcomes["gradients"].passed, outcomes["gradients"].why
    assert not [one.why for one in outcomes.values() if one.passed is False]


def test_a_value_head_is_no_part_of_the_base(material: Material) -> None:
    plain = recipe(material)
    values = plain.model_dump() | {"objective": {"name": "ppo", "rewards": [{"name": "length", "at_most": 9}]}}
    language = Language.of(plain)
    keys = []
    for one in (plain, Recipe.model_validate(values)):
        loaded = load_base(one, language)
        keys.append(base_key(loaded.model, language.tokenizer, without=loaded.heads))
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_from_a_whole_model_as_well(material: Material, preferences: str, tmp_path: Path) -> None:
    """Full fine-tuning in each stage: the reward model and the policy begin as the supervised model's weights."""
    full = recipe(material).model_copy(update={"method": material.recipe(method="full").method})
    staged = planned(full, "ppo", preferences=[preferences])
    run = align(staged, out=tmp_path / "run", switch_proofs_off=True)
    assert [one["stage"] for one in run.report.align] == ["sft", "reward", "ppo"]
