"""How likely each token of a text is, before and after: where in an answer training helped, and where it hurt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunesmith.insight.subject import SIDES, Subject, stream_of
from tunesmith.models.policy import CausalPolicy


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{answer_from, tokens: [{text, base, tuned}]}``: nats a token given those before; the first has none."""
    subject.needs_text("a model with a task head predicts no tokens; what each adds to its answer: contributions")
    ids = subject.whole
    found = {}
    for side in SIDES:
        tell(side)
        with subject.side(side) as policy:
            found[side] = losses(policy, ids)
    tokens = [
        {"text": subject.token(token), "base": before, "tuned": after}
        for token, before, after in zip(ids[1:], found["base"], found["tuned"], strict=True)
    ]
    return {"answer_from": max(0, len(subject.asked.prompt) - 1), "first": subject.token(ids[0]), "tokens": tokens}


def losses(policy: CausalPolicy, ids: list[int]) -> list[float]:
    """Nats of every token but the first, given those before it."""
    hidden = policy.hidden(stream_of(policy, [ids]))[:-1]
    labels = torch.tensor(ids[1:], device=policy.device)
    return torch.nn.functional.cross_entropy(policy.logits(hidden).float(), labels, reduction="none").tolist()
