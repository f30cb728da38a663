"""Rows packed into one stream give the numbers of each row alone, run by transformers itself.

The reference is the model's own ``forward`` on one row, logits and all, so the head is proven as well. The padded
driver is held to the same bound: evaluation or a fallback may use it.
"""

from __future__ import annotations

import torch

from tunesmith.models.drivers import takes_types
from tunesmith.models.task_head import own_scores
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import stirred

BOUNDS = Bounds(
    float32=1e-5,
    bfloat16=0.15,
    reason="Nats a token. float32: sums in another order, measured below 3e-6 on eight families and two real models. "
    "bfloat16: logits of order 10 are spaced 0.06, measured up to 0.051 on real models and rows, times three because "
    "rows differ; a leak between rows, which such rounding could hide, is caught exactly by the proof `isolation`.",
)


def measure(case: Case) -> Measured:
    """The mean difference of the log-probability of a target: packed, and padded, against alone."""
    with stirred(case):
        packed = case.logprobs(case.windows)
        case.policy.drive("padded")
        padded = case.logprobs(case.windows)
        alone = _alone(case)
    worst = {"packed": float((packed - alone).abs().mean()), "padded": float((padded - alone).abs().mean())}
    name = max(worst, key=lambda key: worst[key])
    return Measured.below(worst[name], BOUNDS.of(case.dtype), f"{name} rows give other numbers than each row alone")


@torch.no_grad()
def _alone(case: Case) -> torch.Tensor:
    """``[N]``: each window by itself through the transformers model, without packing, padding or our head."""
    found = []
    for window in case.windows:
        batch = case.batch([window])
        if case.objective.want.scores:
            types = batch.main.types if takes_types(case.policy.model) else None
            scores = own_scores(case.policy.model, batch.main.ids, types)
            found.append(scores if len(scores) == 1 else scores[batch.readout.rows])
            continue
        logits = case.policy.model(input_ids=batch.main.ids[None]).logits[0]
        log_p = torch.log_softmax(logits.float(), dim=-1)
        found.append(log_p[batch.readout.rows, batch.readout.labels])
    return torch.cat(found)


PROOF = Proof(
    means="rows trained together give the numbers of each row alone",
    mend="Set model.driver: padded, and report the model family",
    measure=measure,
    passes=3,
)
