"""A run that is stopped anywhere, by anything, goes on as if it had not been: bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import LORA, Material, StopAt, curve, evaluations, go, result

from tunesmith.errors import UserError
from tunesmith.files import write_text
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump

STEPS = 20
OPTIONS = {"steps": STEPS, "save_every": 3, "evaluate_every": 4, "tokens_per_microbatch": 200}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.make(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def recipe(material: Material) -> Recipe:
    """LoRA with dropout, so that random state matters; twenty updates are almost three epochs."""
    return material.recipe(method=LORA, **OPTIONS)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed."""
    return go(recipe, tmp_path_factory.mktemp("whole") / "run").folder


def assert_same(run: Path, wanted: Path) -> None:
    for name in ("loss", "norm", "rate", "epoch", "tokens"):
        assert curve(run, name) == curve(wanted, name), name
    assert evaluations(run) == evaluations(wanted)
    ours, other = result(run), result(wanted)
    assert ours.keys() == other.keys()
    assert all(torch.equal(ours[name], other[name]) for name in ours)


@pytest.mark.parametrize("stops", [[1], [10], [3, 4, 11, 19], [STEPS]])
def test_stopped_and_resumed(stops: list[int], recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    for number, step in enumerate(stops):
        go(recipe, tmp_path / "run", resume=number > 0, sinks=(StopAt(step),))
    go(recipe, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)


def test_a_finished_run_may_be_resumed_and_stays(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    go(recipe, tmp_path / "run")
    go(recipe, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole)


def test_a_damaged_checkpoint_is_passed_over_with_a_note(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    run = go(recipe, tmp_path / "run", sinks=(StopAt(10),))
    file = run.checkpoints / "step-000010" / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    notes: list[str] = []
    go(recipe, run.folder, resume=True, sinks=(lambda event: notes.append(str(event.values.get("text"))),))
    assert any("step-000010" in note and "damaged" in note for note in notes)
    assert_same(run.folder, whole)


def test_nothing_to_resume_and_nothing_overwritten(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        go(recipe, tmp_path / "run", resume=True)
    assert caught.value.code == "nothing-to-resume"
    with pytest.raises(UserError) as caught:
        go(recipe, whole)
    assert caught.value.code == "run-exists"


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(2))
def test_killed_at_a_random_instant(attempt: int, recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    """SIGKILL to the command itself, somewhere in or after a random update, twice; then it goes on to the end."""
    seed = int.from_bytes(os.urandom(4), "big")
    chance = random.Random(seed)
    run = tmp_path / "run"
    write_text(tmp_path / "recipe.yaml", dump(recipe))
    command = [sys.executable, "-m", "tunesmith", "train", str(tmp_path / "recipe.yaml")]
    command += ["--no-proofs", "--out", str(run)]
    first = chance.randint(1, 9)
    for step in (first, chance.randint(first, 18)):
        kill(command, run, step, chance.uniform(0.0, 0.05))
        command = [*command[:8], "--resume"]
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, (seed, finished.stderr)
    assert_same(run, whole)
    assert not [path for path in run.rglob("*") if path.name.startswith(".")], f"left behind, seed {seed}"


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def kill(command: list[str], run: Path, step: int, later: float) -> None:
    """Start ``command``, wait until its record tells of update ``step``, and ``later`` seconds; then SIGKILL."""
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    told = f'"kind": "step", "step": {step},'
    try:
        while told not in (run / "events.jsonl").read_text() if (run / "events.jsonl").is_file() else True:
            try:
                process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                continue
            assert process.stderr is not None
            raise AssertionError(f"it ended before update {step}: {process.stderr.read()}")
        try:
            process.wait(timeout=later)
        except subprocess.TimeoutExpired:
            process.kill()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
