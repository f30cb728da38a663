"""The same training in plain torch: one sequence after the other through the transformers model, torch's AdamW."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tunesmith.contracts.batch import Example

Updates = Sequence[Sequence[Example]]


def train(
    model: Any,
    trained: Mapping[str, torch.nn.Parameter],
    updates: Updates,
    *,
    rate: Callable[[int], float],
    clip: float,
    weight_decay: float,
) -> tuple[list[float], torch.optim.AdamW]:
    """Train in place; the loss of every update, and the optimizer."""
    matrices = [parameter for parameter in trained.values() if parameter.ndim >= 2]
    vectors = [parameter for parameter in trained.values() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0)
    losses = []
    for step, examples in enumerate(updates):
        count = sum(int(example.trained[1:].sum()) for example in examples)
        total = 0.0
        for example in examples:
            ids, trained_here = torch.tensor(example.ids).long(), torch.tensor(example.trained)
            labels = torch.where(trained_here, ids, -100)
            logits = model(input_ids=ids[None]).logits[0]
            loss = F.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum") / count
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(list(trained.values()), clip)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses, optimizer
