"""Rows packed into one stream give the numbers of each row alone, run by transformers itself.

The reference is the model's own ``forward`` on one row, logits and all, so the head is proven as well. The padded
driver is held to the same bound: evaluation or a fallback may use it.
"""

from __future__ import annotations

import torch

from tunesmith.contracts.batch import Batch
from tunesmith.models.drivers import takes_types
from tunesmith.models.task_head import is_body, own_scores, task_view
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import stirred
from tunesmith.proof.sequences import Whole, wholes

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
    """``[N]``: each sequence by itself through the transformers model, without packing, padding or our head."""
    batch = case.objective.collate(case.windows).to(case.policy.device)
    return torch.cat([_one(case, batch, unit, whole) for unit, whole in enumerate(wholes(batch.main.layout))])


def _one(case: Case, batch: Batch, unit: int, whole: Whole) -> torch.Tensor:
    """What is read of one sequence of ``batch``."""
    chosen = batch.readout.unit == unit
    rows = torch.tensor([whole.place(row) for row in batch.readout.rows[chosen].tolist()], device=case.policy.device)
    ids = batch.main.ids[whole.rows()]
    if case.objective.want.scores:
        if task_view(case.policy.model).reads == "last":
            # transformers scores the end of a text alone, so what stands before each row is a text
            return torch.cat([own_scores(case.policy.model, ids[: row + 1]) for row in rows.tolist()])
        given = batch.main.types
        types = given[whole.rows()] if given is not None and takes_types(case.policy.model) else None
        scores = own_scores(case.policy.model, ids, types)
        return scores if len(scores) == 1 else scores[rows]
    if is_body(case.policy.model):
        return own_scores(case.policy.model, ids)[rows]
    log_p = torch.log_softmax(case.policy.model(input_ids=ids[None]).logits[0].float(), dim=-1)
    return log_p[rows, batch.readout.labels[chosen]]


PROOF = Proof(
    means="rows trained together give the numbers of each row alone",
    mend="Set model.driver: padded, and report the model family",
    measure=measure,
    passes=3,
)
