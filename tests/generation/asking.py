"""What the tests of generation share: random prompts and a decoder that needs no tokenizer."""

from __future__ import annotations

import torch

from families import VOCABULARY


def prompts(count: int = 7, *, seed: int = 0) -> list[list[int]]:
    """Random prompts of 1 to 13 tokens."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 14, (count,), generator=rng).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=rng).tolist() for length in lengths]


def spelled(ids: list[int]) -> str:
    """Every token is its number in brackets: the text of [5, 17] is "<5><17>"."""
    return "".join(f"<{token}>" for token in ids)
