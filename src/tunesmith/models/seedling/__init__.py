"""Seedling, the embedded base model, and the small world it was grown in.

`folder()` is the shipped model, a plain transformers folder. `instruction_set` makes question-and-answer rows about the same
world, with exact answers and held-out entities: the test bed for every method.
"""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """The folder of the shipped model: config, bf16 weights, tokenizer, chat template, checksums."""
    return Path(__file__).parent / "files"
