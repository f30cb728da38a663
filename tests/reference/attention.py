"""Attention one query at a time, as the papers write it: slow, obvious, differentiable, in the inputs' dtype."""

from __future__ import annotations

import torch


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: tuple[int, ...],
    *,
    scaling: float,
    causal: bool,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """``query [1, H, T, D]``, ``key``/``value [1, K, T, D]`` -> ``[1, T, H, D]``; a window counts the token itself."""
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    rows = []
    start = 0
    for length in lengths:
        for i in range(start, start + length):
            seen = [
                j
                for j in range(start, start + length)
                if (j <= i or not causal) and (window is None or abs(i - j) < window)
            ]
            for head in range(heads):
                scores = key[0, head // groups, seen] @ query[0, head, i] * scaling
                if softcap is not None:
                    scores = softcap * torch.tanh(scores / softcap)
                rows.append(torch.softmax(scores, dim=0) @ value[0, head // groups, seen])
        start += length
    return torch.stack(rows).view(1, start, heads, -1)
