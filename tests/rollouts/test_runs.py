"""Whole runs that learn from rewards on a tiny model: what a run folder holds, resuming, value heads, clear errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tiny_base import make_base, make_rows
from tunesmith.engine.checkpoint import steps
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import UserError
from tunesmith.events import Event
from tunesmith.recipe import Recipe
from tunesmith.run import merge, train

REWARD = """
import time
def letters(sample):
    return sum(one in "aeiou" for one in sample.answer) / 10
def alike(sample):
    return 0.5
def no_number(sample):
    return float("nan") if len(sample.answer) % 2 else 1.0
def hangs(sample):
    while True:
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rollouts")
    make_base(folder / "base")
    make_rows(folder / "rows.jsonl", 40)
    (folder / "made_up.py").write_text(REWARD)
    return folder


def recipe(material: Path, objective: dict[str, Any], *, reward: str = "letters", **train: Any) -> Recipe:
    place = f"{material / 'made_up.py'}:{reward}"
    return Recipe(
        name="rewarded",
        model={"base": str(material / "base"), "dtype": "float32", "threads": 1},
        data={"train": [{"path": str(material / "rows.jsonl")}], "max_tokens": 96, "workers": 1, "validation": 0.2},
        method={"name": "lora", "rank": 4},
        objective={
            "answers": 3, "max_new_tokens": 6, "rewards": [{"name": "python", "function": place, "timeout": 2.0}],
            **objective,
        },
        train={
            "steps": 4, "batch_size": 3, "learning_rate": 5e-3, "evaluate_every": 4, "save_every": 1, "keep": 9, **train
        },
        evaluate={"prompts": 4},
        retention="none",
        proofs="off",
    )  # fmt: skip


GRPO = {"name": "grpo", "mini_batches": 2}
PPO = {"name": "ppo", "mini_epochs": 2}


@pytest.mark.slow
@pytest.mark.parametrize("objective", [GRPO, PPO], ids=["grpo", "ppo"])
def test_a_run_leaves_its_story(objective: dict[str, Any], material: Path, tmp_path: Path) -> None:
    run = train(recipe(material, objective), out=tmp_path / "run")
    events = list(read(run.events))
    rollouts = [event for event in events if event["kind"] == "rollout"]
    assert [event["step"] for event in rollouts] == [0, 2]
    assert rollouts[0]["parts"].keys() == {"python:letters"}
    assert rollouts[0]["kl"] == pytest.approx(0.0, abs=1e-5)  # nothing has been trained yet
    terms = next(event for event in events if event["kind"] == "step")["terms"]
    assert {"policy", "kl", "entropy", "clipped"} <= terms.keys()
    report = json.loads((run.folder / "report.json").read_text())
    assert {"reward", "answer_tokens", "stopped"} <= report["after"].keys()
    assert report["changes"]["task"]["reward"]["change"]["n"] == 4
    watched = next(event for event in events if event["kind"] == "evaluation")
    assert watched["validation_loss"] == -watched["validation_reward"]
    merge(run, tmp_path / "merged")
    assert not any("value" in name for name in load_file(tmp_path / "merged" / "model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3])
def test_stopped_anywhere_and_resumed_is_the_same_run(step: int, material: Path, tmp_path: Path) -> None:
    """Of a rollout's four updates; the value head, the answers and the weight of the divergence are carried on."""
    asked = recipe(material, {**PPO, "mini_batches": 2, "kl_target": 1.0}, steps=6)

    class Stop(Exception):  # noqa: N818
        pass

    def stop(event: Event) -> None:
        if event.kind == "saved" and event.step == step:
            raise Stop

    whole = train(asked, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train(asked, out=tmp_path / "cut", sinks=(stop,))
    cut = train(asked, out=tmp_path / "cut", resume=True)
    curves = [[event["loss"] for event in read(run.events) if event["kind"] == "step"] for run in (whole, cut)]
    assert curves[0] == curves[1]
    last = [steps(run.checkpoints)[-1] for run in (whole, cut)]
    for name in ("weights", "feed", "optimizer"):
        one, other = (load_file(path / f"{name}.safetensors") for path in last)
        assert one.keys() == other.keys() and len(one) > 0
        assert all(torch.equal(one[key], other[key]) or torch.isnan(one[key]).any() for key in one)
    assert any("value_head" in key for key in load_file(last[0] / "weights.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reward", "words", "code"),
    [
        ("no_number", "no finite number", "bad-reward"),
        ("hangs", "failed on", "reward-failed"),
        ("alike", "no rewards differed", "rewards-alike"),
        ("missing", "cannot be loaded", "no-reward-function"),
    ],
)
def test_a_bad_reward_ends_in_one_sentence_and_a_whole_folder(
    reward: str, words: str, code: str, material: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        train(recipe(material, {**GRPO, "mini_batches": 1}, reward=reward), out=tmp_path / "run")
    assert caught.value.code == code
    for checkpoint in steps(tmp_path / "run" / "checkpoints"):
        assert (checkpoint / "progress.json").is_file()
    before_anything_loads = code == "no-reward-function"
    assert (tmp_path / "run" / "recipe.yaml").is_file() is not before_anything_loads
    assert (tmp_path / "run").exists() is not before_anything_loads


def test_a_recipe_without_a_reward_is_refused_before_training(material: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reward"):
        train(recipe(material, {**GRPO, "rewards": []}), out=tmp_path / "run")
