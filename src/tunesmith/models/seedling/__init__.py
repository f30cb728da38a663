"""Seedling, the embedded base model, and the small world it was grown in.

`folder()` is the shipped model, a plain transformers folder. `instruction_set` makes question-and-answer rows about
the same world, with exact answers and held-out entities: the test bed for every method.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def folder() -> Path:
    """The folder of the shipped model: config, bf16 weights, tokenizer, chat template, checksums."""
    return Path(__file__).parent / "files"


def instruction_set(kind: str = "all", *, seed: int, split: str = "train", n: int) -> list[dict[str, Any]]:
    """`n` rows of questions with exact answers; see `tasks.instruction_set`."""
    from tunesmith.models.seedling import tasks

    return tasks.instruction_set(kind, seed=seed, split=split, n=n)
