"""The logit lens: what each block would say next, if it were the last (nostalgebraist 2020).

A block's output goes through the model's final norm and head. Early blocks say little; where the tuned model settles on
its answer, and how that differs from the base, is what to look for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunesmith.errors import UserError
from tunesmith.insight.activations import recorded
from tunesmith.insight.subject import SIDES, Subject, stream_of
from tunesmith.models.policy import CausalPolicy

SHOWN = 3
NORMS = ("norm", "final_layernorm", "ln_f", "final_layer_norm", "final_norm", "layer_norm")


def look(subject: Subject, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """``{prompt, wanted, blocks: [{block, base: {tokens, probabilities, wanted, rank}, tuned}]}`` of the next token."""
    subject.needs_text("the lens reads blocks as words, and a model with a task head has none")
    ids = list(subject.asked.prompt)
    found: dict[str, list[torch.Tensor]] = {}
    for side in SIDES:
        tell(side)
        with subject.side(side) as policy:
            found[side] = next_token(policy, ids)
    wanted = subject.asked.answer[0] if subject.asked.answer else int(found["tuned"][-1].argmax())
    blocks = [
        {"block": number, **{side: _read(subject, found[side][number], wanted) for side in SIDES}}
        for number in range(len(found["base"]))
    ]
    return {"prompt": subject.decode(ids), "wanted": subject.token(wanted), "blocks": blocks}


def next_token(policy: CausalPolicy, ids: list[int]) -> list[torch.Tensor]:
    """Probabilities ``[V]`` of the token after ``ids``, block by block; the last is the model's own."""
    norm = final_norm(policy)
    with recorded(policy) as seen:
        policy.hidden(stream_of(policy, [ids]))
    last = [hidden[len(ids) - 1][None] for hidden in seen.hidden]
    return [policy.logits(norm(one.to(policy.dtype)))[0].softmax(-1) for one in last]


def final_norm(policy: CausalPolicy) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the model does to its last block's output before the head."""
    body = policy.model.base_model
    for holder in (body, getattr(body, "decoder", None)):
        for name in NORMS:
            module = getattr(holder, name, None)
            if isinstance(module, torch.nn.Module):
                return module
    raise UserError(f"the final norm of {type(policy.model).__name__} is not known", code="cannot-inspect")


def _read(subject: Subject, probabilities: torch.Tensor, wanted: int) -> dict[str, Any]:
    top = probabilities.topk(SHOWN)
    return {
        "tokens": [subject.token(token) for token in top.indices.tolist()],
        "probabilities": top.values.tolist(),
        "wanted": float(probabilities[wanted]),
        "rank": int((probabilities > probabilities[wanted]).sum()) + 1,
    }
