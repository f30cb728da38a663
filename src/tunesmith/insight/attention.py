"""Where a prompt's tokens look, before and after: attention maps of every block, and how far each head moved.

The distance of a head is the Jensen-Shannon divergence of its rows, in bits (0 the same, 1 disjoint), averaged over
tokens. Maps are means over heads. They are computed by transformers' own eager attention, which alone returns them.

Shape legend: ``H`` heads, ``T`` tokens of prompt and answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunesmith.errors import UserError
from tunesmith.insight.subject import SIDES, Side, Subject
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.prefixed import carried

LONGEST = 32
"""Tokens beyond which a map cannot be read; the last ones are taken."""


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{tokens, blocks: [{block, heads: [moved], base: [[T]], tuned: [[T]]}]}``."""
    ids = subject.whole[-LONGEST:]
    found: dict[Side, list[torch.Tensor]] = {}
    for side in SIDES:
        tell(side)
        with subject.side(side) as policy:
            found[side] = maps(policy, ids)
    blocks = []
    for number, (before, after) in enumerate(zip(found["base"], found["tuned"], strict=True)):
        heads = divergence(before, after).mean(1).tolist()
        means: dict[str, Any] = {str(side): _rounded(found[side][number].mean(0)) for side in SIDES}
        blocks.append({"block": number, "heads": heads, **means})
    return {"tokens": [subject.token(token) for token in ids], "blocks": blocks}


def maps(policy: CausalPolicy, ids: list[int]) -> list[torch.Tensor]:
    """Attention ``[H, T, T]`` of each block; a ``UserError`` where a model's attention cannot be asked for it."""
    model = policy.model
    if carried(model):
        raise UserError(
            "attention maps cannot be drawn for trained keys and values",
            allowed="methods that leave attention to the model",
            code="cannot-inspect",
        )
    model.set_attn_implementation("eager")
    try:
        row = torch.tensor([ids], device=policy.device)
        given = model.base_model(input_ids=row, output_attentions=True).attentions
    finally:
        policy.drive(policy.driver)
    if not given or given[0] is None:
        raise UserError(f"{type(model).__name__} does not return its attention", code="cannot-inspect")
    return [one[0].float() for one in given]


def _rounded(values: torch.Tensor) -> list[list[float]]:
    """Shares to four digits: a map is looked at, and sixteen would fill the file."""
    return [[round(value, 4) for value in line] for line in values.tolist()]


def divergence(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon, base 2, along the last dimension: ``[..., T]`` -> ``[...]``."""
    one, other = one.double(), other.double()
    middle = (one + other) / 2

    def against(value: torch.Tensor) -> torch.Tensor:
        return torch.where(value > 0, value * (value / middle.clamp_min(1e-30)).log2(), 0.0).sum(-1)

    return (against(one) + against(other)) / 2
