"""Runs made in seconds on a random base, judged before and after, so that their folders hold everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_base import make_base, make_rows
from tunesmith.recipe import Recipe
from tunesmith.run import Run, train


def make_run(
    folder: Path,
    name: str = "tried",
    *,
    proofs: bool = False,
    method: Any = None,
    stages: Any = (),
    prompts: int = 6,
    validation: float = 0.2,
    **changed: Any,
) -> Run:
    """A run in ``folder/name``; all of one folder share base and rows. ``changed`` are options of ``train``."""
    base, rows = folder / "base", folder / "rows.jsonl"
    if not rows.exists():
        make_base(base)
        make_rows(rows)
    recipe = Recipe(
        name=name,
        seed=3,
        model={"base": str(base), "dtype": "float32"},
        data={"train": [{"path": str(rows)}], "max_tokens": 128, "validation": validation, "workers": 1},
        method=method or {"name": "lora", "rank": 2, "alpha": 4},
        train={"batch_size": 8, "steps": 12, "learning_rate": 1e-2, "evaluate_every": 4, "early_stopping": None}
        | changed,
        evaluate={"prompts": prompts, "max_new_tokens": 8},
        gate={"validation_loss": 0.01, "task.f1": 0.0},
        stages=list(stages),
    )
    return train(recipe, out=folder / name, switch_proofs_off=not proofs)
