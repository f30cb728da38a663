"""Two processes joined by gloo give the loss curve of one, through the documented command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import Material, curve, evaluations, go

from tunesmith.files import write_text
from tunesmith.recipe.load import dump

STEPS = 10


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [150, 100_000], ids=["many micro-batches", "one micro-batch"])
def test_two_processes_are_one(tokens: int, tmp_path: Path) -> None:
    """To 1e-5: gradients are summed in another order."""
    recipe = Material.make(tmp_path).recipe(
        steps=STEPS, tokens_per_microbatch=tokens, evaluate_every=5, save_every=5, weight_decay=0.1
    )
    write_text(tmp_path / "recipe.yaml", dump(recipe))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "tunesmith", "train", str(tmp_path / "recipe.yaml"), "--no-proofs", "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    finished = subprocess.run([*launch, *words], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    one = go(recipe, tmp_path / "one").folder
    for name in ("loss", "norm"):
        assert curve(tmp_path / "two", name) == pytest.approx(curve(one, name), rel=1e-5)
    assert [loss for _, loss in evaluations(tmp_path / "two")] == pytest.approx(
        [loss for _, loss in evaluations(one)], rel=1e-5
    )
    assert sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir()) == ["step-000005", "step-000010"]
