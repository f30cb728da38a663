"""How an update is cut into micro-batches changes nothing: losses are summed first and divided once.

The gradient of one micro-batch and *minus* the gradient of one micro-batch a row (its counts negated) are accumulated
in the same place; what is left over is the difference, and no second gradient is held.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine.loop import accumulate
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import stirred

BOUNDS = Bounds(
    float32=1e-5,
    bfloat16=0.05,
    reason="Relative to the gradient's norm. float32: the order of summation, measured below 1e-6. bfloat16: each "
    "micro-batch's gradient is rounded to 8 bits and matrix products of other shapes round otherwise, measured below "
    "0.01. A mean of means is off by tens of percent.",
)


def measure(case: Case) -> Measured:
    """Norm of the difference of the two gradients over the norm of one, or the same of the losses if that is larger."""
    windows, counts = case.windows, case.objective.counts(case.windows)
    negative = {name: -count for name, count in counts.items()}
    with stirred(case):
        job = case.job(Path(), _Still(case.policy))
        whole = accumulate(job, [windows], counts, 0).loss
        case.weights.collect()
        norm = case.weights.clip(0.0)
        rest = whole + accumulate(job, [[window] for window in windows], negative, 0).loss
        case.weights.collect()
        left = case.weights.clip(0.0)
    value = max(left / norm if norm else float("nan"), abs(rest / whole))
    return Measured.below(value, BOUNDS.of(case.dtype), "the gradient depends on how the update is cut")


class _Still(nn.Module):
    """The policy without dropout, whatever mode the engine sets: random masks differ from one cut to another."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.train()

    def train(self, mode: bool = True) -> _Still:
        self.policy.eval()
        return self

    def forward(self, batch: Batch, want: Want) -> Outputs:
        outputs: Outputs = self.policy(batch, want)
        return outputs


PROOF = Proof(
    means="one micro-batch and many give the same loss and gradient",
    mend="The objective divides before everything is summed: its terms must be plain sums (see contracts/objective.py)",
    measure=measure,
    applies=lambda case: case.objective.decomposes,
    passes=6,
)
