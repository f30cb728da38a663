"""Two processes joined by gloo give the loss curve of one, through the documented command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import LORA, Material, curve, evaluations, go

from tunesmith.engine.sinks.jsonl import read
from tunesmith.files import write_text
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump

STEPS = 10


def in_two_processes(recipe: Recipe, folder: Path) -> None:
    """Train ``recipe`` in ``folder / "two"`` as the guide says."""
    write_text(folder / "recipe.yaml", dump(recipe))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "tunesmith", "train", str(folder / "recipe.yaml"), "--no-proofs", "--out", str(folder / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    finished = subprocess.run([*launch, *words], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [150, 100_000], ids=["many micro-batches", "one micro-batch"])
def test_two_processes_are_one(tokens: int, tmp_path: Path) -> None:
    """To 1e-5: gradients are summed in another order."""
    recipe = Material.make(tmp_path).recipe(
        steps=STEPS, tokens_per_microbatch=tokens, evaluate_every=5, save_every=5, weight_decay=0.1
    )
    in_two_processes(recipe, tmp_path)
    one = go(recipe, tmp_path / "one").folder
    for name in ("loss", "norm"):
        assert curve(tmp_path / "two", name) == pytest.approx(curve(one, name), rel=1e-5)
    assert [loss for _, loss in evaluations(tmp_path / "two")] == pytest.approx(
        [loss for _, loss in evaluations(one)], rel=1e-5
    )
    assert sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir()) == ["step-000005", "step-000010"]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["grpo", "ppo"])
def test_reinforcement_in_two_processes_is_that_of_one(objective: str, tmp_path: Path) -> None:
    """The first process samples and rewards, all train on the same answers: to 1e-5."""
    short = {"name": "length", "at_most": 4, "slack": 40, "unit": "characters"}
    options = {"name": objective, "answers": 2, "max_new_tokens": 6, "rewards": [short]}
    given = Material.make(tmp_path).recipe(
        method=LORA | {"dropout": 0.0}, steps=3, batch_size=4, evaluate_every=3, save_every=3, tokens_per_microbatch=150
    )
    recipe = Recipe.model_validate(given.model_dump() | {"objective": options})
    in_two_processes(recipe, tmp_path)
    one = go(recipe, tmp_path / "one").folder
    for name in ("loss", "norm"):
        assert curve(tmp_path / "two", name) == pytest.approx(curve(one, name), rel=1e-5, abs=1e-6)
    rewards = [
        [event["reward"] for event in read(folder / "events.jsonl") if event["kind"] == "rollout"]
        for folder in (one, tmp_path / "two")
    ]
    assert rewards[0] == pytest.approx(rewards[1])
    assert rewards[0]
