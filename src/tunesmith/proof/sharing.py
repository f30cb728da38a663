"""A question computed once for all its answers gives the numbers of each answer with its own copy of the question."""

from __future__ import annotations

import torch

from tunesmith.data.collate import flatten, labelled
from tunesmith.proof.base import Bounds, Case, Measured, Proof
from tunesmith.proof.keep import stirred
from tunesmith.proof.sequences import unshared

BOUNDS = Bounds(
    float32=1e-5,
    bfloat16=0.15,
    reason="Nats a token (or score), as in the proof `packing`: the same sums in another order.",
)


def measure(case: Case) -> Measured:
    """The mean difference of a target's log-probability (or score): the question shared, against repeated."""
    collate = flatten if case.windows[0].labels is None else labelled
    apart = unshared(case.windows)
    with stirred(case), case.still():
        both = [
            case.read(case.policy(collate(examples).to(case.policy.device), case.objective.want))
            for examples in (case.windows, apart)
        ]
    if both[0].shape != both[1].shape:
        return Measured(False, None, 0.0, "shared questions have other targets")
    value = float(torch.stack([(both[0] - both[1]).abs().mean()]))
    return Measured.below(value, BOUNDS.of(case.dtype), "answers to a shared question get other numbers")


PROOF = Proof(
    means="a question computed once for all its answers gives each the numbers it has alone",
    mend="Set model.driver: padded, and report the model family",
    measure=measure,
    applies=lambda case: any(example.branches and example.branches[0] > 0 for example in case.examples),
    passes=2,
)
